"""Pickle, for the classic door alone and nowhere else in the project.

0.13 kept some artifacts as pickles, so their files cannot be read or written otherwise. Reading one
runs code: it happens only for artifacts of a local directory that the caller named, never for
anything that arrived through a socket.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dosirak.compat.bentoml_classic.exceptions import MissingDependencyException


def cloudpickle_module() -> Any:
    """Return cloudpickle, which also carries what the author defined in a script.

    Raises:
        MissingDependencyException: it is not installed.
    """
    try:
        import cloudpickle  # noqa: PLC0415 - ADR 0004
    except ImportError as error:
        raise MissingDependencyException(
            "Pickled artifacts need cloudpickle.", remedy="Install it with: pip install cloudpickle"
        ) from error
    return cloudpickle


def write_pickle(value: Any, path: Path) -> None:
    """Write a value with cloudpickle."""
    with path.open("wb") as file:
        cloudpickle_module().dump(value, file)


def read_pickle(path: Path) -> Any:
    """Read what `write_pickle` or 0.13's cloudpickle wrote. Runs code that the file names."""
    with path.open("rb") as file:
        return cloudpickle_module().load(file)


def read_joblib(path: Path) -> Any:
    """Read what `write_pickle` or 0.13's joblib wrote. Runs code that the file names.

    Raises:
        MissingDependencyException: joblib is not installed.
    """
    try:
        import joblib  # noqa: PLC0415 - ADR 0004
    except ImportError as error:
        raise MissingDependencyException(
            "This artifact needs joblib.", remedy="Install it with: pip install joblib"
        ) from error
    return joblib.load(path, mmap_mode="r")
