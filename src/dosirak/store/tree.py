"""A manifest's files as a folder: a view may share the blobs' bytes, a checkout has its own.

Every file is read and compared with its digest before the folder is handed out.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dosirak.errors import AlreadyExists
from dosirak.store.blobs import Blobs, chunks_of
from dosirak.store.durability import (
    create_file,
    discard,
    make_directory,
    open_file,
    sync_directories,
    sync_directory,
    write_all,
)
from dosirak.store.entry import FileEntry
from dosirak.store.layout import Layout
from dosirak.store.scratch import scratch_directory

_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV)
_LINK_ATTEMPTS = 1000
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def viewed(
    layout: Layout, blobs: Blobs, files: Sequence[FileEntry], *, shared: bool
) -> Generator[Path, None, None]:
    """Offer a folder of the files for the time of a block: hard links to the blobs, or copies."""
    with _place_for_view(layout) as place:
        directory = place / "view"
        make_directory(directory)
        for file in files:
            path = _prepared(directory, file)
            if shared:
                _link(layout, blobs, file, path)
            else:
                _copy(blobs, file, path, mode=0o555 if file.executable else 0o444)
        yield directory


@contextmanager
def _place_for_view(layout: Layout) -> Generator[Path, None, None]:
    """Offer scratch in the store, or elsewhere when the store itself is read only."""
    scratch = scratch_directory(layout)
    try:
        place = scratch.__enter__()
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        with tempfile.TemporaryDirectory(prefix="dosirak-") as elsewhere:
            yield Path(elsewhere)
        return
    try:
        yield place
    finally:
        scratch.__exit__(None, None, None)


def _link(layout: Layout, blobs: Blobs, file: FileEntry, path: Path) -> None:
    """Link a blob into a view, then verify what the link leads to."""
    source = layout.blob(file.sha256)
    for _ in range(_LINK_ATTEMPTS):
        if _linked(source, path):
            break
        # Missing, or just being replaced by an equal one: then the link finds neither.
        blobs.open_unverified(file.sha256, where=file.path).close()
    with open_file(source if path.is_symlink() else path) as blob:
        blobs.verify(blob, file.sha256, where=file.path)


def _linked(source: Path, path: Path) -> bool:
    try:
        os.link(source, path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        path.symlink_to(source)
    return True


def check_out(blobs: Blobs, files: Sequence[FileEntry], directory: Path) -> None:
    """Copy the files to a new folder that appears complete or not at all.

    Raises:
        AlreadyExists: `directory` is there and is not an empty folder.
        CorruptContent: a file is missing or damaged.
    """
    if directory.is_symlink() or directory.is_file() or _has_files(directory):
        raise _occupied(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    staged = directory.parent / f".{directory.name[:64]}.{os.urandom(8).hex()}"
    make_directory(staged)
    try:
        for file in files:
            path = _prepared(staged, file)
            _copy(blobs, file, path, mode=0o755 if file.executable else 0o644)
            _sync(path)
        sync_directories([staged, *(path for path in staged.rglob("*") if path.is_dir())])
        _rename(staged, directory)
    except BaseException:
        discard(staged)
        raise


def _rename(staged: Path, directory: Path) -> None:
    try:
        staged.rename(directory)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _occupied(directory) from error
        raise
    sync_directory(directory.parent)


def _copy(blobs: Blobs, file: FileEntry, path: Path, *, mode: int) -> None:
    digest = hashlib.sha256()
    with blobs.open_unverified(file.sha256, where=file.path) as blob, create_file(path) as copy:
        for chunk in chunks_of(blob):
            digest.update(chunk)
            write_all(copy, chunk)
        blobs.check(blob, digest.hexdigest(), file.sha256, where=file.path)
        os.fchmod(copy.fileno(), mode)


def _sync(path: Path) -> None:
    with open_file(path) as file:
        os.fsync(file.fileno())


def _prepared(directory: Path, file: FileEntry) -> Path:
    """Return where a file goes, after making the folders above it."""
    path = directory / file.path
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _has_files(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def _occupied(directory: Path) -> AlreadyExists:
    return AlreadyExists(
        f"{directory} exists and is not empty.", remedy="Name a new folder, or remove that one."
    )
