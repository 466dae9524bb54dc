"""Processes by more than their number: a pid that was given to another is never signalled."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from dosirak.targets.kernel_files import started_at

# In the environment of all that a replica starts.
MARKER = "DOSIRAK_REPLICA"


def send_signal(pid: int, started: int, number: signal.Signals) -> bool:
    """Signal a process if it is still the one that began then; whether it was.

    Args:
        pid: its number.
        started: when it began, as the kernel counts.
        number: the signal.
    """
    if pid <= 0 or started <= 0:
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The handle means one process for ever; here it is seen to be the right one.
        if started_at(pid) != started:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def kill_marked(folder: Path) -> int:
    """End every process that carries a replica's mark; return how many there were.

    The mark is the replica's folder: ids are unique within one home only.
    """
    count = 0
    for pid in _marked(os.fsencode(f"{MARKER}={folder}")):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count


def _marked(mark: bytes) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
