"""Locks between processes: flock on files of the store, released by the kernel when a process ends.

The collection lock keeps the garbage collector apart from those who publish or begin to read. They
hold it shared for the short time in which blobs become referenced or leased; the collector holds it
exclusively. All pass a gate first, and a waiting collector keeps the gate, so that many savers
cannot starve it. The order is always gate, collection, name.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from dosirak.errors import Conflict
from dosirak.store.layout import Layout

_POLL_S = 0.005
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the file that is open; it may have been removed meanwhile."""
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _lock_once(path: Path, operation: int) -> int | None:
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, operation)
        if _is_still(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def acquire(path: Path, *, shared: bool = False) -> int:
    """Lock a file, made if need be, and return its descriptor; closing it lets go."""
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        descriptor = _lock_once(path, operation)
        if descriptor is not None:
            return descriptor


def try_acquire(path: Path) -> int | None:
    """Lock a file exclusively if nobody holds it."""
    try:
        return _lock_once(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None


def acquire_within(path: Path, wait_s: float) -> int:
    """Lock a file exclusively, or give up.

    Raises:
        Conflict: somebody held it all the time.
    """
    until = time.monotonic() + wait_s
    while True:
        descriptor = try_acquire(path)
        if descriptor is not None:
            return descriptor
        if time.monotonic() > until:
            raise Conflict(
                f"Garbage was not collected: the store stayed in use for {wait_s:g} seconds.",
                remedy="Try again when no save or import is running.",
            )
        time.sleep(_POLL_S)


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Hold a file's lock exclusively for the time of a block."""
    descriptor = acquire(path)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def no_collection(layout: Layout) -> Generator[None, None, None]:
    """Keep the garbage collector out for the time of a block."""
    gate = acquire(layout.collection_gate, shared=True)
    try:
        descriptor = acquire(layout.collection_lock, shared=True)
    finally:
        os.close(gate)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def collection(layout: Layout, *, wait_s: float) -> Generator[None, None, None]:
    """Keep everybody who publishes or begins to read out for the time of a block.

    Raises:
        Conflict: they did not let go within `wait_s` seconds.
    """
    gate = acquire_within(layout.collection_gate, wait_s)
    try:
        descriptor = acquire_within(layout.collection_lock, wait_s)
        try:
            yield
        finally:
            os.close(descriptor)
    finally:
        os.close(gate)


def lock_directory(path: Path) -> int | None:
    """Mark a scratch folder as in use; None when a collector has removed it meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(path, descriptor):
            return descriptor
    os.close(descriptor)
    return None
