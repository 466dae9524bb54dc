"""Records as JSON lines in a directory, one file after the other; each owner only may read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec


class FileNames:
    """Names for the files of one process: no two processes ever share one."""

    def __init__(self, directory: Path, service: str, suffix: str) -> None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._stem = f"{service}-{started}-{os.getpid()}"
        self._directory = directory
        self._suffix = suffix
        self._count = 0

    def next(self) -> Path:
        """Return the next name."""
        self._count += 1
        return self._directory / f"{self._stem}-{self._count:04d}.{self._suffix}"


class JsonLines:
    """Appends records to files of a bounded size."""

    def __init__(self, directory: Path, service: str, max_file_bytes: int) -> None:
        self._names = FileNames(directory, service, "jsonl")
        self._max_file_bytes = max_file_bytes
        self._file: BinaryIO | None = None

    def write(self, records: Sequence[msgspec.Struct]) -> None:
        """Write records; a full file is closed and another begun."""
        for record in records:
            line = msgspec.json.encode(record) + b"\n"
            file = self._file
            if file is not None and file.tell() + len(line) > self._max_file_bytes:
                self.close()
            if self._file is None:
                self._file = open_private(self._names.next())
            self._file.write(line)
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def open_private(path: Path) -> BinaryIO:
    """Open a new file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
