"""What a project says about its own bundle: `dosirak.toml`, or `[tool.dosirak]` in pyproject.toml.

    directory → BuildConfiguration

`dosirak.toml` wins when both exist. Every key is checked by name and type, so that a slip of the
pen is an error here and not a surprise in production. No value may point out of the project.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from dosirak.errors import InvalidConfiguration
from dosirak.naming import Reference, check_name

DEFAULT_SERVICE = "service.py"
OWN_FILE = "dosirak.toml"
PROJECT_FILE = "pyproject.toml"
PROJECT_MARKERS = (PROJECT_FILE, OWN_FILE, ".git")

_PYTHON_VERSION = re.compile(r"3\.\d{1,2}", re.ASCII)


class BuildConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a project wants to be sealed.

    Attributes:
        service: `module:Class`, `file.py` or `file.py:Class`, seen from the project's directory.
        name: the bundle's name; the service's own when None.
        include: patterns of the files that travel, as in an ignore file; everything when None.
        exclude: patterns of files that stay behind.
        models: references of models that travel although no attribute of the service names them.
        requirements: distributions that imports do not show.
        labels: put on the bundle.
        metadata: what people should know of the bundle, JSON values.
        description: one paragraph for people.
        python: the Python that the bundle needs, such as `3.11` or `>=3.11,<3.14`; the running
            one when None.
    """

    service: str | None = None
    name: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    description: str = ""
    python: str | None = None


def read_configuration(directory: Path) -> BuildConfiguration:
    """Read the build configuration of a project; the default one when it has none.

    Raises:
        InvalidConfiguration: the file is not TOML, or a key or value is wrong (the author's fault).
    """
    own = directory / OWN_FILE
    if own.is_file():
        return configuration_from(_read_toml(own), where=OWN_FILE)
    shared = directory / PROJECT_FILE
    if shared.is_file():
        tool = _read_toml(shared).get("tool", {})
        return configuration_from(tool.get("dosirak", {}), where=f"[tool.dosirak] in {shared.name}")
    return BuildConfiguration()


def configuration_from(table: Any, *, where: str) -> BuildConfiguration:
    """Check a table of configuration and return it as a value.

    Raises:
        InvalidConfiguration: a key or value is wrong; `where` says in which file.
    """
    if not isinstance(table, dict):
        raise InvalidConfiguration(f"{where} is not a table.", remedy="Write key = value lines.")
    keys = cast("dict[str, Any]", table)
    _check_keys(keys, where)
    try:
        configuration = msgspec.convert(keys, BuildConfiguration)
    except msgspec.ValidationError as error:
        raise InvalidConfiguration(
            f"{where} holds a value of the wrong kind: {error}.",
            remedy="Texts are quoted, lists of texts stand in brackets, labels are a table.",
        ) from error
    _check_values(configuration, where)
    return configuration


def find_project(start: Path) -> Path | None:
    """Return the nearest directory, `start` or above, that marks a project; None when none does.

    A person's whole home is never a project, even when its settings are kept in a repository.
    """
    never = (Path.home().resolve(), Path(start.anchor))
    for directory in (start, *start.parents):
        if directory not in never and any(
            (directory / marker).exists() for marker in PROJECT_MARKERS
        ):
            return directory
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            f"{path.name} is not valid TOML: {error}.", remedy="Correct the file."
        ) from error


def _check_keys(table: Iterable[str], where: str) -> None:
    known = BuildConfiguration.__struct_fields__
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise InvalidConfiguration(
                f"{where} has an unknown key {key!r}.",
                remedy=f"Did you mean {near[0]!r}?" if near else f"Use: {', '.join(known)}.",
            )


def _check_values(configuration: BuildConfiguration, where: str) -> None:
    if configuration.name is not None:
        check_name(configuration.name)
    for reference in configuration.models:
        Reference.parse(reference)
    if configuration.service is not None:
        _check_stays_inside("service", configuration.service, where)
    for key, patterns in (("include", configuration.include), ("exclude", configuration.exclude)):
        for pattern in patterns or ():
            # A leading slash anchors a pattern at the project's root; a leading ! turns it round.
            _check_stays_inside(key, pattern.removeprefix("!").removeprefix("/"), where)
    for requirement in configuration.requirements:
        check_requirement(requirement, where=where)
    check_python(configuration.python, where=where)


def _check_stays_inside(key: str, value: str, where: str) -> None:
    parts = re.split(r"[/\\]", value)
    if (
        value.startswith(("/", "\\", "~"))
        or ".." in parts
        or "$" in value
        or "\0" in value
        or re.match(r"[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*://", value)
    ):
        raise InvalidConfiguration(
            f"{key} = {value!r} of {where} points out of the project.",
            remedy="Write a path relative to the project's directory, without '..', '~' or '$'.",
        )


def check_requirement(text: str, *, where: str) -> Requirement:
    """Read one requirement; a URL may name a remote place, never a file of this machine.

    Raises:
        InvalidConfiguration: it is not a requirement, or it points into this machine.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise InvalidConfiguration(
            f"{text!r} of {where} is not a requirement: {error}.",
            remedy="Write a distribution and versions, such as 'pandas>=2.2'.",
        ) from error
    if requirement.url is not None and not re.match(
        r"(?:git\+|hg\+|svn\+|bzr\+)?(?:https|ssh)://", requirement.url
    ):
        raise InvalidConfiguration(
            f"{text!r} of {where} does not name a place that others can reach safely.",
            remedy="Use https:// or git+https://, or let local code travel as source.",
        )
    return requirement


def check_python(text: str | None, *, where: str) -> SpecifierSet | None:
    """Read the wanted Python: `3.11` means any 3.11; None means the running one.

    Raises:
        InvalidConfiguration: it is neither a version nor a set of version specifiers.
    """
    if text is None:
        return None
    try:
        return SpecifierSet(f"=={text}.*" if _PYTHON_VERSION.fullmatch(text) else text)
    except InvalidSpecifier as error:
        raise InvalidConfiguration(
            f"python = {text!r} of {where} is not a Python version.",
            remedy="Write '3.11', or specifiers such as '>=3.11,<3.14'.",
        ) from error


def service_target(root: Path, configuration: BuildConfiguration) -> str:
    """Return the service that a project means when nobody names one.

    Raises:
        InvalidConfiguration: it says nothing and has no `service.py`.
    """
    if configuration.service is not None:
        return configuration.service
    if (root / DEFAULT_SERVICE).is_file():
        return DEFAULT_SERVICE
    raise InvalidConfiguration(
        f"Nothing says which service of {root.name} is meant.",
        remedy=f"Set `service` in dosirak.toml, put it into {DEFAULT_SERVICE}, or name it: dosirak"
        " build --target module:Class, dosirak serve module:Class.",
    )
