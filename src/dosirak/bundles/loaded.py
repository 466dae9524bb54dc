"""A bundle in this process: `load(reference)` gives a service whose apis are methods.

    loaded = dosirak.load("iris:latest")
    loaded.predict(flowers=df)

The bundle is verified, its models are loaded and its start hooks have run when `load` returns.
Handlers are called as they are, without codecs: values go in and come out as Python objects. Async
handlers run on a loop of the service's own, so that callers need none.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dosirak.bundles.checkout import add_checkout, is_checkout
from dosirak.bundles.environment import check, check_running_python
from dosirak.bundles.opening import front_end_of_directory, opened_bundle
from dosirak.bundles.saved import SHELF, Bundle
from dosirak.errors import (
    ApiNotFound,
    BundleNotFound,
    InvalidName,
    ModelNotFound,
    NotFound,
    UsageError,
)
from dosirak.models import Model
from dosirak.naming import Reference
from dosirak.spec.background_loop import BackgroundLoop
from dosirak.spec.composing import ServiceInstance, create_composed
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec
from dosirak.store import Store

_SHOWN_MISMATCHES = 5


class EnvironmentWarning(UserWarning):
    """The running environment is not the one that a bundle was sealed with."""


class LoadedService:
    """A service with its models in memory. Close it, or use it as a context manager.

    Attributes:
        spec: the service.
        bundle: what it was loaded from; None for a directory in another front end's layout.
        models: the saved model of each attribute, with its metadata; that of a dependency as
            `service.attribute`. One that it does not have is a `ModelNotFound` that names those it
            has.
        instance: the author's object.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        instance: Any,
        *,
        bundle: Bundle | None = None,
        models: Mapping[str, Model] | None = None,
        resources: ExitStack | None = None,
        parts: tuple[ServiceInstance, ...] = (),
        loop: BackgroundLoop | None = None,
    ) -> None:
        self.spec = spec
        self.instance = instance
        self.bundle = bundle
        self.models = _Models(spec.name, models or {})
        self._resources = resources or ExitStack()
        self._loop = loop or BackgroundLoop()
        self._parts = parts or (ServiceInstance(spec, instance),)
        self._state = self._parts[-1].state

    def __repr__(self) -> str:
        origin = self.bundle.reference if self.bundle else self.spec.target
        return f"<LoadedService {self.spec.name!r} from {origin}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.api(name)
        except ApiNotFound as error:
            raise AttributeError(str(error)) from error

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(api.name for api in self.spec.apis)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the bundle's author wants known."""
        return self.bundle.metadata if self.bundle else {}

    def mounted(self, path: str) -> Any:
        """Return the web application that is mounted at a path, as its author made it.

        Raises:
            NotFound: none is.
        """
        found = next((mount for mount in self.spec.mounts if mount.path == path), None)
        if found is None:
            known = ", ".join(mount.path for mount in self.spec.mounts) or "none"
            raise NotFound(
                f"Nothing is mounted at {path!r} of {self.spec.name!r}.",
                remedy=f"There are: {known}.",
            )
        return found.find(self.instance)

    def api(self, name: str) -> Callable[..., Any]:
        """Return an api as a function of the service's own parameters.

        Raises:
            ApiNotFound: the service has no api of this name.
        """
        found = self.spec.api(name)
        if found is None:
            known = ", ".join(api.name for api in self.spec.apis)
            raise ApiNotFound(
                f"The service {self.spec.name!r} has no api {name!r}.", remedy=f"It has: {known}."
            )

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(found, args, kwargs)

        call.__name__, call.__doc__ = found.name, found.doc
        return call

    def start(self) -> Self:
        """Run the start and ready hooks, once; `load` has done so.

        Those of the services that it depends on run before its own, and stop hooks after.
        """
        self._resources.callback(self._loop.close)
        for part in self._parts:
            hooks = part.spec.hooks
            for name in (*hooks.start, *hooks.ready):
                self._run_hook(part, name)
            for name in reversed(hooks.stop):
                self._resources.callback(self._run_hook, part, name)
        return self

    def close(self) -> None:
        """Run the stop hooks and give back files and modules. Closing twice is no error."""
        self._resources.close()

    def _call(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        handler = api.bind(self.instance)
        if api.context_parameter is not None and api.context_parameter not in kwargs:
            kwargs = {**kwargs, api.context_parameter: Context(state=self._state)}
        result = handler(*args, **kwargs)
        if inspect.isasyncgen(result):
            return self._loop.iterate(result)
        return self._loop.run(result) if inspect.iscoroutine(result) else result

    def _run_hook(self, part: ServiceInstance, name: str) -> None:
        result = part.spec.hooks.bind(part.instance, name, part.state)()
        if inspect.iscoroutine(result):
            self._loop.run(result)


class _Models(dict[str, Model]):
    """The saved models by attribute; asked for another, it says which there are."""

    def __init__(self, service: str, models: Mapping[str, Model]) -> None:
        super().__init__(models)
        self._service = service

    def __missing__(self, attribute: str) -> Model:
        near = get_close_matches(str(attribute), self, n=1)
        has = ", ".join(f"{name!r} ({model.reference})" for name, model in self.items())
        raise ModelNotFound(
            f"The service {self._service!r} has no model at {attribute!r}.",
            remedy=(f"Did you mean {near[0]!r}? " if near else "")
            + (f"It has: {has}." if has else "It has none."),
        )


def load(
    reference: str | Path | Reference,
    *,
    trust: bool | str | None = None,
    store: Store | None = None,
) -> LoadedService:
    """Load a sealed service into this process.

    Args:
        reference: `name`, `name:version`, or a path: an exported archive, a checked-out bundle or a
            directory in another front end's layout. Its code runs: load what you trust.
        trust: for models in formats that run code and did not come from this store; see
            `Model.load`.
        store: None takes the store that the environment names.

    Raises:
        UsageError: it is neither a reference nor a path.
        BundleNotFound: there is none.
        CorruptContent: a byte of it is missing or damaged; none of its code ran.
        UntrustedContent: a model could run code that nobody vouches for.
        InvalidService: its module cannot be imported.
    """
    path = path_meant(reference)
    with ExitStack() as stack:
        if path is not None and path.is_dir() and not is_checkout(path):
            return _load_foreign(path)
        bundle = (
            open_path(path, stack) if path is not None else SHELF.get(str(reference), store=store)
        )
        return _load_bundle(bundle, trust, stack)


def path_meant(reference: str | Path | Reference) -> Path | None:
    """Return the path that a text means; None when it is a reference.

    A text that could be either is a reference, as long as it holds no separator.
    """
    if isinstance(reference, Path):
        return reference
    if isinstance(reference, Reference):
        return None
    if not isinstance(reference, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"{reference!r} is neither a reference nor a path.",
            remedy="Give 'name', 'name:version', or the path of a bundle.",
        )
    try:
        Reference.parse(reference)
    except InvalidName:
        path = expanded(reference)
        if path.exists():
            return path
        if "/" in reference or reference.endswith(".tar"):
            raise BundleNotFound(
                f"There is no file or directory {reference!r}.", remedy="Check the path."
            ) from None
        raise
    return Path(reference) if reference.endswith(".tar") and Path(reference).is_file() else None


def expanded(text: str) -> Path:
    """Return a path as a shell would see it; the home of nobody stays as it is written."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def import_path(path: Path, store: Store) -> Bundle:
    """Read an archive or a checked-out bundle into a store, verified.

    Raises:
        UsageError: it is neither.
        CorruptContent: a byte of it is damaged.
    """
    if path.is_file():
        return SHELF.import_(path, store=store)
    if is_checkout(path):
        return Bundle(store, add_checkout(store, path))
    raise UsageError(
        f"{path} is no bundle.",
        remedy="Name an exported archive or a directory made by `Bundle.checkout`.",
    )


def open_path(path: Path, resources: ExitStack) -> Bundle:
    """Read a bundle at a path into a store that lives as long as `resources`."""
    if not path.exists():
        raise BundleNotFound(f"There is no file or directory {path}.", remedy="Check the path.")
    directory = resources.enter_context(tempfile.TemporaryDirectory(prefix="dosirak-"))
    return import_path(path, Store(Path(directory)))


def warn_of_mismatches(bundle: Bundle) -> None:
    """Warn when the running environment is not the one that a bundle needs."""
    python = check_running_python(bundle.python)
    found = [*([python] if python else []), *check(bundle.requirements)]
    if found:
        shown = "; ".join(str(mismatch) for mismatch in found[:_SHOWN_MISMATCHES])
        more = f"; and {len(found) - _SHOWN_MISMATCHES} more" if len(found) > 5 else ""
        warnings.warn(
            f"{bundle.reference} was sealed with another environment: {shown}{more}.",
            EnvironmentWarning,
            stacklevel=3,
        )


def _load_bundle(bundle: Bundle, trust: bool | str | None, stack: ExitStack) -> LoadedService:
    warn_of_mismatches(bundle)
    opened = stack.enter_context(opened_bundle(bundle))
    opened.scope.offer()
    # Unpickled objects may name the bundle's own modules.
    with opened.scope:
        loaded = {attribute: model.load(trust=trust) for attribute, model in opened.models.items()}
        loop = BackgroundLoop()
        parts = create_composed(opened.spec, loaded, loop)
    service = LoadedService(
        opened.spec,
        parts[-1].instance,
        bundle=bundle,
        models=opened.models,
        resources=stack.pop_all(),
        parts=parts,
        loop=loop,
    )
    return _started(service)


def _load_foreign(directory: Path) -> LoadedService:
    front_end = front_end_of_directory(directory)
    if front_end is None:
        raise UsageError(
            f"{directory} is no bundle.",
            remedy="Name an exported archive, a checked-out bundle or a saved service.",
        )
    spec = front_end.spec_of_directory(directory)
    return _started(LoadedService(spec, spec.create({})))


def _started(service: LoadedService) -> LoadedService:
    try:
        return service.start()
    except BaseException:
        service.close()
        raise
