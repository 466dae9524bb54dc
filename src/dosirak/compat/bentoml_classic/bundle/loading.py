"""Reads a bundle back: its module is imported in a scope of its own, then its artifacts are read.

The code and the pickled artifacts of a classic bundle run when it is loaded. That is why loading
takes only a local directory that the caller names. Two bundles with equal module names live in one
process without mixing, each with its own classes.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dosirak.bundles.isolation import ImportScope
from dosirak.compat.bentoml_classic.bundle.description import Description, read_description
from dosirak.compat.bentoml_classic.bundle.writing import ZIP_FOLDER
from dosirak.compat.bentoml_classic.exceptions import (
    ArtifactLoadingException,
    BentoMLConfigException,
    InvalidArgument,
)
from dosirak.errors import DosirakError

_log = logging.getLogger(__name__)

ScopeFactory = Callable[[], AbstractContextManager[Any]]


def load_from_dir(path: str | os.PathLike[str]) -> Any:
    """Return the service saved in a directory, with its artifacts.

    Raises:
        InvalidArgument: the path is not a local directory (the caller's fault).
        BentoMLConfigException: the directory is not a saved service.
        ArtifactLoadingException: its code or an artifact cannot be read.
    """
    description = read_description(local_directory(path))
    return new_instance(_import_class(description), description)


def new_instance(service_class: Any, description: Description) -> Any:
    """Make an instance of a loaded class, which reads its artifacts.

    Raises:
        ArtifactLoadingException: an artifact cannot be read.
    """
    for artifact in description.artifacts:
        if artifact.get("format") == "pickle":
            _log.info("The artifact %r of %s is a pickle.", artifact["name"], description.name)
    # Unpickling imports the bundle's modules by name.
    with service_class._bento_service_scope:
        return _guarded(service_class, description, "making it")


def load_service_class(path: str | os.PathLike[str]) -> type:
    """Return the class of a saved service; making an instance reads its artifacts.

    Raises:
        InvalidArgument: the path is not a local directory (the caller's fault).
        BentoMLConfigException: the directory is not a saved service.
        ArtifactLoadingException: its code cannot be imported.
    """
    return _import_class(read_description(local_directory(path)))


def local_directory(path: str | os.PathLike[str]) -> Path:
    """Return the path of a local directory.

    Raises:
        InvalidArgument: it is a URL or not a directory (the caller's fault).
    """
    if "://" in str(path):
        raise InvalidArgument(
            f"{path} is not a local directory.",
            remedy="Download and unpack the bundle, check where it came from, then give its"
            " directory.",
        )
    directory = Path(path).expanduser()
    if not directory.is_dir():
        raise InvalidArgument(f"There is no directory {path}.", remedy="Correct the path.")
    return directory.absolute()


def _import_class(description: Description) -> type:
    code = description.code_directory
    _add_archives(code)
    scope = ImportScope([code]).open()
    scope.offer()
    with scope:
        module = _guarded(
            lambda: importlib.import_module(description.module_name), description, "importing it"
        )
    found: object = getattr(module, description.class_name, None)
    if not isinstance(found, type):
        raise BentoMLConfigException(
            f"The module {description.module_name!r} of {description.name} has no class"
            f" {description.class_name!r}.",
            remedy="Save the service again.",
        )
    # Each load imports the module anew, so that what is set here is this bundle's alone.
    service_class: Any = found
    service_class._bento_service_bundle_path = str(description.directory)
    service_class._bento_service_bundle_version = description.version
    service_class._bento_service_never_packed = frozenset(
        artifact["name"] for artifact in description.artifacts if artifact.get("packed") is False
    )
    service_class._bento_service_scope = scope
    return found


def _guarded(action: Callable[[], Any], description: Description, step: str) -> Any:
    try:
        return action()
    except DosirakError:
        raise
    except (Exception, SystemExit) as error:
        raise ArtifactLoadingException(
            f"{description.name}:{description.version} cannot be loaded; {step} raised"
            f" {type(error).__name__}: {error}.",
            remedy="Install what its requirements.txt names, or save it again.",
        ) from error


def _add_archives(code: Path) -> None:
    """Put archives of modules at the end of the path, where they can shadow nothing."""
    for archive in sorted((code / ZIP_FOLDER).glob("*")) if (code / ZIP_FOLDER).is_dir() else ():
        if str(archive) not in sys.path:
            sys.path.append(str(archive))
