"""From code to a sealed bundle, in one transaction of the store.

    files → staged copy → import of that very copy → models pinned and tried → environment
          → manifest → one commit

What is imported is the copy that is sealed, so a file that was left out shows here and not in
production. Nothing is visible in the store before the commit, and then all of it is.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from dosirak.bundles.environment import PYTHON_FILE, REQUIREMENTS_FILE, Environment, capture
from dosirak.bundles.imports import LocalModules, scan_imports
from dosirak.bundles.installed_modules import is_installed_module
from dosirak.bundles.isolation import ImportScope, check_no_shadowing
from dosirak.bundles.manifest import (
    SCHEMA_FILE,
    SOURCE_DIRECTORY,
    BundleManifest,
    ModelPin,
    SealedDependency,
    requires_of,
)
from dosirak.bundles.origin import CodeOrigin
from dosirak.bundles.pins import extra_models, models_of, pins_of, replay_examples
from dosirak.bundles.project import BuildConfiguration
from dosirak.bundles.provenance import provenance
from dosirak.bundles.report import BuildEvent, Report
from dosirak.bundles.saved import SHELF, Bundle
from dosirak.bundles.source import Selection, copy_files, select_files
from dosirak.errors import CorruptContent, DosirakError, NotFound, UsageError
from dosirak.models import Model
from dosirak.naming import Reference
from dosirak.spec.dependencies import own_workers_below, requirements_below, services_below
from dosirak.spec.loading import import_target
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import FileEntry, Store, Transaction
from dosirak.store.references import already_exists

_README = "README.md"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller of a build asked for.

    Attributes:
        configuration: the project's.
        name: the bundle's name; the service's own when None.
        version: generated when None.
        labels: put on the bundle.
        metadata: what people should know of it.
        store: where it goes.
        report: receives each event.
    """

    configuration: BuildConfiguration
    name: str | None
    version: str | None
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]
    store: Store
    report: Report

    def step(self, message: str) -> None:
        """Say what is being done."""
        self.report(BuildEvent("step", message))


def seal(origin: CodeOrigin, wanted: Wanted, live: ServiceSpec | None) -> Bundle:
    """Seal the code at `origin`; `live` is its service when it is already in this process.

    Raises:
        DosirakError: see `build`.
    """
    with wanted.store.writing() as transaction:
        staged = transaction.directory / "source"
        files = _stage_source(origin, staged, transaction, wanted)
        places = [staged / SOURCE_DIRECTORY / root for root in origin.import_roots()]
        roots = [place for place in places if place.is_dir()]
        _check_version_free(wanted.name or (live.name if live else None), files, wanted)
        spec = _service(origin, roots, live, wanted)
        _check_version_free(spec.name if wanted.name is None else None, files, wanted)
        models, pins = _models(spec, wanted)
        environment = _environment(origin, spec, roots, models, wanted)
        derived = _stage_derived(transaction, spec, environment, staged)
        manifest = _manifest(
            origin, spec, wanted, environment=environment, pins=pins, files=(*files, *derived)
        )
        wanted.step(f"Storing {manifest.name}.")
        entry = transaction.commit(
            "bundles",
            manifest.name,
            wanted.version,
            manifest.describe(),
            labels={**spec.labels, **wanted.labels},
            provenance=provenance(origin.root if spec.target else None),
        )
    return Bundle(wanted.store, entry)


def _stage_source(
    origin: CodeOrigin, staged: Path, transaction: Transaction, wanted: Wanted
) -> tuple[FileEntry, ...]:
    source = staged / SOURCE_DIRECTORY
    source.mkdir(parents=True)
    wanted.step("Copying the source.")
    selection = Selection(
        origin.root,
        only=origin.only,
        include=wanted.configuration.include,
        exclude=wanted.configuration.exclude,
        skipped_directories=frozenset({wanted.store.root.resolve()}),
    )
    files = select_files(selection, wanted.report)
    for path in copy_files(files, source, selection, wanted.report):
        if path in origin.rewritten:
            (source / path).write_text(origin.rewritten[path], encoding="utf-8")
    # Hashed before any of it is imported: what runs now is what will be loaded.
    return transaction.add_tree(staged)


def _check_version_free(name: str | None, source: Sequence[FileEntry], wanted: Wanted) -> None:
    """Refuse a version that exists with other source before the long work; the commit compares all.

    Raises:
        AlreadyExists: it does.
    """
    if name is None or wanted.version is None:
        return
    reference = Reference(name, wanted.version)
    try:
        existing = SHELF.get(reference, store=wanted.store)
        files = {file for file in existing.files if file.path.startswith(f"{SOURCE_DIRECTORY}/")}
    except (NotFound, UsageError, CorruptContent):
        return
    if existing.reference == reference and files != set(source):
        raise already_exists("bundles", reference)


def _service(
    origin: CodeOrigin, roots: Sequence[Path], live: ServiceSpec | None, wanted: Wanted
) -> ServiceSpec:
    check_no_shadowing(roots)
    if live is None or origin.rewritten:
        wanted.step("Importing the service.")
        imported = _import(origin, roots)
    else:
        imported = live
    return imported if live is None else replace(live, target=origin.target)


def _import(origin: CodeOrigin, roots: Sequence[Path]) -> ServiceSpec:
    scope = ImportScope(roots).open()
    try:
        with scope, _import_path_restored():
            return import_target(origin.target, directory=roots[0]).spec
    except DosirakError as error:
        staged = str(roots[0].resolve())
        message = error.message.replace(staged, str(origin.import_root))
        raise type(error)(message, remedy=error.remedy, fields=error.fields) from error
    finally:
        scope.close()


@contextmanager
def _import_path_restored() -> Generator[None, None, None]:
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _models(spec: ServiceSpec, wanted: Wanted) -> tuple[tuple[Model, ...], tuple[ModelPin, ...]]:
    attributes = models_of(spec, store=wanted.store)
    extra = extra_models(wanted.configuration.models, store=wanted.store)
    models = (*attributes.values(), *extra)
    replay_examples(models, wanted.report)
    return models, pins_of(attributes, extra)


def _environment(
    origin: CodeOrigin,
    spec: ServiceSpec,
    roots: Sequence[Path],
    models: Sequence[Model],
    wanted: Wanted,
) -> Environment:
    wanted.step("Capturing the environment.")
    # What it depends on is imported by its module, however indirectly.
    modules = [spec.target.partition(":")[0]] if spec.target else []
    needs = [line for model in models for line in model.requirements]
    return capture(
        scan_imports(modules, LocalModules(roots, is_installed_module)),
        project=origin.root,
        model_requirements=needs,
        author_requirements=(
            *requirements_below((spec, *services_below(spec))),
            *wanted.configuration.requirements,
        ),
        python=wanted.configuration.python,
        report=wanted.report,
    )


def _stage_derived(
    transaction: Transaction, spec: ServiceSpec, environment: Environment, staged: Path
) -> tuple[FileEntry, ...]:
    derived = transaction.directory / "derived"
    schema = msgspec.json.format(msgspec.json.encode(spec.describe(), order="sorted"), indent=2)
    readme = staged / SOURCE_DIRECTORY / _README
    texts = {
        SCHEMA_FILE: schema + b"\n",
        REQUIREMENTS_FILE: environment.requirements_text().encode(),
        PYTHON_FILE: f"{environment.python}\n".encode(),
        **({_README: readme.read_bytes()} if readme.is_file() else {}),
    }
    for path, content in texts.items():
        target = derived / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o644)
    return transaction.add_tree(derived)


def _manifest(
    origin: CodeOrigin,
    spec: ServiceSpec,
    wanted: Wanted,
    *,
    environment: Environment,
    pins: tuple[ModelPin, ...],
    files: Sequence[FileEntry],
) -> BundleManifest:
    ordered = sorted(files, key=lambda file: file.path)
    return BundleManifest(
        name=wanted.name or spec.name,
        front_end=spec.front_end,
        target=spec.target,
        python=environment.python,
        requirements=environment.requirements,
        files=tuple(file.describe() for file in ordered),
        requires=requires_of(pins),
        import_roots=tuple(_below_source(root) for root in origin.import_roots()),
        models=pins,
        dependencies=_dependencies(spec),
        description=wanted.configuration.description or spec.doc,
        metadata=dict(wanted.metadata),
        config=dict(spec.config),
        resources=spec.resources,
        service_level=spec.service_level,
        foreign=dict(spec.foreign),
    )


def _dependencies(spec: ServiceSpec) -> tuple[SealedDependency, ...]:
    own_workers = own_workers_below(spec)
    return tuple(
        SealedDependency(
            name=service.name,
            target=service.target,
            workers=own_workers.get(service.name),
            dependencies=tuple(needed.service.name for needed in service.dependencies),
        )
        for service in services_below(spec)
    )


def _below_source(root: str) -> str:
    return SOURCE_DIRECTORY if root == "." else f"{SOURCE_DIRECTORY}/{root}"
