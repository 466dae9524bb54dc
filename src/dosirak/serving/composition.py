"""A service and those that it depends on, in one process: a dataplane for each.

    services below, those first that others need ─▶ Dataplane.start ─▶ LocalLink ─▶ Dependency
    those with workers of their own              ─▶ WorkersLink ─▶ the front       ─▶ Dependency
    those that another server serves             ─▶ WorkersLink ─▶ RemoteCalls     ─▶ Dependency

Each service has its own instance, models, hooks, golden examples and threads, as if it were served
alone; several that depend on the same one share it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from dosirak.errors import NotFound
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.opentelemetry import Propagation
from dosirak.serving.asking import Asking
from dosirak.serving.dataplane import Dataplane, LoadableModel
from dosirak.serving.places import calls_of
from dosirak.serving.workers_link import WorkersLink
from dosirak.spec.calling import Dependency
from dosirak.spec.dependencies import own_part, part_of, services_below
from dosirak.spec.service_spec import DependencyRequirement, ServiceSpec

if TYPE_CHECKING:
    from dosirak.serving.remote_calls import RemoteCalls

ModelT = TypeVar("ModelT", bound=LoadableModel)

_log = logging.getLogger(f"{ROOT_LOGGER}.serving")


class _Here:
    """The services below one, in this process (see `dataplane.Others`)."""

    def __init__(
        self,
        spec: ServiceSpec,
        models: Mapping[str, LoadableModel],
        asking: Asking | None,
        *,
        on_hang: Callable[[str], None] | None,
        hang_grace_s: float,
        timeout_s: float,
        propagation: Propagation | None,
    ) -> None:
        self._asking = asking
        self._timeout_s = timeout_s
        self._remote: list[RemoteCalls] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._services = services_below(spec, in_own_workers=asking is None, elsewhere=False)
        self._dataplanes = {
            service.name: Dataplane(
                without_mounts(service),
                part_of(models, service.name),
                others=_Started(self),
                on_hang=on_hang,
                hang_grace_s=hang_grace_s,
                timeout_s=timeout_s,
                propagation=propagation,
            )
            for service in self._services
        }
        self._dependencies: dict[str, Dependency] = {}
        self._running: list[Dataplane] = []

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            for service in self._services:
                dataplane = self._dataplanes[service.name]
                await dataplane.start()
                self._running.append(dataplane)
                self._dependencies[service.name] = Dependency(service, dataplane.link())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        while self._running:
            try:
                await self._running.pop().stop()
            except Exception as error:
                # The others' stop hooks run all the same.
                _log.error("Stopping a dependency failed: %s", error, exc_info=error)
        while self._remote:
            await self._remote.pop().close()

    def for_service(self, spec: ServiceSpec) -> Mapping[str, Dependency]:
        return {needed.attribute: self._dependency(needed) for needed in spec.dependencies}

    def _dependency(self, needed: DependencyRequirement) -> Dependency:
        service = needed.service
        found = self._dependencies.get(service.name)
        if found is None:
            asks = self._at(service, needed.url) if needed.url else self._asking
            # It has workers of its own: those are elsewhere, and the front knows where.
            assert asks is not None  # noqa: S101 - otherwise it is among the services
            found = self._dependencies[service.name] = Dependency(
                service, WorkersLink(service, asks)
            )
        return found

    def _at(self, service: ServiceSpec, url: str) -> RemoteCalls:
        # Instances are made on a thread, and this by them.
        assert self._loop is not None  # noqa: S101 - `start` comes first
        calls = calls_of(service, url, os.environ, timeout_s=self._timeout_s, loop=self._loop)
        self._remote.append(calls)
        return calls


class _Started:
    """What others see of services that somebody else starts and stops."""

    def __init__(self, of: _Here) -> None:
        self._of = of

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def for_service(self, spec: ServiceSpec) -> Mapping[str, Dependency]:
        return self._of.for_service(spec)


def without_mounts(spec: ServiceSpec) -> ServiceSpec:
    """Return a service as others see it that depend on it: its web applications are not theirs."""
    return dataclasses.replace(spec, mounts=())


def chosen_service(
    spec: ServiceSpec, models: Mapping[str, ModelT], name: str
) -> tuple[ServiceSpec, Mapping[str, ModelT]]:
    """Return the service that a worker runs, and its models.

    Args:
        spec: the served service.
        models: of it and all below, named as in `spec.dependencies.models_needed`.
        name: that of one below; empty for the served one.

    Raises:
        NotFound: none below has this name.
    """
    if not name:
        return spec, models
    found = next((service for service in services_below(spec) if service.name == name), None)
    if found is None:
        raise NotFound(f"{spec.name!r} depends on no {name!r}.", remedy="Start the server again.")
    below = {one.name: part_of(models, one.name) for one in services_below(found)}
    return found, {
        **part_of(models, name),
        **{f"{one}.{key}": value for one, part in below.items() for key, value in part.items()},
    }


def compose(
    spec: ServiceSpec,
    models: Mapping[str, LoadableModel],
    *,
    asking: Asking | None = None,
    on_hang: Callable[[str], None] | None = None,
    hang_grace_s: float = 5.0,
    timeout_s: float = 60.0,
    propagation: Propagation | None = None,
) -> Dataplane:
    """Return the dataplane of a service; those that it depends on start and stop with it.

    Args:
        spec: the service.
        models: the stored models, named as in `spec.dependencies.models_needed`.
        asking: reaches services with workers of their own; without it they run here, too.
        on_hang: see `Dataplane`.
        hang_grace_s: see `Dataplane`.
        timeout_s: see `Dataplane`.
        propagation: see `Dataplane`.
    """
    others: _Here | None = None
    if spec.dependencies:
        others = _Here(
            spec,
            models,
            asking,
            on_hang=on_hang,
            hang_grace_s=hang_grace_s,
            timeout_s=timeout_s,
            propagation=propagation,
        )
    return Dataplane(
        spec,
        own_part(models, spec),
        others=others,
        on_hang=on_hang,
        hang_grace_s=hang_grace_s,
        timeout_s=timeout_s,
        propagation=propagation,
    )
