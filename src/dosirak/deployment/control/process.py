"""The control plane's process: started apart from who asks, found again, told to end.

One control plane owns a home: it holds `control.lock` for as long as it lives, and writes its
address to `control.json` once it answers. Whoever wants it reads the address; a record without a
held lock is one of a control plane that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_settings import PlatformSettings
from dosirak.errors import Conflict, Unavailable
from dosirak.store.durability import replace_file

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
_LOOK_S = 0.05
_LOOKERS_S = 1.0
_TOLD_LINES = 5


class ControlRecord(msgspec.Struct, frozen=True):
    """Where a running control plane is.

    Attributes:
        url: of its API and console.
        pid: its process.
        started_at: seconds since the epoch.
        version: dosirak's.
    """

    url: str
    pid: int
    started_at: float
    version: str


@dataclass(frozen=True, slots=True)
class ControlStatus:
    """Whether a control plane runs, and where."""

    running: bool
    record: ControlRecord | None


def control_plane_status(paths: PlatformPaths) -> ControlStatus:
    """Look whether this home's control plane runs."""
    if not _is_held(paths.control_lock):
        return ControlStatus(running=False, record=None)
    return ControlStatus(running=True, record=_record(paths))


def start_control_plane(
    paths: PlatformPaths, settings: PlatformSettings | None = None
) -> ControlRecord:
    """Start it, with these settings from now on, and wait until it answers.

    Raises:
        Conflict: it runs already.
        Unavailable: it ended, or does not answer; the reason is the end of its log.
    """
    if control_plane_status(paths).running:
        raise Conflict(
            "The control plane runs already.",
            remedy="`dosirak platform status` says where; stop it first to change its settings.",
        )
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if settings is not None:
        settings.write(paths.root)
    begun_at = _log_size(paths)
    with _log(paths) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dosirak", "platform", "run"],
            env={**os.environ, "DOSIRAK_HOME": str(paths.home)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _await_answer(paths, process, begun_at)


def ensure_control_plane(paths: PlatformPaths) -> ControlRecord:
    """Return where it is, starting it if it does not run.

    Raises:
        Unavailable: it cannot be started; the reason is the end of its log.
    """
    while True:
        record = _awaited_record(paths)
        if record is not None:
            return record
        with contextlib.suppress(Conflict):  # somebody else has started it meanwhile
            return start_control_plane(paths)


def running_control_plane(paths: PlatformPaths) -> ControlRecord:
    """Return where it is, if it runs or is about to; nothing is started.

    Raises:
        Unavailable: it does not run, or does not answer.
    """
    record = _awaited_record(paths)
    if record is None:
        raise Unavailable(
            "The platform does not run.", remedy="Start it with `dosirak platform start`."
        )
    return record


def stop_control_plane(paths: PlatformPaths) -> bool:
    """End it; the deployments serve on. Return whether one ran.

    Raises:
        Unavailable: it does not end.
    """
    status = control_plane_status(paths)
    if not status.running:
        return False
    pid = status.record.pid if status.record else _holder(paths.control_lock)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while _is_held(paths.control_lock):
        if time.monotonic() > deadline:
            raise Unavailable(
                "The control plane does not end.",
                remedy=f"End its process {pid} yourself; the deployments serve on.",
            )
        time.sleep(_LOOK_S)
    return True


@contextlib.contextmanager
def owned_home(paths: PlatformPaths) -> Generator[None]:
    """Hold this home's lock; called by the control plane itself.

    Raises:
        Conflict: another control plane holds it.
    """
    paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with paths.control_lock.open("a+") as lock:
        _own(lock)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        paths.control_record.unlink(missing_ok=True)
        try:
            yield
        finally:
            paths.control_record.unlink(missing_ok=True)


def _own(lock: IO[str]) -> None:
    # Somebody who looks whether the lock is held holds it for a moment.
    deadline = time.monotonic() + _LOOKERS_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Conflict(
                    "Another control plane owns this DOSIRAK_HOME.",
                    remedy="`dosirak platform status` says where it is.",
                ) from error
        time.sleep(_LOOK_S)


def write_record(paths: PlatformPaths, record: ControlRecord) -> None:
    """Say where the control plane is, once it answers."""
    path = paths.control_record
    replace_file(path, msgspec.json.encode(record), scratch=path.parent)


def _awaited_record(paths: PlatformPaths) -> ControlRecord | None:
    """Return where it is, once one that is just starting says so; None if none runs."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        status = control_plane_status(paths)
        if status.record is not None or not status.running:
            return status.record
        if time.monotonic() > deadline:
            raise Unavailable(
                "The control plane does not answer.",
                remedy=f"See {paths.control_log}; `dosirak platform stop` ends it.",
            )
        time.sleep(_LOOK_S)


def _await_answer(
    paths: PlatformPaths, process: subprocess.Popen[bytes], begun_at: int
) -> ControlRecord:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        record = control_plane_status(paths).record
        if record is not None:
            return record
        if process.poll() is not None:
            status = control_plane_status(paths)
            if not status.running:
                raise Unavailable(
                    f"The control plane ended with status {process.returncode}."
                    f" {_told(paths, begun_at)}",
                    remedy=f"See {paths.control_log}.",
                )
        time.sleep(_LOOK_S)
    raise Unavailable(
        f"The control plane did not answer within {_START_TIMEOUT_S:g} s. {_told(paths, begun_at)}",
        remedy=f"See {paths.control_log}; `dosirak platform stop` ends it.",
    )


def _told(paths: PlatformPaths, begun_at: int) -> str:
    try:
        with paths.control_log.open("rb") as log:
            log.seek(begun_at)
            lines = log.read(64 << 10).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return " ".join(line.strip() for line in lines[-_TOLD_LINES:])


def _log(paths: PlatformPaths) -> IO[bytes]:
    descriptor = os.open(paths.control_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab")


def _log_size(paths: PlatformPaths) -> int:
    try:
        return paths.control_log.stat().st_size
    except FileNotFoundError:
        return 0


def _record(paths: PlatformPaths) -> ControlRecord | None:
    try:
        return msgspec.json.decode(paths.control_record.read_bytes(), type=ControlRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _holder(lock: Path) -> int | None:
    try:
        return int(lock.read_text())
    except (OSError, ValueError):
        return None
