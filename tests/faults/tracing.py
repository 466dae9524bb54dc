"""Interrupting an operation at one chosen system call, with strace."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
WRITING = (
    "openat,open,creat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,ftruncate,truncate,"
    "copy_file_range,sendfile,utimensat"
)
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


@dataclass(frozen=True)
class Point:
    """The `count`-th call of one name."""

    syscall: str
    count: int
    text: str

    def __str__(self) -> str:
        return f"{self.syscall}#{self.count} ({self.text[:100]})"


@dataclass(frozen=True)
class Outcome:
    """How a child ended: `code` is its exit code, None when it was killed."""

    code: int | None
    trace: str

    @property
    def was_killed(self) -> bool:
        return self.code is None


class Server:
    """A running `operations.py`."""

    def __init__(self, scratch: Path) -> None:
        self._trace = scratch / "trace"
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "operations.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )

    def close(self) -> None:
        """End the server."""
        self._stdin.close()
        self._process.wait(10)
        self._stdout.close()

    def run(self, request: dict[str, Any], *, inject: str | None = None) -> Outcome:
        """Do one operation under strace."""
        child = self._start(request)
        command = ["strace", "-o", str(self._trace), "-s", "200", "-e", f"trace={WRITING}"]
        if inject is not None:
            command += ["-e", f"inject={inject}"]
        tracer = subprocess.Popen([*command, "-p", str(child)], stderr=subprocess.PIPE)
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        try:
            assert b"attached" in attached, attached
        finally:
            self._stdin.write(b"go\n")
            status = int(self._stdout.readline())
            tracer.wait(20)
            tracer.stderr.close()
        return Outcome(_code(status), self._trace.read_text(errors="replace"))

    def start(self, request: dict[str, Any]) -> int:
        """Begin one operation without a tracer, and return the child's pid."""
        child = self._start(request)
        self._stdin.write(b"go\n")
        return child

    def finish(self) -> Outcome:
        """Wait for the end of what `start` began."""
        return Outcome(_code(int(self._stdout.readline())), "")

    def _start(self, request: dict[str, Any]) -> int:
        self._stdin.write(json.dumps(request).encode() + b"\n")
        return int(self._stdout.readline())

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


def _code(status: int) -> int | None:
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, os.WTERMSIG(status)
        return None
    return os.WEXITSTATUS(status)


def writing_points(trace: str) -> Iterator[Point]:
    """Yield each call of a trace that changes the disk, in order."""
    counts: Counter[str] = Counter()
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        name, arguments = found.groups()
        counts[name] += 1
        if not name.startswith("open") or "O_CREAT" in arguments:
            yield Point(name, counts[name], arguments)
