"""Whether a file is well-formed Universal Binary JSON, decided without building any of it.

XGBoost's own reader trusts lengths and crashes the process on a truncated file, so its files are
walked here first: every length must fit in what is left, and the one value must end the file.
The walk skips typed arrays, so it touches a few bytes per array however large they are.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from dosirak.models.model_file import corrupt

_SIZES = {
    **dict.fromkeys((b"Z", b"T", b"F"), 0),
    **dict.fromkeys((b"i", b"U", b"C"), 1),
    b"I": 2,
    b"l": 4,
    b"d": 4,
    b"L": 8,
    b"D": 8,
}
_INTEGERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_MAXIMUM_DEPTH = 64
_WHAT = "UBJSON"


def check_ubjson(path: Path) -> None:
    """Walk the file once.

    Raises:
        CorruptContent: it is not one well-formed value.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise corrupt(_WHAT, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if _Walk(data).value(0, 0) != len(data):
                raise corrupt(_WHAT, "something follows its end")


class _Walk:
    """Positions in one file; each method takes where something begins and returns where it ends."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._size = len(data)

    def value(self, position: int, depth: int) -> int:
        return self._after_marker(self._byte(position), position + 1, depth)

    def _after_marker(self, marker: bytes, position: int, depth: int) -> int:
        if marker in _SIZES:
            return self._skip(position, _SIZES[marker])
        if marker in (b"S", b"H"):
            return self._text(position)
        if depth > _MAXIMUM_DEPTH:
            raise corrupt(_WHAT, "it is nested too deeply")
        if marker == b"{":
            return self._container(position, depth, b"}", named=True)
        if marker == b"[":
            return self._container(position, depth, b"]", named=False)
        raise corrupt(_WHAT, f"unknown marker at byte {position - 1}")

    def _container(self, position: int, depth: int, end: bytes, *, named: bool) -> int:
        kind, count, position = self._header(position)
        if kind in _SIZES and count is not None and not named:
            return self._skip(position, _SIZES[kind] * count)
        if count is None:
            return self._until(position, depth, end, named=named)
        for _ in range(count):
            position = self._item(position, depth, kind, named=named)
        return position

    def _header(self, position: int) -> tuple[bytes, int | None, int]:
        """Read `$type` and `#count`, either of which may be absent."""
        kind = b""
        if self._byte(position) == b"$":
            kind, position = self._byte(position + 1), position + 2
            if self._byte(position) != b"#":
                raise corrupt(_WHAT, f"a typed container without a length at byte {position}")
        if self._byte(position) != b"#":
            return kind, None, position
        count, position = self._integer(position + 1)
        if count < 0 or (count > self._size and not kind):
            raise corrupt(_WHAT, f"an impossible length at byte {position}")
        return kind, count, position

    def _until(self, position: int, depth: int, end: bytes, *, named: bool) -> int:
        while self._byte(position) != end:
            position = self._item(position, depth, b"", named=named)
        return position + 1

    def _item(self, position: int, depth: int, kind: bytes, *, named: bool) -> int:
        if named:
            position = self._text(position)
        if kind:
            return self._after_marker(kind, position, depth + 1)
        return self.value(position, depth + 1)

    def _text(self, position: int) -> int:
        length, position = self._integer(position)
        return self._skip(position, length)

    def _integer(self, position: int) -> tuple[int, int]:
        marker = self._byte(position)
        if marker not in _INTEGERS:
            raise corrupt(_WHAT, f"a length that is no number at byte {position}")
        end = self._skip(position + 1, _SIZES[marker])
        (number,) = struct.unpack(_INTEGERS[marker], self._data[position + 1 : end])
        return int(number), end

    def _byte(self, position: int) -> bytes:
        if position >= self._size:
            raise corrupt(_WHAT, "it ends too early")
        return self._data[position : position + 1]

    def _skip(self, position: int, length: int) -> int:
        if length < 0 or position + length > self._size:
            raise corrupt(_WHAT, "it ends too early")
        return position + length
