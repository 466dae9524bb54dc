"""What a supervisor writes: a log that is rotated by size, and a record that is replaced.

A thread writes both, so that a disk that is full or stuck stops neither the supervisor nor the
replica whose output this is: what cannot be written is dropped and counted. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import Any

from dosirak.targets.kernel_files import replace_file

# Output that waits for the disk; what comes beyond is dropped.
_MOST_WAITING_BYTES = 1 << 20
# Room for a line with a whole traceback in it.
_TAIL_BYTES = 32 << 10
_TAIL_LINES = 12
_FLUSH_S = 5.0
_RETRY_S = 1.0


class Log:
    """A file that is rotated by size, and a record that is replaced; both written by a thread.

    Args:
        path: the log; older parts are `PATH.1`, `PATH.2`, ….
        record_path: the record.
        size_bytes: at which another part begins.
        parts: how many older ones are kept.
    """

    def __init__(self, path: str, record_path: str, size_bytes: int, parts: int) -> None:
        self._path, self._record_path = path, record_path
        self._size_bytes, self._parts = size_bytes, parts
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._record: dict[str, Any] | None = None
        self._change = threading.Condition()
        self._closing = False
        self._file = -1
        self._tail = b""
        self.dropped_bytes = 0
        self._told_dropped_bytes = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Take output; never waits."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        with self._change:
            if self._waiting_bytes + len(data) > _MOST_WAITING_BYTES:
                self.dropped_bytes += len(data)
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._change.notify()

    def say(self, sentence: str) -> None:
        """Write a line of our own."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.write(f"{moment} replica: {sentence}\n".encode())

    def keep(self, record: dict[str, Any]) -> None:
        """Replace the record; never waits."""
        with self._change:
            self._record = dict(record)
            self._change.notify()

    def last_lines(self) -> str:
        """Return the end of the output."""
        lines = self._tail.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def close(self) -> None:
        """Write what waits, if the disk takes it in time."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(_FLUSH_S)

    def _run(self) -> None:
        while True:
            with self._change:
                while not (self._waiting or self._record or self._closing):
                    self._change.wait()
                pieces, record = list(self._waiting), self._record
                self._waiting.clear()
                self._record = None
                if self._closing and not pieces and record is None:
                    return
            kept = record is None or self._replace_record(record)
            written = self._append(b"".join(pieces)) if pieces else True
            with self._change:
                self._waiting_bytes -= sum(map(len, pieces))
                if not kept and self._record is None:
                    self._record = record
                if not (kept and written):
                    if self._closing:
                        return
                    self._change.wait(_RETRY_S)

    def _append(self, data: bytes) -> bool:
        lost = self.dropped_bytes - self._told_dropped_bytes
        if lost:
            data = f"replica: {lost} bytes of output were dropped here.\n".encode() + data
        try:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            if os.fstat(self._file).st_size + len(data) > self._size_bytes:
                self._rotate()
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.dropped_bytes += len(data)
            self._forget_file()
            return False
        self._told_dropped_bytes += lost
        return True

    def _rotate(self) -> None:
        if not os.fstat(self._file).st_size:
            return
        for number in range(self._parts, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            with contextlib.suppress(OSError):
                os.rename(older, f"{self._path}.{number}")  # noqa: PTH104 - pathlib costs memory
        self._forget_file()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)

    def _forget_file(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _replace_record(self, record: dict[str, Any]) -> bool:
        record["dropped_bytes"] = self.dropped_bytes
        try:
            replace_file(self._record_path, record)
        except OSError:
            return False
        return True
