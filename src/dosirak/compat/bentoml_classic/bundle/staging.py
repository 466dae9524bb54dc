"""Makes a directory appear whole or not at all: written aside, synced, then renamed into place.

What a killed process leaves behind is only below `.staging`, where nothing looks for services; the
next save removes it once its writer is gone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from dosirak.compat.bentoml_classic.exceptions import YataiRepositoryException
from dosirak.store.durability import discard, sync_directory
from dosirak.store.failures import translated
from dosirak.store.locks import lock_directory

STAGING = ".staging"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def create_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a directory and put it at `target`, atomically and durably.

    Raises:
        YataiRepositoryException: `target` exists and is not empty (the caller's fault).
        StorageError: the disk refused; `target` is as it was.
    """
    with translated("Saving the service", target):
        _make_parents(target.parent)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise _taken(target)
        with _place_beside(target) as place:
            bundle = place / "bundle"
            bundle.mkdir()
            fill(bundle)
            _sync_tree(bundle)
            _move(bundle, target)


def remove_directory(target: Path) -> None:
    """Make a directory disappear at once, then delete what was in it.

    Raises:
        StorageError: the disk refused.
    """
    with translated("Deleting the service", target), _place_beside(target) as place:
        target.rename(place / "removed")
        sync_directory(target.parent)


def _make_parents(directory: Path) -> None:
    if not directory.is_dir():
        _make_parents(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def _move(bundle: Path, target: Path) -> None:
    try:
        # An empty directory is replaced by the same step; anything else is refused by it.
        bundle.rename(target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise _taken(target) from error
    sync_directory(target.parent)


def _taken(target: Path) -> YataiRepositoryException:
    return YataiRepositoryException(
        f"{target} exists already.", remedy="Give another version or directory."
    )


@contextmanager
def _place_beside(target: Path) -> Generator[Path, None, None]:
    """Yield an empty directory on the same disk as `target`, locked while it is in use."""
    staging = target.parent / STAGING
    staging.mkdir(exist_ok=True)
    for abandoned in list(staging.iterdir()):
        _discard_if_abandoned(abandoned)
    place, lock = _claim(staging)
    try:
        yield place
    finally:
        discard(place)
        os.close(lock)
        # Others may be writing beside the same target.
        with suppress(OSError):
            staging.rmdir()


def _claim(staging: Path) -> tuple[Path, int]:
    while True:
        place = staging / os.urandom(8).hex()
        with suppress(FileNotFoundError):
            place.mkdir(mode=0o700)
            if (lock := lock_directory(place)) is not None:
                return place, lock
        staging.mkdir(exist_ok=True)


def _discard_if_abandoned(place: Path) -> None:
    lock = lock_directory(place)
    if lock is not None:
        discard(place)
        os.close(lock)


def _sync_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))
