"""Imports the library that an artifact needs, when it needs it."""

from __future__ import annotations

import importlib
from typing import Any

from dosirak.compat.bentoml_classic.exceptions import MissingDependencyException


def need(module: str, needed_by: str, distribution: str | None = None) -> Any:
    """Return the imported module.

    Raises:
        MissingDependencyException: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyException(
            f"{needed_by} needs {module}, which cannot be imported.",
            remedy=f"Install it with: pip install {distribution or module.partition('.')[0]}",
        ) from error
