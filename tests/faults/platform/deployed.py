"""A platform with a home and ports of its own, through the public command line and API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

_COMMAND_S = 120.0
_SERVICE = '''
import asyncio
import os
import time
from collections.abc import AsyncIterator

import dosirak

VERSION = {version}


@dosirak.service
class Numbers:
    """Says which version it is, and doubles."""

    def __init__(self) -> None:
        {start}

    @dosirak.api
    def double(self, value: int) -> int:
        return 2 * value

    @dosirak.api
    def version(self) -> int:
        return VERSION

    @dosirak.api(idempotent=False)
    def pid(self) -> int:
        return os.getpid()

    @dosirak.api
    def slowly(self, value: int) -> int:
        time.sleep(2.0)
        return 2 * value

    @dosirak.api
    async def count(self, value: int) -> AsyncIterator[int]:
        for step in range(20):
            yield value + step
            await asyncio.sleep(0.1)
'''


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Platform:
    """One platform; `port` is where its deployments are, `control_port` its control plane."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port, self.control_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "DOSIRAK_HOME": str(self.home),
            "NO_COLOR": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    # The command line.

    def command(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `dosirak ARGUMENTS`."""
        done = subprocess.run(
            [sys.executable, "-m", "dosirak", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
        )
        assert expect is None or done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def start(self) -> None:
        """Start the control plane on this platform's ports."""
        self.command(
            "platform", "start", "--port", str(self.port), "--control-port", str(self.control_port)
        )

    def project(self, version: int, *, start: str = "pass") -> Path:
        """Write a project and return its folder; `start` is what the service does at its start."""
        folder = self.folder / "project"
        folder.mkdir(exist_ok=True)
        (folder / "service.py").write_text(_SERVICE.format(version=version, start=start))
        (folder / "dosirak.toml").write_text('name = "numbers"\nservice = "service:Numbers"\n')
        return folder

    def build(self, version: int, *, start: str = "pass") -> str:
        """Seal a version and return its reference."""
        built = self.command("build", str(self.project(version, start=start)), "-o", "json")
        return str(json.loads(built.stdout)["reference"])

    def deploy(self, name: str, bundle: str, *options: str) -> None:
        """Deploy a bundle and wait until it serves."""
        self.command("deploy", bundle, "--name", name, "--wait", *options)

    # The API.

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the decoded answer of the control plane's API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control_port}/api/v1{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", **headers},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.read().decode()}") from refused

    def view(self, name: str) -> Any:
        """Return how a deployment is."""
        return self.ask("GET", f"/deployments/{name}")

    def replicas(self, name: str) -> list[dict[str, Any]]:
        """Return its replicas that have a process."""
        found = self.ask("GET", f"/deployments/{name}/replicas")
        return [one for one in found if one["phase"] not in ("stopped", "failed")]

    # The deployments.

    def call(self, name: str, api: str, timeout_s: float = 10.0, **arguments: Any) -> Any:
        """Call an api of a deployment."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{name}/{api}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())

    def status_of(self, name: str, api: str, **arguments: Any) -> int:
        """Return the HTTP status of a call; 0 when there was no answer."""
        try:
            self.call(name, api, **arguments)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0
        return 200

    # Processes.

    def control_pid(self) -> int | None:
        """Return the control plane's process."""
        try:
            return int(json.loads((self.home / "platform" / "control.json").read_bytes())["pid"])
        except (OSError, ValueError):
            return None

    def kill_control(self) -> None:
        """End the control plane at once, and wait until it is gone."""
        pid = self.control_pid()
        if pid is None:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        until(lambda: not _lives(pid))

    def processes(self) -> list[psutil.Process]:
        """Return everything that runs for this home."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("DOSIRAK_HOME") == str(self.home)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return [one for one in found if one.pid != os.getpid()]

    def replica_folders(self) -> set[str]:
        """Return the ids of the replicas that have, or had, a process."""
        return {path.name for path in (self.home / "platform" / "replicas").glob("*")}

    def end(self) -> None:
        """End all of it, whatever a test did."""
        self.command("platform", "stop", "--all", expect=None)
        for process in self.processes():
            try:
                process.kill()
            except psutil.Error:
                continue


def until(holds: Callable[[], Any], within_s: float = 60.0) -> float:
    """Wait until something holds; return how long it took."""
    began_s = time.monotonic()
    while True:
        try:
            if holds():
                return time.monotonic() - began_s
        except (OSError, KeyError):
            pass
        assert time.monotonic() < began_s + within_s, "it did not hold in time"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
