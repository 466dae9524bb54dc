"""`dosirak doctor`: what is installed here, how the store is, and what a target needs.

Everything is found from metadata: nothing that is examined is imported, except a target's own
code when it is not sealed.
"""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dosirak import __version__, bundles, models
from dosirak.bundles import Bundle, environment
from dosirak.bundles.pins import pinned_model
from dosirak.bundles.targets import open_target
from dosirak.cli import render
from dosirak.cli.options import output_option
from dosirak.cli.references import completes
from dosirak.cli.render import Column, OutputFormat
from dosirak.errors import (
    BundleNotFound,
    DosirakError,
    InvalidName,
    MissingDependency,
    ModelNotFound,
)
from dosirak.models import Model
from dosirak.settings import Settings
from dosirak.spec.dependencies import own_workers_below, requirements_below, services_below
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import default_store

State = Literal["ok", "missing", "problem"]
_MARKS = {"ok": "✓", "missing": "–", "problem": "✗"}
_LOW_SPACE_BYTES = 1 << 30
_COLUMNS = (
    Column("state", "", _MARKS.__getitem__),
    Column("area", "AREA"),
    Column("name", "NAME"),
    Column("detail", "FOUND"),
    Column("remedy", "TO MEND IT"),
)


class Finding(NamedTuple):
    """One thing that was looked at. `missing` is no fault: nothing has asked for it yet."""

    state: State
    area: str
    name: str
    detail: str
    remedy: str = ""


@click.command("doctor")
@click.argument("target", required=False, shell_complete=completes("bundles", "models", files=True))
@output_option
def command(target: str | None, output_format: OutputFormat) -> None:
    """Show what is installed and what a service needs.

    With a TARGET, also whether this environment satisfies it; the exit code says so too.
    """
    findings = [*examine_installation(), *examine_store()]
    needed = list(examine_target(target)) if target else []
    unmet = [finding for finding in needed if finding.state != "ok"]
    broken = [finding for finding in findings if finding.state == "problem"]
    shown = dict.fromkeys((*unmet, *broken, *findings, *needed))  # what needs mending first
    render.records([finding._asdict() for finding in shown], _COLUMNS, output_format)
    if unmet:
        raise MissingDependency(
            f"{target} needs {len(unmet)} thing{'s'[: len(unmet) > 1]} that this environment does"
            " not have.",
            remedy=next((finding.remedy for finding in unmet if finding.remedy), ""),
        )


def examine_installation() -> Iterator[Finding]:
    """Look at Python, dosirak, and what each of its extras would install."""
    yield Finding("ok", "python", platform.python_implementation(), platform.python_version())
    yield Finding("ok", "dosirak", "dosirak", __version__)
    for extra, requirements in extras().items():
        yield examine_extra(extra, requirements)


def extras() -> dict[str, list[Requirement]]:
    """Return what each extra installs, from dosirak's own metadata; `all` is their sum."""
    found: dict[str, list[Requirement]] = {}
    try:
        declared = metadata.distribution("dosirak")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return found
    requirements = [Requirement(line) for line in declared.requires or ()]
    for extra in declared.metadata.get_all("Provides-Extra") or ():
        own = [r for r in requirements if r.marker and r.marker.evaluate({"extra": extra})]
        always = [r for r in requirements if r.marker and r.marker.evaluate({"extra": ""})]
        if extra != "all":
            found[extra] = [requirement for requirement in own if requirement not in always]
    return found


def examine_extra(extra: str, requirements: Iterable[Requirement]) -> Finding:
    """Say whether an extra's libraries are here, and in which versions."""
    here: list[str] = []
    wanted = sorted(requirements, key=lambda requirement: requirement.name != extra)
    missing = [found.name for found in wanted if _installed(found.name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        detail = f"{' and '.join(missing)} {verb} not installed"
        return Finding("missing", "library", extra, detail, _install(wanted))
    for requirement in wanted:
        version = metadata.version(requirement.name)
        if not requirement.specifier.contains(version, prereleases=True):
            detail = f"{requirement.name} {version}, but {requirement.specifier} is needed"
            return Finding("problem", "library", extra, detail, _install([requirement]))
        here.append(f"{requirement.name} {version}")
    return Finding("ok", "library", extra, ", ".join(here))


def _install(requirements: Iterable[Requirement]) -> str:
    """Return the command that installs the libraries themselves, wherever dosirak came from."""
    wanted = [
        found.name
        + (f"[{','.join(sorted(found.extras))}]" if found.extras else "")
        + str(found.specifier)
        for found in requirements
    ]
    return f"pip install {shlex.join(wanted)}"


def examine_store() -> Iterator[Finding]:
    """Look at the store: where it is, what it holds, whether it reads, what space is left."""
    root = default_store().root
    yield Finding("ok", "store", "home", str(Settings.from_environment().home))
    for name, listing in (("models", models.list), ("bundles", bundles.list)):
        try:
            yield Finding("ok", "store", name, str(len(listing())))
        except DosirakError as error:
            yield Finding("problem", "store", name, error.message, error.remedy)
    yield _space(root)


def examine_target(target: str) -> Iterator[Finding]:
    """Look at what a target needs: Python, distributions and models.

    A bundle and a model are only read; the code of anything else runs, for nothing else knows.
    """
    try:
        yield from _examine_bundle(bundles.get(target))
        return
    except (InvalidName, BundleNotFound):
        pass
    try:
        yield from examine_model(models.get(target))
        return
    except (InvalidName, ModelNotFound):
        pass
    with open_target(target) as opened:
        spec = opened.spec
        yield Finding("ok", "target", spec.name, f"{len(spec.apis)} apis, from {spec.target}")
        yield from examine_dependencies(spec)
        yield from examine_requirements(requirements_below((spec, *services_below(spec))))
        for model in opened.models.values():
            yield from examine_model(model)


def examine_model(model: Model) -> Iterator[Finding]:
    """Look at what loading a model needs."""
    yield Finding("ok", "target", str(model.reference), f"a {model.framework} model")
    yield from examine_requirements(model.requirements)


def _examine_bundle(bundle: Bundle) -> Iterator[Finding]:
    yield Finding("ok", "target", str(bundle.reference), f"a bundle of {bundle.service}")
    wrong_python = environment.check_running_python(bundle.python)
    detail = f"{bundle.python} is needed, this is {platform.python_version()}"
    if wrong_python:
        yield Finding("problem", "target", "python", detail, f"Use Python {bundle.python}.")
    else:
        yield Finding("ok", "target", "python", detail)
    yield from examine_requirements((*bundle.requirements, *_unnamed(bundle)))


def _unnamed(bundle: Bundle) -> list[str]:
    """Return what its models need and it does not name: it was sealed before it named them."""
    named = {canonicalize_name(Requirement(line).name) for line in bundle.requirements}
    needed = [
        line
        for pin in bundle.manifest.models
        for line in pinned_model(pin, bundle=bundle.entry, store=bundle.store).requirements
    ]
    return [
        line
        for line in dict.fromkeys(needed)
        if canonicalize_name(Requirement(line).name) not in named
    ]


def examine_dependencies(spec: ServiceSpec) -> Iterator[Finding]:
    """Say which other services run with one, and where."""
    own_workers = own_workers_below(spec)
    for service in services_below(spec):
        workers = own_workers.get(service.name)
        where = "in the worker of its caller" if workers is None else f"own workers: {workers}"
        yield Finding("ok", "service", service.name, f"{len(service.apis)} apis, {where}")


def examine_requirements(requirements: Iterable[str]) -> Iterator[Finding]:
    """Compare requirements with what is installed."""
    unmet = {mismatch.requirement: mismatch for mismatch in environment.check(requirements)}
    for line in requirements:
        mismatch = unmet.get(line)
        found = _installed(Requirement(line).name)
        if mismatch is None:
            yield Finding("ok", "target", line, f"{found or 'not for this machine'}")
        else:
            state: State = "missing" if mismatch.installed is None else "problem"
            yield Finding(
                state, "target", line, mismatch.installed or "absent", f"pip install '{line}'"
            )


def _space(root: Path) -> Finding:
    existing = next(place for place in (root, *root.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < _LOW_SPACE_BYTES:
        return Finding("problem", "store", "space", f"{render.size(free)} left", "dosirak gc")
    return Finding("ok", "store", "space", f"{render.size(free)} left")


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
