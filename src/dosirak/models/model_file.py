"""Model files at the boundary: what a library raises or prints becomes one of dosirak's errors.

`reading` and `writing` surround a library's own loader and writer. `checked_file` looks at a file
before any loader does, so that a pickle under another name never reaches one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dosirak.errors import (
    CorruptContent,
    DosirakError,
    MissingDependency,
    StorageError,
    StorageFull,
    UsageError,
)

_REMEDY = "Save the model again, or fetch it again from where it came."
_PICKLE_PROTOCOLS = frozenset({b"\x80" + bytes([protocol]) for protocol in range(2, 6)})
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how libraries written in Rust end their messages
_PROBE_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def corrupt(what: str, reason: str) -> CorruptContent:
    """Return the error for a file that is not in its format."""
    return CorruptContent(f"The {what} file is damaged or is not one: {reason}.", remedy=_REMEDY)


def checked_file(directory: Path, name: str, *, what: str, magic: bytes = b"") -> Path:
    """Return the path of a regular file that begins as its format does.

    Raises:
        CorruptContent: it is missing, no regular file, a pickle, or begins otherwise.
    """
    path = directory / name
    if not path.is_file():
        raise corrupt(what, f"{name} is missing")
    with path.open("rb") as file:
        head = file.read(max(len(magic), 2))
    if head[:2] in _PICKLE_PROTOCOLS:
        raise corrupt(what, f"{name} is a pickle")
    if not head.startswith(magic):
        raise corrupt(what, f"{name} does not begin as that format does")
    return path


@contextmanager
def reading(what: str) -> Generator[None]:
    """Turn whatever a library's loader raises into CorruptContent, and keep it quiet.

    A loader meets arbitrary bytes, so it may raise anything: this is the one place that catches
    all of it. Memory errors and a missing library are no fault of the file and stay what they are.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DosirakError, MemoryError):
        raise
    except ImportError as error:
        raise MissingDependency(
            f"Loading the {what} file needs a module that cannot be imported: {error}.",
            remedy="Install the distributions that the model's requirements name.",
        ) from error
    except Exception as error:
        raise corrupt(what, f"the loader reports {type(error).__name__}") from error


@contextmanager
def writing(what: str, directory: Path, *, remedy: str) -> Generator[None]:
    """Turn whatever a library's writer raises into StorageError or UsageError; keep it quiet.

    Native libraries report a full disk in words of their own, or not at all: when one fails, the
    disk is asked, and a file checked inside the block that is not whole is the disk's fault.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CorruptContent as error:
        raise _storage_error(OSError(errno.EIO, "it was not written whole")) from error
    except (DosirakError, MemoryError):
        raise
    except OSError as error:
        raise _storage_error(error) from error
    except Exception as error:
        _ask_disk(directory, error)
        raise UsageError(
            f"The model cannot be written as {what}: {type(error).__name__}: {error}.",
            remedy=remedy,
        ) from error


def _ask_disk(directory: Path, cause: Exception) -> None:
    """Raise StorageError if the error names one, or if the newest file cannot grow."""
    number = _OS_ERROR.search(str(cause))
    if number is not None:
        code = int(number.group(1))
        raise _storage_error(OSError(code, os.strerror(code))) from cause
    files = [path for path in directory.iterdir() if path.is_file()]
    try:
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[-1:]:
            with path.open("ab") as file:
                file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise _storage_error(error) from error


def _storage_error(error: OSError) -> StorageError:
    kind = StorageFull if error.errno in _FULL else StorageError
    return kind(
        f"The model's file cannot be written: {error.strerror}.",
        remedy="Free space on the disk that holds the store, and save again.",
    )


def checked_options(
    options: Mapping[str, Any], *, framework: str, known: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """Return a copy of `options` that holds only known names with values of the right type.

    `allow_pickle` is known to every framework: it is a permission, not an order.

    Raises:
        UsageError: an option is unknown, or its value has another type (the caller's fault).
    """
    expected = {"allow_pickle": bool, **(known or {})}
    for name, value in options.items():
        if name not in expected:
            raise UsageError(
                f"The framework {framework!r} has no option {name!r}.",
                remedy=f"Use one of: {', '.join(sorted(expected))}.",
            )
        if not isinstance(value, expected[name]):
            raise UsageError(
                f"The option {name!r} cannot be {value!r}.",
                remedy=f"Give a {expected[name].__name__}.",
            )
    return dict(options)


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that JSON gives back unchanged; a manifest can hold nothing else."""
    return {name: value for name, value in values.items() if survives_json(value)}


def survives_json(value: object) -> bool:
    """Whether JSON gives `value` back equal (no NaN, no tuple, no key that is not a string)."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False
