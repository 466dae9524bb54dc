"""Few ways to change the disk, each leaving the old state or the new one after a power cut.

A file is written under a name nobody reads, forced to the disk, renamed, and the folder that now
holds it forced to the disk. Folders are 0700 and files at most 0600, whatever the umask says.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
READ_ONLY = 0o444
_SMALL_BYTES = 1 << 14

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that somebody put in the place of a file is no reason to wait.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def make_directory(path: Path) -> None:
    """Make one private folder, if it is not there."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)


def make_directories(path: Path) -> None:
    """Make a private folder and its missing parents, each known to its own parent on the disk."""
    if path.is_dir():
        return
    make_directories(path.parent)
    make_directory(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Force a folder's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directories(paths: Iterable[Path]) -> None:
    """Force several folders' names to the disk, each once."""
    for path in sorted(set(paths)):
        sync_directory(path)


def create_file(path: Path) -> BinaryIO:
    """Open a new private file for writing; never follows a link, never opens an old one."""
    return os.fdopen(os.open(path, _CREATE, 0o600), "wb", buffering=0)


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; never follows a link."""
    return os.fdopen(os.open(path, _READ), "rb", buffering=0)


def read_file(path: Path | str) -> bytes:
    """Read a whole small file; never follows a link. Listings read ten thousand."""
    descriptor = os.open(path, _READ)
    try:
        data = os.read(descriptor, _SMALL_BYTES)
        while len(data) >= _SMALL_BYTES and (more := os.read(descriptor, CHUNK_BYTES)):
            data += more
    finally:
        os.close(descriptor)
    return data


def is_no_file(error: OSError) -> bool:
    """Whether reading failed because a link, a folder or a socket lies where a file belongs."""
    return error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data`, however little the system takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def write_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a new file and force it to the disk."""
    with create_file(path) as file:
        write_all(file, data)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes, *, scratch: Path) -> None:
    """Give `path` new content in one step; `scratch` is a folder on the same disk."""
    staged = scratch / f"{path.name}.{os.urandom(8).hex()}"
    write_file(staged, data)
    staged.replace(path)
    sync_directory(path.parent)


def discard(path: Path) -> None:
    """Remove a scratch file or folder as far as possible; garbage collection takes the rest."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()
