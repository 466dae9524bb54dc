"""The ML libraries as distributions: imported on demand, their versions recorded and pinned.

Frameworks share these few questions: can the library be imported, which version is it, does this
object's class come from it. Nothing is imported until `import_library` is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from packaging.version import Version

from dosirak.errors import MissingDependency


def import_library(module: str, *, extra: str) -> Any:
    """Import a third-party module.

    Args:
        module: its dotted name.
        extra: the extra of dosirak that installs it.

    Raises:
        MissingDependency: it, or something it needs, is not installed here.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"This model needs {module.partition('.')[0]}, which cannot be imported: {error}.",
            remedy=f"Install it with: pip install 'dosirak[{extra}]'",
        ) from error


def optional_library(module: str) -> Any | None:
    """Import a third-party module, or return None where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return None


def imported_object(name: str) -> Any | None:
    """Return what `module:qualname` names, or None where there is no such thing."""
    module, _, qualname = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError):  # TypeError: a relative name
        return None
    return found


def library_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return distribution → installed version, leaving out what is not installed.

    A library may come under another name than its own (`xgboost` from `xgboost-cpu`, `onnxruntime`
    from `onnxruntime-gpu`); then what provides the module of its name is returned.
    """
    found: dict[str, str] = {}
    for distribution in set(distributions):
        for name in _installed_as(distribution):
            found[name] = version(name)
    return {name: found[name] for name in sorted(found)}


def _installed_as(distribution: str) -> tuple[str, ...]:
    try:
        version(distribution)
    except PackageNotFoundError:
        return distributions_of([distribution.replace("-", "_")])
    return (distribution,)


def distributions_of(packages: Iterable[str]) -> tuple[str, ...]:
    """Return the distributions that provide these top-level packages; slow, reads every one."""
    provided = packages_distributions()
    return tuple(sorted({name for package in packages for name in provided.get(package, ())}))


def pins(versions: Mapping[str, str]) -> tuple[str, ...]:
    """Return `name==version` for each, without local labels (`2.13.0+cpu` is on no index)."""
    return tuple(f"{name}=={Version(versions[name]).public}" for name in sorted(versions))


def lineage(model: object) -> frozenset[str]:
    """Return `package.ClassName` for the object's class and every base, importing nothing."""
    return frozenset(
        f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(model).__mro__
    )


def packages_behind(model: object) -> frozenset[str]:
    """Return the top-level packages that define the object's class and its bases."""
    return frozenset(base.__module__.partition(".")[0] for base in type(model).__mro__)
