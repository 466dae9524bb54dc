"""Operating system errors become the project's own, saying what was needed and what there is.

A full disk is told from a broken one, because the remedy differs. Nothing here decides whether the
old state stands: every operation of the store is built so that it does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from dosirak.errors import DosirakError, StorageError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (*_FULL, errno.EFBIG, errno.EIO, errno.EROFS)


def free_bytes(path: Path) -> int | None:
    """Return the free space where `path` lies or would lie, if the system says."""
    for candidate in (path, *path.parents):
        try:
            found = os.statvfs(candidate)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None


def is_full(error: BaseException) -> bool:
    """Whether an error means a full device or quota, also when a library has wrapped it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(os.strerror(code) in str(error) for code in _FULL)


def storage_full(operation: str, path: Path, needed_bytes: int | None) -> StorageFull:
    """Describe a full disk: the need and the free space."""
    need = "more space" if needed_bytes is None else f"at least {needed_bytes:,} bytes"
    free = free_bytes(path)
    there_is = "an unknown amount" if free is None else f"{free:,} bytes"
    return StorageFull(
        f"{operation} needs {need} and {there_is} is free where the store lies ({path}).",
        remedy="Free some space, raise the quota, or collect garbage, then try again.",
    )


def storage_error(
    error: OSError, operation: str, path: Path, needed_bytes: int | None = None
) -> DosirakError:
    """Turn one operating system error into a `StorageFull` or a `StorageError`."""
    if is_full(error):
        return storage_full(operation, path, needed_bytes)
    if error.errno == errno.EFBIG:
        return _file_too_large(operation, path)
    reason = error.strerror or str(error)
    return StorageError(
        f"{operation} failed: {reason} ({error.filename or path}).",
        remedy="Check the disk and its permissions; what was stored before is untouched.",
    )


def _file_too_large(operation: str, path: Path) -> StorageFull:
    """Describe a limit on each file, of the process or the file system, however much is free."""
    return StorageFull(
        f"{operation} needs a file larger than any may be here ({path}).",
        remedy="Raise the limit on file sizes (`ulimit -f`), or keep the store on a file system"
        " that holds larger files.",
    )


def storage_failure(
    error: Exception, operation: str, path: Path, written_bytes: int | None
) -> DosirakError:
    """Turn an error for which `means_storage` holds, whoever raised it, into the project's own."""
    if is_full(error):
        return storage_full(operation, path, written_bytes)
    return storage_error(OSError(*error.args[:2]), operation, path)


def tree_bytes(directory: Path) -> int:
    """Return the length of all files under a folder, as far as they can be seen."""
    total = 0
    for folder, _, names in os.walk(directory):  # passes over what cannot be read
        for name in names:
            with suppress(OSError):
                total += Path(folder, name).stat(follow_symlinks=False).st_size
    return total


@contextmanager
def translated(
    operation: str, path: Path, needed_bytes: int | None = None
) -> Generator[None, None, None]:
    """Raise every `OSError` from the block as a `StorageError`.

    Raises:
        StorageFull: the device or quota is full.
        StorageError: any other refusal of the operating system.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, operation, path, needed_bytes) from error


def means_storage(error: BaseException) -> bool:
    """Whether an error from somebody else's code says that the disk is full or broken."""
    return is_full(error) or (isinstance(error, OSError) and error.errno in _BROKEN)
