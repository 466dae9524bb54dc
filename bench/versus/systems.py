"""The servers: what each needs, how it is started, where it answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
APPS = HERE / "apps"


@dataclass(frozen=True)
class System:
    """One server.

    `requirements` empty: it runs in the interpreter of the benchmark. `command` and `path` are
    filled in with the workload and the port.
    """

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    path: str
    lacks: tuple[str, ...] = ()

    def python(self) -> Path:
        """Return the interpreter, making its environment the first time."""
        if not self.requirements:
            return Path(sys.executable)
        home = ENVIRONMENTS / self.name
        python = home / "bin" / "python"
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            venv.create(home, with_pip=True)
            _run(python, "-m", "pip", "install", "-q", *self.requirements)
            (home / "complete").touch()
        return python

    def version(self) -> str:
        """Return what is installed."""
        code = f"from importlib.metadata import version; print(version({self.name!r}))"
        return _run(self.python(), "-c", code).strip()

    def arguments(self, workload: str, port: int) -> list[str]:
        """Return the command line."""
        python = self.python()
        values = {"bin": python.parent, "workload": workload, "port": port, "apps": APPS}
        first, *rest = (part.format(**values) for part in self.command)
        return [str(python) if first == "python" else first, *rest]


def _run(*command: object) -> str:
    return subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True, cwd=APPS
    ).stdout


_MODELS = ("numpy", "scikit-learn")
SYSTEMS = {
    system.name: system
    for system in (
        System(
            "dosirak",
            (),
            ("python", "{apps}/dosirak_app.py", "{workload}", "{port}"),
            "/{workload}",
        ),
        System(
            "mosec",
            ("mosec", *_MODELS),
            ("python", "mosec_app.py", "{workload}", "{port}"),
            "/inference",
        ),
        System(
            "litserve",
            ("litserve", *_MODELS),
            ("python", "litserve_app.py", "{workload}", "{port}"),
            "/predict",
            # It hands handlers JSON and forms, and does not give them a body as it is.
            lacks=("tensor",),
        ),
        System(
            "bentoml",
            ("bentoml", *_MODELS),
            ("{bin}/bentoml", "serve", "bentoml_app:App", "--port", "{port}"),
            "/{workload}",
            # It reads arrays from JSON or multipart; neither is this body.
            lacks=("tensor",),
        ),
    )
}
