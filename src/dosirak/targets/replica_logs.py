"""What replicas printed: the end of a log, and what is added to it, across its rotation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_S = 0.2
_BLOCK_BYTES = 64 * 1024
_LONGEST_LINE_BYTES = 256 * 1024


class LogTail:
    """Reads a log on; never waits.

    Args:
        path: the log; its older part is `PATH.1`.
        lines: how many lines of what is there come first.
    """

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._lines = lines
        self._file: int | None = None
        self._rest = b""

    def read(self) -> list[str]:
        """Return the lines that are new."""
        if self._file is None:
            return self._begin()
        data = _rest_of(self._file)
        if self._is_rotated():
            data += _rest_of(self._file)
            os.close(self._file)
            self._file = _opened(self._path)
            data += b"" if self._file is None else _rest_of(self._file)
        return self._split(data)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def finish(self) -> list[str]:
        """Return the rest, also where no line break ends it."""
        lines = self.read()
        rest, self._rest = self._rest, b""
        return [*lines, rest.decode("utf-8", "replace")] if rest else lines

    def _begin(self) -> list[str]:
        older = _last_lines(self._path.with_name(f"{self._path.name}.1"), self._lines)
        self._file = _opened(self._path)
        if self._file is None:
            return older[len(older) - self._lines :] if self._lines else []
        lines = self._split(_rest_of(self._file, last_bytes=_LONGEST_LINE_BYTES * 16))
        missing = max(0, self._lines - len(lines))
        found = [*older[len(older) - missing :], *lines] if missing else lines
        return found[max(0, len(found) - self._lines) :]

    def _is_rotated(self) -> bool:
        assert self._file is not None  # noqa: S101 - asked only while it is open
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except OSError:
            return False

    def _split(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace") for line in lines]


def follow(tail: LogTail, is_alive: Callable[[], bool]) -> Iterator[str]:
    """Yield lines as they come, until nobody writes any more."""
    try:
        while True:
            alive = is_alive()
            yield from tail.read()
            if not alive:
                yield from tail.finish()
                return
            time.sleep(_POLL_S)
    finally:
        tail.close()


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _rest_of(descriptor: int, *, last_bytes: int | None = None) -> bytes:
    if last_bytes is not None:
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, max(0, size - last_bytes), os.SEEK_SET)
    pieces: list[bytes] = []
    while data := os.read(descriptor, _BLOCK_BYTES):
        pieces.append(data)
    return b"".join(pieces)


def _last_lines(path: Path, lines: int) -> list[str]:
    descriptor = _opened(path) if lines else None
    if descriptor is None:
        return []
    try:
        data = _rest_of(descriptor, last_bytes=_LONGEST_LINE_BYTES * 16)
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace").splitlines()[-lines:]
