"""Leases: whoever reads a manifest's files holds one, and the garbage collector leaves them.

A lease is a shared lock on `leases/<digest>`, so it ends with the process that holds it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

from dosirak.store.canonical import is_digest
from dosirak.store.durability import discard, make_directories
from dosirak.store.layout import Layout
from dosirak.store.locks import acquire, no_collection, try_acquire

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def leased(layout: Layout, digest: str) -> Generator[None, None, None]:
    """Keep a manifest and its files from being collected for the time of a block."""
    descriptor = _lease(layout, digest)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lease(layout: Layout, digest: str) -> int | None:
    try:
        make_directories(layout.leases)
        with no_collection(layout):
            return acquire(layout.lease(digest), shared=True)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        return _hold_off_collection(layout)


def _hold_off_collection(layout: Layout) -> int | None:
    """Keep a collector of a store that only others can write away altogether."""
    with suppress(OSError):
        descriptor = os.open(layout.collection_lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor
    return None


def leased_digests(layout: Layout) -> set[str]:
    """Return what somebody holds a lease on, and remove the lease files that nobody holds.

    The caller keeps new leases out by holding the collection lock.
    """
    if not layout.leases.is_dir():
        return set()
    digests = filter(is_digest, (path.name for path in layout.leases.iterdir()))
    return {digest for digest in digests if _is_held(layout, digest)}


def _is_held(layout: Layout, digest: str) -> bool:
    descriptor = try_acquire(layout.lease(digest))
    if descriptor is None:
        return True
    discard(layout.lease(digest))
    os.close(descriptor)
    return False
