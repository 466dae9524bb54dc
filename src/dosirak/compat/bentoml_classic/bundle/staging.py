"""Makes a directory appear whole or not at all: written aside, synced, then renamed into place.

What a killed process leaves behind is only below `.staging`, where nothing looks for services; the
next save removes it once its writer is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dosirak.compat.bentoml_classic.exceptions import YataiRepositoryException
from dosirak.errors import StorageError, StorageFull

STAGING = ".staging"


def create_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a directory and put it at `target`, atomically and durably.

    Raises:
        YataiRepositoryException: `target` exists and is not empty (the caller's fault).
        StorageError: the disk refused; `target` is as it was.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _place_beside(target) as staged:
            fill(staged)
            _sync_tree(staged)
            _move(staged, target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = StorageFull if full else StorageError
        raise kind(
            f"{target} cannot be written: {error.strerror}.",
            remedy="Free some space." if full else "Check the directory and its permissions.",
        ) from error


def remove_directory(target: Path) -> None:
    """Make a directory disappear at once, then delete what was in it."""
    with _place_beside(target) as staged:
        target.rename(staged / "removed")
        _sync(target.parent)


def _move(staged: Path, target: Path) -> None:
    try:
        # An empty directory is replaced by the same step; anything else is refused by it.
        staged.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise YataiRepositoryException(
            f"{target} exists already.", remedy="Give another version or directory."
        ) from error
    _sync(target.parent)


@contextmanager
def _place_beside(target: Path) -> Iterator[Path]:
    """Yield an empty directory on the same disk as `target`, locked while in use."""
    staging = target.parent / STAGING
    staging.mkdir(exist_ok=True)
    _remove_abandoned(staging)
    with tempfile.NamedTemporaryFile(dir=staging, suffix=".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = Path(lock.name).with_suffix(".d")
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
    # Others may be writing beside the same target.
    with _ignoring_not_empty():
        staging.rmdir()


@contextmanager
def _ignoring_not_empty() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def _remove_abandoned(staging: Path) -> None:
    for lock_path in staging.glob("*.lock"):
        try:
            lock = lock_path.open("rb")
        except FileNotFoundError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            place = lock_path.with_suffix(".d")
            # A writer that has just made its lock file has no directory yet: leave it alone.
            if place.exists():
                shutil.rmtree(place, ignore_errors=True)
                lock_path.unlink(missing_ok=True)


def _sync_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            _sync(Path(folder) / name)
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
