"""The environment that a service needs: distributions with exact versions, and the Python.

    service module → imports → distributions → exact pins → their closure → env/requirements.txt

Versions come from the running environment, because that is where the service was tried. Everything
works offline. The same environment gives the same text, byte for byte.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dosirak.bundles.distributions import (
    Installed,
    InstalledDistributions,
    public_version,
)
from dosirak.bundles.imports import ExternalImport, ImportScan
from dosirak.bundles.installed_modules import OWN_DISTRIBUTION
from dosirak.bundles.project import check_python, check_requirement
from dosirak.bundles.report import BuildEvent, Report

REQUIREMENTS_FILE = "env/requirements.txt"
PYTHON_FILE = "env/python_version"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a bundle needs to run.

    Attributes:
        python: the Python, such as `3.11`, or specifiers such as `>=3.11,<3.14`.
        direct: requirements of the service itself: its imports, its models, the author's own.
        indirect: exact versions of everything that those need in turn.
    """

    python: str
    direct: tuple[str, ...]
    indirect: tuple[str, ...]

    @property
    def requirements(self) -> tuple[str, ...]:
        """Every requirement, direct ones first."""
        return (*self.direct, *self.indirect)

    def requirements_text(self) -> str:
        """Return the content of `env/requirements.txt`."""
        direct = "".join(f"{line}\n" for line in self.direct)
        indirect = "".join(f"{line}\n" for line in self.indirect)
        heading = "# What those need in turn, as it was installed when the bundle was built.\n"
        return direct + (f"\n{heading}{indirect}" if indirect else "")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A requirement of a bundle that the running environment does not meet.

    Attributes:
        requirement: what the bundle needs.
        installed: the version found; None when there is none.
    """

    requirement: str
    installed: str | None

    def __str__(self) -> str:
        found = f"{self.installed} is installed" if self.installed else "it is not installed"
        return f"{self.requirement} is needed, but {found}"


def capture(
    scan: ImportScan,
    *,
    project: Path,
    model_requirements: Iterable[str] = (),
    author_requirements: Iterable[str] = (),
    python: str | None = None,
    report: Report,
) -> Environment:
    """Work out what a service needs from what it imports and what its models need.

    Raises:
        InvalidConfiguration: a requirement of the author's cannot be read (the author's fault).
    """
    installed = InstalledDistributions()
    named = [check_requirement(text, where="requirements") for text in author_requirements]
    asked = {canonicalize_name(requirement.name) for requirement in named}
    names = {OWN_DISTRIBUTION, *_imported(scan, installed, asked, report)}
    direct = {name: _pin(name, installed, project, report) for name in sorted(names)}
    for text in model_requirements:
        _add_models(direct, Requirement(text), installed, report)
    for wanted in named:
        _add_authors(direct, wanted, installed, report)
    own = [name for name, line in direct.items() if line is None]
    roots = [Requirement(line) for line in direct.values() if line is not None]
    reached, missing = installed.closure([*roots, *(Requirement(name) for name in own)])
    for sentence in missing:
        report(BuildEvent("warn", sentence))
    indirect = [
        found.pin
        for name, found in sorted(reached.items())
        if name not in direct and not _is_projects_own(found, project)
    ]
    return Environment(
        python=_python(python, report),
        direct=tuple(line for _, line in sorted(direct.items()) if line is not None),
        indirect=tuple(indirect),
    )


def check(requirements: Iterable[str]) -> list[Mismatch]:
    """Say which requirements the running environment does not meet."""
    installed = InstalledDistributions()
    return [
        mismatch for text in requirements if (mismatch := _mismatch(text, installed)) is not None
    ]


def check_running_python(python: str) -> Mismatch | None:
    """Say whether the running Python is not the one that a bundle needs."""
    wanted = check_python(python, where=PYTHON_FILE)
    running = platform.python_version()
    if wanted is None or wanted.contains(running, prereleases=True):
        return None
    return Mismatch(f"Python {python}", running)


def _imported(
    scan: ImportScan, installed: InstalledDistributions, asked: Collection[str], report: Report
) -> Iterable[str]:
    names: set[str] = set()
    unknown: dict[str, ExternalImport] = {}
    for found in scan.external.values():
        if found.top_level in (*sys.stdlib_module_names, "__future__", OWN_DISTRIBUTION):
            continue
        providers = installed.providing(found.name)
        names.update(providers)
        if not providers and not _is_asked_for(found.name, asked):
            unknown.setdefault(found.top_level, found)
    for found in unknown.values():
        _report_unknown(found, report)
    return names


def _is_asked_for(module: str, asked: Collection[str]) -> bool:
    """Whether the author names a distribution that is called as a module, or a part of its path."""
    parts = module.split(".")
    return any(
        canonicalize_name(".".join(parts[:count])) in asked for count in range(1, len(parts) + 1)
    )


def _report_unknown(found: ExternalImport, report: Report) -> None:
    if found.optional:
        message = f"The optional module {found.top_level!r} ({found.place}) is not installed."
        report(BuildEvent("note", message, found.top_level))
        return
    message = (
        f"The module {found.top_level!r} ({found.place}) is neither in the project nor installed as"
        " a distribution. Install it, or name its distribution under requirements."
    )
    report(BuildEvent("warn", message, found.top_level))


def _pin(name: str, installed: InstalledDistributions, project: Path, report: Report) -> str | None:
    """Return the requirement for an installed distribution; None for the project itself."""
    found = installed.get(name)
    if found is None:
        return name
    if _is_projects_own(found, project):
        message = f"{name} is this project and travels as source."
        report(BuildEvent("note", message, name))
        return None
    if found.directory is not None:
        message = (
            f"{name} {found.version} is installed here from a directory, and a bundle names only"
            f" {found.pin}, which an index may not have. Here it is fine; on another machine"
            f" install {name} from the same source before you serve the bundle, or publish it."
        )
        report(BuildEvent("note" if name == OWN_DISTRIBUTION else "warn", message, name))
    elif public_version(found.version) != found.version:
        message = f"{name} {found.version} is pinned without its local label."
        report(BuildEvent("note", message, name))
    return found.pin


def _is_projects_own(found: Installed, project: Path) -> bool:
    return (
        found.directory is not None
        and found.name != OWN_DISTRIBUTION
        and found.directory.is_relative_to(project)
    )


def _add_models(
    direct: dict[str, str | None],
    wanted: Requirement,
    installed: InstalledDistributions,
    report: Report,
) -> None:
    name = canonicalize_name(wanted.name)
    found = installed.providing_library(name)
    if found is None:
        direct.setdefault(name, str(wanted))
        return
    name = found.name
    if not wanted.specifier.contains(found.version, prereleases=True):
        message = f"A model was saved with {wanted}; {found.version} is installed and pinned."
        report(BuildEvent("warn", message, name))
    direct.setdefault(name, found.pin)


def _add_authors(
    direct: dict[str, str | None],
    wanted: Requirement,
    installed: InstalledDistributions,
    report: Report,
) -> None:
    name = canonicalize_name(wanted.name)
    found = installed.get(name)
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    if found is not None and wanted.url is None and found.repository is None:
        if wanted.specifier.contains(found.version, prereleases=True):
            direct[name] = f"{name}{extras}=={public_version(found.version)}"
            return
        message = f"The service asks for {wanted}, but {found.version} is installed."
        report(BuildEvent("warn", message, name))
    elif found is None:
        message = f"{wanted} is not installed here, so its exact version is not known."
        report(BuildEvent("note", message, name))
    direct[name] = str(wanted)


def _python(python: str | None, report: Report) -> str:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python is None:
        return running
    mismatch = check_running_python(python)
    if mismatch is not None:
        report(BuildEvent("warn", f"{mismatch}.", "python"))
    return python


def _mismatch(text: str, installed: InstalledDistributions) -> Mismatch | None:
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    found = installed.get(requirement.name)
    if found is None:
        return Mismatch(text, None)
    if requirement.url is not None:
        return None if found.repository == requirement.url else Mismatch(text, found.version)
    satisfied = requirement.specifier.contains(found.version, prereleases=True)
    return None if satisfied else Mismatch(text, found.version)
