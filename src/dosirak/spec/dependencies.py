"""`dosirak.depends`: the place of another service in a class, and the order among services.

A service can only depend on one that is complete, so that no circle can be written within a module;
modules that import each other in a circle are refused where they are imported (`spec.loading`).
Within one tree a service runs in one place: in the worker of each that depends on it, in workers of
its own that all of them share, or at another server. Where that is may be said when it is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from dosirak.errors import InvalidService
from dosirak.spec.calling import check_callable
from dosirak.spec.options import MOST_WORKERS, text, whole
from dosirak.spec.service_spec import DependencyRequirement, ModelRequirement, ServiceSpec


class DependencyHandle:
    """The place of another service in a service class; what calls it on an instance that runs.

    Like the handle of a model it is a non-data descriptor: whoever makes the instance, and a unit
    test that wants a stand-in, puts an object into the instance's own dictionary.
    """

    def __init__(self, service: ServiceSpec, workers: int | None, url: str = "") -> None:
        self.service = service
        self.workers = workers
        self.url = url

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        raise InvalidService(
            f"The service {self.service.name!r}, on which this one depends, is not there.",
            remedy="Make the instance by calling the decorated service, which makes the others.",
        )

    def __repr__(self) -> str:
        return f"dosirak.depends({self.service.target})"


def depends(
    service: Any, /, *, workers: int | Literal["declared"] | None = None, url: str | None = None
) -> Any:
    """Name another service that this one calls.

    On an instance it has a method for each of the other's apis, which calls it and waits; the same
    under `to_async`, to be awaited, and under `to_future`. Typed `Any`, because its methods are the
    other service's.

    Args:
        service: a class or function under `@dosirak.service`.
        workers: worker processes of its own, which batch the calls of everybody that depends on it;
            `"declared"` takes the other's `Resources`. None runs it in the caller's own worker.
        url: where another server serves it, such as `http://embedder:3000`; it is then not run
            here. `DOSIRAK_DEPENDS_<NAME>` says so, or otherwise, when the service is served.

    Raises:
        InvalidService: it is no service, the number of workers is out of range, or the address
            cannot be used (the author's fault).
    """
    spec = getattr(service, "spec", None)
    if not isinstance(spec, ServiceSpec):
        raise InvalidService(
            f"dosirak.depends was given {service!r}, which is not a service.",
            remedy="Give it a class or function that is decorated with @dosirak.service.",
        )
    count = spec.resources.workers if workers == "declared" else workers
    if count is not None:
        count = whole(count, "workers", f"dosirak.depends({spec.name})", least=1, most=MOST_WORKERS)
    if url is not None:
        _check_place(spec, count, text(url, "url", f"dosirak.depends({spec.name})"))
    check_callable(spec)
    return DependencyHandle(spec, count, url or "")


def is_address(url: str) -> bool:
    """Whether this can be the address of a server."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    plain = not any(character <= " " for character in url) and not parts.query + parts.fragment
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def _check_place(spec: ServiceSpec, workers: int | None, url: str) -> None:
    if workers is not None:
        raise InvalidService(
            f"{spec.name!r} is depended on with workers and with a url.",
            remedy="Give workers to run it here, or a url to call it elsewhere.",
        )
    if not is_address(url) or "@" in url:
        raise InvalidService(
            f"The url of {spec.name!r} is not the address of a server.",
            remedy="Write it as http://embedder:3000, without a credential.",
        )


def requirements_of(
    handles: Mapping[str, DependencyHandle],
) -> tuple[DependencyRequirement, ...]:
    """Return the dependencies that a class or function declares."""
    return tuple(
        DependencyRequirement(attribute, handle.service, handle.workers, handle.url)
        for attribute, handle in handles.items()
    )


def check_tree(spec: ServiceSpec) -> None:
    """Refuse two services of one name below a service, and one service in two places.

    Raises:
        InvalidService: there are (the author's fault).
    """
    seen: dict[str, tuple[ServiceSpec, int | None, str]] = {spec.name: (spec, None, "")}
    for needed in _requirements_below(spec):
        service = needed.service
        known, workers, url = seen.setdefault(service.name, (service, needed.workers, needed.url))
        if not is_same(known, service):
            raise InvalidService(
                f"{spec.name!r} and what it depends on have two services {service.name!r}:"
                f" {known.target} and {service.target}.",
                remedy="Give one another name: @dosirak.service(name=...).",
            )
        if workers != needed.workers:
            raise InvalidService(
                f"The service {service.name!r} is depended on with workers={workers} and with"
                f" workers={needed.workers}.",
                remedy="Give every dosirak.depends on it the same number of workers.",
            )
        if url != needed.url:
            raise InvalidService(
                f"The service {service.name!r} is depended on in two places.",
                remedy="Give every dosirak.depends on it the same url, or none.",
            )


def is_same(one: ServiceSpec, other: ServiceSpec) -> bool:
    """Whether two descriptions are of the same author's object, wherever it was found."""
    return one.create is other.create


def placed(spec: ServiceSpec, urls: Mapping[str, str]) -> ServiceSpec:
    """Return a service whose dependencies are where these addresses say.

    Args:
        spec: the service.
        urls: the address of each service, by its name; an empty one runs it here.
    """
    requirements = tuple(
        replace(
            needed,
            service=placed(needed.service, urls),
            url=(url := urls.get(needed.service.name, needed.url)),
            workers=None if url else needed.workers,
        )
        for needed in spec.dependencies
    )
    return replace(spec, dependencies=requirements) if requirements else spec


def services_below(
    spec: ServiceSpec, *, in_own_workers: bool = True, elsewhere: bool = True
) -> tuple[ServiceSpec, ...]:
    """Return every service that one depends on, each once, those first that others need.

    Args:
        spec: the service.
        in_own_workers: also those, and what is below those, that have workers of their own.
        elsewhere: also those, and what is below those, that another server serves.
    """
    found: dict[str, ServiceSpec] = {}

    def visit(service: ServiceSpec) -> None:
        for needed in service.dependencies:
            if needed.service.name in found or (needed.workers and not in_own_workers):
                continue
            if needed.url and not elsewhere:
                continue
            visit(needed.service)
            found[needed.service.name] = needed.service

    visit(spec)
    return tuple(found.values())


def own_workers_below(spec: ServiceSpec) -> dict[str, int]:
    """Return the services below one that have workers of their own, and how many."""
    return {
        needed.service.name: needed.workers
        for needed in _requirements_below(spec, elsewhere=False)
        if needed.workers is not None
    }


def models_needed(spec: ServiceSpec) -> tuple[ModelRequirement, ...]:
    """Return the models of a service and of all that it depends on.

    The model of a dependency is named `service.attribute`.
    """
    below = (
        ModelRequirement(f"{service.name}.{needed.attribute}", needed.reference)
        for service in services_below(spec)
        for needed in service.models
    )
    return (*spec.models, *below)


def part_of(values: Mapping[str, Any], service: str) -> dict[str, Any]:
    """Return what belongs to one dependency among values named as in `models_needed`."""
    prefix = f"{service}."
    return {
        key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)
    }


def own_part(values: Mapping[str, Any], spec: ServiceSpec) -> dict[str, Any]:
    """Return what belongs to the service itself among values named as in `models_needed`."""
    prefixes = tuple(f"{service.name}." for service in services_below(spec))
    return {key: value for key, value in values.items() if not key.startswith(prefixes)}


def requirements_below(specs: Iterable[ServiceSpec]) -> tuple[str, ...]:
    """Return the distributions that the authors of these services asked for, each once."""
    return tuple(dict.fromkeys(line for spec in specs for line in spec.requirements))


def _requirements_below(
    spec: ServiceSpec, *, elsewhere: bool = True
) -> Iterator[DependencyRequirement]:
    for needed in spec.dependencies:
        if needed.url and not elsewhere:
            continue
        yield needed
        yield from _requirements_below(needed.service, elsewhere=elsewhere)
