"""From a verified bundle to its service: its modules imported, its spec described.

Every byte of the bundle and of its models is read and compared before any of its code runs. The
models are then loaded from the files that were compared, which are not compared again.
"""

from __future__ import annotations

import dataclasses
import importlib
import traceback
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dosirak.bundles.isolation import ImportScope
from dosirak.bundles.pins import pinned_models
from dosirak.bundles.saved import Bundle
from dosirak.errors import CorruptContent, DosirakError, InvalidService
from dosirak.models import Model
from dosirak.spec.dependencies import own_part
from dosirak.spec.front_end import FrontEnd, front_ends
from dosirak.spec.loading import service_spec_of
from dosirak.spec.service_spec import ModelRequirement, ServiceSpec


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A bundle whose code is importable.

    Attributes:
        bundle: what was opened.
        directory: its files; read only.
        spec: its service, with every model pinned.
        models: the model of each attribute, not yet loaded.
        scope: where its modules are imported.
    """

    bundle: Bundle
    directory: Path
    spec: ServiceSpec
    models: dict[str, Model]
    scope: ImportScope


@contextmanager
def opened_bundle(bundle: Bundle) -> Generator[OpenedBundle, None, None]:
    """Verify a bundle, import its service, and keep its files for the time of the block.

    Raises:
        CorruptContent: a byte of it is missing or damaged; none of its code ran.
        InvalidService: it would shadow an installed package, or its module cannot be imported.
    """
    with ExitStack() as views:
        directory = views.enter_context(bundle.store.view(bundle.id, shared=False))
        found = _verified_models(bundle, views)
        places = (directory / root for root in bundle.manifest.import_roots)
        scope = ImportScope([place for place in places if place.is_dir()]).open()
        try:
            with scope:
                spec = _service(bundle, found)
            pinned = tuple(
                ModelRequirement(attribute, model.reference)
                for attribute, model in own_part(found, spec).items()
            )
            spec = dataclasses.replace(spec, models=pinned)
            yield OpenedBundle(bundle, directory, spec, found, scope)
        finally:
            scope.close()


def _verified_models(bundle: Bundle, views: ExitStack) -> dict[str, Model]:
    """Return the model of each attribute, its files verified; the other models' are too."""
    found = pinned_models(bundle.manifest, bundle=bundle.entry, store=bundle.store)
    ids = dict.fromkeys(model.id for model in found.values())
    for digest in bundle.store.closure(bundle.id).keys() - ids.keys() - {bundle.id}:
        bundle.store.verify(digest)
    files = {id_: views.enter_context(bundle.store.view(id_)) for id_ in ids}
    return {
        attribute: dataclasses.replace(model, verified_files=files[model.id])
        for attribute, model in found.items()
    }


def _service(bundle: Bundle, found: dict[str, Model]) -> ServiceSpec:
    target = bundle.manifest.target
    if not target:
        return _bare_model(bundle, found)
    module_name, _, attribute = target.partition(":")
    try:
        candidate: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            candidate = getattr(candidate, part)
    except DosirakError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_failure(str(bundle.reference), error) from error
    spec = service_spec_of(candidate, target=target)
    if spec is None:
        raise InvalidService(
            f"{target} of {bundle.reference} is not a service here.",
            remedy=f"Install what reads services of the kind {bundle.front_end!r}.",
        )
    return spec


def _bare_model(bundle: Bundle, found: dict[str, Model]) -> ServiceSpec:
    if len(found) != 1:
        raise CorruptContent(
            f"{bundle.reference} holds neither a service nor a single model.",
            remedy="Build it again.",
        )
    return next(iter(found.values())).spec()


def _import_failure(what: str, error: Exception | SystemExit) -> InvalidService:
    """Say where in the author's code an import failed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return InvalidService(
        f"Importing the service of {what} failed: {type(error).__name__}: {error}{place}.",
        remedy="Install what it needs (`dosirak doctor` lists it), or correct the module.",
    )


def front_end_of_directory(directory: Path) -> FrontEnd | None:
    """Return the front end in whose own layout a directory is, if there is one."""
    return next((found for found in front_ends() if found.recognises_directory(directory)), None)
