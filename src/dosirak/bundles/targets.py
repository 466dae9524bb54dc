"""What `serve` and `run` accept, resolved to one service and the models it needs.

    module:Class · file.py · file.py:Class    the author's own files, from the current directory
    directory                                 a project, a checked-out bundle, another front end's
    archive.tar                               an exported bundle
    name · name:version                       a bundle, or else a model that is served alone
    sha256:…                                  a bundle by its id, under whatever name it has

Opening runs the author's code (a bundle's only after every byte was verified) and loads no model.
"""

from __future__ import annotations

import atexit
import difflib
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from dosirak.bundles.checkout import is_checkout
from dosirak.bundles.loaded import expanded, open_path, warn_of_mismatches
from dosirak.bundles.opening import front_end_of_directory, opened_bundle
from dosirak.bundles.pins import models_of
from dosirak.bundles.project import read_configuration, service_target
from dosirak.bundles.saved import SHELF, Bundle
from dosirak.errors import BundleNotFound, InvalidName, ModelNotFound, NotFound
from dosirak.models import Model
from dosirak.models import get as get_model
from dosirak.naming import Reference
from dosirak.spec.loading import import_target
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import Entry, Store, default_store
from dosirak.store.canonical import is_digest

TargetKind = Literal["bundles", "models", "files"]


class PinnedTarget(NamedTuple):
    """What a text means now.

    Attributes:
        text: a target that goes on meaning it.
        kind: where it was found, which a later look must not leave; `files` also when nothing was.
        content: the id of what was found in the store; empty for files.
    """

    text: str
    kind: TargetKind
    content: str = ""


class OpenedTarget:
    """A service that is ready to be created, and the models to load for it.

    Its files stay in place until it is closed or the process ends.

    Attributes:
        spec: the service.
        models: the saved model of each attribute, not yet loaded.
        bundle: the bundle it came from, if it did.
        root: the directory of the author's own files, where the code is theirs.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        models: Mapping[str, Model],
        bundle: Bundle | None = None,
        resources: ExitStack | None = None,
        *,
        root: Path | None = None,
    ) -> None:
        self.spec = spec
        self.models = models
        self.bundle = bundle
        self.root = root
        self._resources = resources or ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back files and modules. Closing twice is no error."""
        self._resources.close()


def open_target(
    text: str, *, store: Store | None = None, kind: TargetKind | None = None
) -> OpenedTarget:
    """Find the service that `text` means.

    Args:
        text: the target.
        store: where bundles and models are.
        kind: where alone to look; everywhere when None.

    Raises:
        NotFound: nothing has this name; the message says where it was looked for.
        InvalidService: the code cannot be served.
        CorruptContent: a byte of a bundle is damaged; none of its code ran.
    """
    target = store or default_store()
    if kind in ("bundles", "models"):
        return _open_name(text, target, kind)
    location, _, attribute = text.partition(":")
    path = expanded(location)
    if location.endswith(".py"):
        return _open_code(f"{path}:{attribute}" if attribute else str(path), Path.cwd(), target)
    if not attribute and path.is_dir() and (kind == "files" or _means_path(text, target)):
        return _open_directory(path.resolve(), target)
    if not attribute and path.is_file():
        with ExitStack() as stack:
            return _open_bundle(open_path(path, stack), stack)
    if "/" in location:
        raise NotFound(f"There is no file or directory {location!r}.", remedy="Check the path.")
    return _open_name(text, target, kind)


def pinned_target(
    text: str, *, store: Store | None = None, kind: TargetKind | None = None
) -> PinnedTarget:
    """Return a target that goes on meaning the version that `text` means now.

    A worker that is started again an hour later must serve what its siblings serve, whatever has
    been saved under the name meanwhile. Files and modules are returned as they are.

    Args:
        text: the target.
        store: where bundles and models are.
        kind: where alone to look; everywhere when None. A name may come to mean a bundle that
            meant a model before, so whoever looks again says what was found at first.

    Raises:
        CorruptContent: a record of the store is damaged.
    """
    target = store or default_store()
    if kind is None and _is_place(text, target):
        kind = "files"
    found = _named(text, target, kind)
    if found is None:
        return PinnedTarget(text, kind or "files")
    kind = "bundles" if isinstance(found, Bundle) else "models"
    return PinnedTarget(str(found.reference), kind, found.id)


def _is_place(text: str, store: Store) -> bool:
    location, _, attribute = text.partition(":")
    if location.endswith(".py") or "/" in location:
        return True
    path = expanded(location)
    return not attribute and (path.is_file() or (path.is_dir() and _means_path(text, store)))


def _means_path(text: str, store: Store) -> bool:
    """Whether a text that names a directory means it, although a bundle may have the name too."""
    return text.startswith((".", "/", "~")) or os.sep in text or _named_bundle(text, store) is None


def _open_code(text: str, directory: Path, store: Store) -> OpenedTarget:
    imported = import_target(text, directory=directory)
    models = models_of(imported.spec, store=store)
    return OpenedTarget(imported.spec, models, root=imported.root)


def _open_directory(directory: Path, store: Store) -> OpenedTarget:
    if is_checkout(directory):
        with ExitStack() as stack:
            return _open_bundle(open_path(directory, stack), stack)
    front_end = front_end_of_directory(directory)
    if front_end is not None:
        spec = front_end.spec_of_directory(directory)
        return OpenedTarget(spec, models_of(spec, store=store), root=directory)
    return _open_code(service_target(directory, read_configuration(directory)), directory, store)


def _open_bundle(bundle: Bundle, stack: ExitStack) -> OpenedTarget:
    warn_of_mismatches(bundle)
    opened = stack.enter_context(opened_bundle(bundle))
    opened.scope.install()
    resources = stack.pop_all()
    _close_at_exit(resources)
    return OpenedTarget(opened.spec, opened.models, bundle, resources)


def _close_at_exit(resources: ExitStack) -> None:
    """Close when the process ends, unless that process is a fork of this one."""
    owner = os.getpid()

    def close() -> None:
        if os.getpid() == owner:
            resources.close()

    atexit.register(close)
    resources.callback(atexit.unregister, close)


def _open_name(text: str, store: Store, kind: TargetKind | None) -> OpenedTarget:
    found = _named(text, store, kind)
    if isinstance(found, Bundle):
        with ExitStack() as stack:
            return _open_bundle(found, stack)
    if found is not None:
        spec = found.spec()
        return OpenedTarget(spec, {need.attribute: found for need in spec.models})
    location, _, attribute = text.partition(":")
    if kind in (None, "files") and _is_importable_here(location):
        return _open_code(text, Path.cwd(), store)
    raise _unknown(text, attribute, store)


def _named(text: str, store: Store, kind: TargetKind | None) -> Bundle | Model | None:
    """Return the bundle that a text names, else the model; only what is of this kind, if given."""
    bundle = _named_bundle(text, store) if kind in (None, "bundles") else None
    if bundle is not None or kind not in (None, "models"):
        return bundle
    return _named_model(text, store)


def _named_bundle(text: str, store: Store) -> Bundle | None:
    family, _, digest = text.partition(":")
    if family == "sha256" and is_digest(digest):
        entries = (entry for entry in store.survey("bundles") if isinstance(entry, Entry))
        entry = next((entry for entry in entries if entry.digest == digest), None)
        return None if entry is None else SHELF.view(store, entry)
    try:
        return SHELF.get(text, store=store)
    except (InvalidName, BundleNotFound):
        return None


def _named_model(text: str, store: Store) -> Model | None:
    try:
        return get_model(text, store=store)
    except (InvalidName, ModelNotFound):
        return None


def _is_importable_here(name: str) -> bool:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        return False
    base = Path.cwd().joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def _unknown(text: str, attribute: str, store: Store) -> NotFound:
    tried = [f"a file or directory {text.partition(':')[0]!r}", "a module in this directory"]
    try:
        reference = Reference.parse(text)
        tried += [f"a bundle {reference}", f"a model {reference}"]
    except InvalidName:
        pass
    name = text.partition(":")[0]
    known = sorted({*store.names("bundles"), *store.names("models")})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    versions = [entry.version for entry in store.entries("bundles", name)] if name in known else []
    if versions:
        remedy = f"There are the versions {', '.join(versions[:5])}."
    elif near:
        remedy = f"Did you mean {' or '.join(near)}?"
    elif known:
        remedy = f"The store has: {', '.join(known[:10])}."
    else:
        remedy = "The store is empty; name a file, or build a bundle first: dosirak build."
    return NotFound(f"There is nothing called {text!r}: not {', nor '.join(tried)}.", remedy=remedy)
