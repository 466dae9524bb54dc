"""Which modules come from Python itself or an installed package, and which are a project's own.

Asked by every worker that opens a bundle, so it looks for files only; what distribution a module
belongs to, and at which version, is `distributions`' business.
"""

from __future__ import annotations

import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path

OWN_DISTRIBUTION = "dosirak"
PACKAGE_DIRECTORIES = ("site-packages", "dist-packages")


def is_installed_module(top_level: str) -> bool:
    """Whether a top-level name belongs to Python itself or to an installed package.

    Only directories of installed packages are searched, so that a project's own directory on the
    path is not taken for one.
    """
    if top_level in sys.stdlib_module_names or top_level == OWN_DISTRIBUTION:
        return True
    directories = (entry for entry in sys.path if Path(entry).name in PACKAGE_DIRECTORIES)
    return any(_has_module(directory, top_level) for directory in directories)


def _has_module(directory: str, top_level: str) -> bool:
    loaders = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
    )
    # A namespace package has no origin, but others' modules stand below it all the same.
    return FileFinder(directory, *loaders).find_spec(top_level) is not None
