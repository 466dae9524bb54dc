"""A server started through the public command line, as a person starts it, and what it did."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cores
import psutil

VICTIMS = Path(__file__).parent / "victims.py"
_URL = re.compile(r"served at http://127\.0\.0\.1:(\d+)")
_READY_S = 60.0
_ADMIN_TOKEN = "the-token-of-those-who-break-things"


class Served:
    """One `dosirak serve` on a free port of 127.0.0.1.

    Args:
        target: a service's name in `victims.py`.
        folder: for its home, its log, and what its workers note.
        options: further arguments of the command.
        editable: what is served is a copy in the folder, which `edit` can change.
        apart: on a core of its own.
    """

    def __init__(
        self,
        target: str,
        folder: Path,
        *options: str,
        workers: int = 2,
        editable: bool = False,
        apart: bool = False,
    ) -> None:
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.file = VICTIMS
        if editable:
            self.file = folder / VICTIMS.name
            self.file.write_text(VICTIMS.read_text())
        self.log_file = folder / "serve.log"
        command = [sys.executable, "-m", "dosirak", "serve", f"{self.file}:{target}"]
        prefix = cores.server_prefix() if apart else []
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, *command, "--port", "0", "--workers", str(workers), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "DOSIRAK_HOME": str(folder / "home"),
                    "DOSIRAK_ADMIN_TOKEN": _ADMIN_TOKEN,
                    "VICTIM_NOTES": str(self.notes),
                    "NO_COLOR": "1",
                },
            )
        self.port = self._await_port()

    def _await_port(self) -> int:
        deadline_s = time.monotonic() + _READY_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            found = _URL.search(self.log())
            if found:
                return int(found[1])
            time.sleep(0.02)
        self.end()
        raise AssertionError(f"it does not serve: {self.log()[-2000:]}")

    def log(self) -> str:
        """Return what it has printed."""
        return self.log_file.read_text(errors="replace")

    def said(self) -> str:
        """Return what it printed beside the requests that it logged."""
        lines = (line for line in self.log().splitlines() if '"event":"request"' not in line)
        return "\n".join(lines)[-6000:]

    def get(self, path: str) -> str:
        """Return the text of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def post(self, api: str, **arguments: Any) -> Any:
        """Call an api and return its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{api}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def reload(self) -> tuple[int, dict[str, Any]]:
        """Have what it serves looked up anew; return the status and how that ended."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/admin/reload",
            method="POST",
            headers={"Authorization": f"Bearer {_ADMIN_TOKEN}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def workers(self) -> list[int]:
        """Return the pids of the workers that have started and live."""
        return [
            int(note.name.removeprefix("worker-"))
            for note in self.notes.glob("worker-*")
            if _lives(int(note.name.removeprefix("worker-")))
        ]

    def worker_starts(self) -> int:
        """Return how many workers have ever started."""
        return len(list(self.notes.glob("worker-*")))

    def kill_worker(self, choose: Callable[[list[int]], int], number: int = signal.SIGKILL) -> bool:
        """Send a signal to one worker; False when there is none."""
        pids = self.workers()
        if not pids:
            return False
        try:
            os.kill(choose(pids), number)
        except ProcessLookupError:
            return False
        return True

    def noted(self, name: str) -> list[str]:
        """Return the lines that workers wrote under a name."""
        file = self.notes / name
        return file.read_text().splitlines() if file.exists() else []

    def metric(self, start: str) -> float:
        """Return the sum of the metrics whose line starts so."""
        lines = (line for line in self.get("/metrics").splitlines() if line.startswith(start))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def processes(self) -> list[psutil.Process]:
        """Return the server and everything below it."""
        front = psutil.Process(self.process.pid)
        return [front, *front.children(recursive=True)]

    def front_cpu_s(self) -> float:
        """Return the time that the front has used of its core."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return what the whole tree holds that no other process shares."""
        return sum(process.memory_full_info().uss for process in self.processes())

    def memory_of_each(self) -> dict[int, int]:
        """Return the same of each process, the front first."""
        return {one.pid: one.memory_full_info().uss for one in self.processes()}

    def until(self, holds: Callable[[], bool], within_s: float = 30.0) -> float:
        """Wait until something holds; return how long it took."""
        began_s = time.monotonic()
        while not holds():
            assert time.monotonic() < began_s + within_s, f"it did not hold: {self.log()[-1500:]}"
            time.sleep(0.01)
        return time.monotonic() - began_s

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> None:
        """End it, whatever a test did."""
        if self.process.poll() is None:
            below = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait(10)
            for child in below:
                if child.is_running():
                    child.kill()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
