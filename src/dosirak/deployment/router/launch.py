"""Becomes Envoy, in a session of its own: run as a script, with the standard library alone.

    python -I -S launch.py LOCK_DESCRIPTOR RECORD LOG EXECUTABLE ARGUMENTS…

The process that runs this ends at once; its child takes the lock with it for as long as it lives,
writes down who it is before it is Envoy, and belongs to nobody.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Leave the session, write the record, and be Envoy."""
    lock, record, log, executable, *arguments = sys.argv[1:]
    if os.fork():
        return
    os.setsid()
    _redirect(log)
    _write_record(Path(record))
    os.set_inheritable(int(lock), True)
    os.execv(executable, [executable, *arguments])  # noqa: S606 - the path is the caller's


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)


def _write_record(path: Path) -> None:
    stat = Path("/proc/self/stat").read_text()
    started = stat.rpartition(")")[2].split()[19]
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps({"pid": os.getpid(), "started": int(started)}))
    new.replace(path)


if __name__ == "__main__":
    main()
