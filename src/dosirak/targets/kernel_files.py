"""Small files, the kernel's own among them: read or written at once. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any


def replace_file(path: str, value: dict[str, Any]) -> None:
    """Write JSON in the place of a file: the old or the new, never half."""
    written = f"{path}.new"
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.replace(written, path)  # noqa: PTH105


def started_at(pid: int) -> int:
    """Return when a process was started, in the kernel's own unit; 0 where it is not known."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def children() -> set[int]:
    """Return this process's children."""
    return set(map(int, read_text(f"/proc/self/task/{os.getpid()}/children").split()))


def counted(path: str) -> int:
    """Return the `oom_kill` of a file of counts; 0 where there is none."""
    for line in read_text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def read_text(path: str) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def write_text(path: str, text: str) -> bool:
    """Write a file of the kernel's; whether it took it."""
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
        return True
    return False
