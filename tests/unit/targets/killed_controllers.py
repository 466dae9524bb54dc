"""Start replicas in processes that are killed at one step after the other.

`killed_controllers.py HOME BUNDLE_ID`: a step is what Python's audit hooks tell of that is seen
outside (a file or folder of the platform, a lock, a process). Prints how many steps there were.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.target import ReplicaOrder
from dosirak.targets.local import LocalTarget

_STEPS = ("fcntl.flock", "subprocess.Popen")
_ROOT = "/platform/"


def _path(argument: object) -> str:
    return os.fspath(argument) if isinstance(argument, str | Path) else ""


def start_until(step: int, home: Path, bundle_id: str) -> None:
    """Start a replica, and end at a step of it as by SIGKILL."""
    target = LocalTarget(PlatformPaths(home))
    left = [step]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in _STEPS or (arguments and _ROOT in _path(arguments[0])):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    order = ReplicaOrder(
        f"killed-{step}", "killed", 1, bundle_id, DeploymentConfiguration(drain_timeout_s=1), {}
    )
    target.start(order)
    os._exit(0)


def main() -> None:
    home, bundle_id = Path(sys.argv[1]), sys.argv[2]
    step = 0
    while True:
        step += 1
        child = os.fork()
        if not child:
            try:
                start_until(step, home, bundle_id)
            except BaseException:
                traceback.print_exc()
            os._exit(3)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(step, os.WEXITSTATUS(status))
            return


if __name__ == "__main__":
    main()
