"""Scratch folders: each belongs to one live process, which holds its lock; the rest is garbage."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dosirak.store.durability import discard, make_directories, make_directory
from dosirak.store.layout import Layout
from dosirak.store.locks import lock_directory


def _claim(parent: Path) -> tuple[Path, int]:
    while True:
        directory = parent / os.urandom(8).hex()
        make_directory(directory)
        lock = lock_directory(directory)
        if lock is not None:
            return directory, lock


@contextmanager
def scratch_directory(layout: Layout) -> Generator[Path, None, None]:
    """Offer a private empty folder on the store's own disk; it is removed afterwards."""
    make_directories(layout.scratch)
    directory, lock = _claim(layout.scratch)
    try:
        yield directory
    finally:
        discard(directory)
        os.close(lock)


def discard_abandoned(layout: Layout) -> int:
    """Remove what ended processes left behind; return how many folders or files that was."""
    if not layout.scratch.is_dir():
        return 0
    return sum(_discard_if_abandoned(path) for path in list(layout.scratch.iterdir()))


def _discard_if_abandoned(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        discard(path)
        return True
    lock = lock_directory(path)
    if lock is None:
        return False
    discard(path)
    os.close(lock)
    return True
