"""What the operating system says of a worker's process (Linux's /proc; silence elsewhere)."""

from __future__ import annotations

from pathlib import Path

_STOPPED = frozenset("Tt")


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal or a debugger; False when it cannot be told.

    The state is the first field after the command's name, which is in parentheses and may hold any
    character (proc(5)).
    """
    try:
        stat = (Path("/proc") / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return bool(fields) and fields[0] in _STOPPED
