"""A service with all that it depends on, in this process and without servers.

What a unit test, a notebook and `dosirak.load` use. Where a dependency asks for workers of its own
is a matter of serving: here every service is one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dosirak.spec.background_loop import BackgroundLoop
from dosirak.spec.calling import Dependency
from dosirak.spec.dependencies import own_part, part_of, services_below
from dosirak.spec.local_link import LocalLink
from dosirak.spec.service_spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One service of a composition.

    Attributes:
        spec: the service.
        instance: the author's object.
        state: what the contexts of its calls and hooks share.
    """

    spec: ServiceSpec
    instance: Any
    state: dict[str, Any] = field(default_factory=dict[str, Any])


def create_composed(
    spec: ServiceSpec, loaded: Mapping[str, Any], loop: BackgroundLoop | None = None
) -> tuple[ServiceInstance, ...]:
    """Make the services that one depends on, and last that one itself.

    Args:
        spec: the service.
        loaded: the loaded models, named as in `dependencies.models_needed`.
        loop: where async handlers run for sync callers.
    """
    home = loop or BackgroundLoop()
    made: list[ServiceInstance] = []
    dependencies: dict[str, Dependency] = {}
    for service in services_below(spec):
        part = _create(service, part_of(loaded, service.name), dependencies)
        threads = ThreadPoolExecutor(
            max(1, service.resources.threads), thread_name_prefix=f"dosirak-{service.name}"
        )
        link = LocalLink(service, part.instance, state=part.state, threads=threads, home=home)
        dependencies[service.name] = Dependency(service, link)
        made.append(part)
    return (*made, _create(spec, own_part(loaded, spec), dependencies))


def _create(
    spec: ServiceSpec, loaded: Mapping[str, Any], dependencies: Mapping[str, Dependency]
) -> ServiceInstance:
    others = {needed.attribute: dependencies[needed.service.name] for needed in spec.dependencies}
    return ServiceInstance(spec, spec.create({**loaded, **others}))
