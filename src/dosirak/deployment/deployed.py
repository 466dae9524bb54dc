"""Deployments as Python objects: `create`, `get`, `list` and what can be done with one.

    dosirak.deployment.create("iris", ".") ─▶ connect() ─▶ PlatformClient ─▶ Deployment

Each function finds the control plane by itself (`connection`), or takes a `client`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from dosirak.bundles import Bundle
from dosirak.client import AsyncHTTPClient, SyncHTTPClient
from dosirak.deployment.connection import connect
from dosirak.deployment.platform_client import PlatformClient
from dosirak.deployment.sealing import sealed_reference
from dosirak.deployment.views import DeploymentView, EventView, RevisionView, StatusView
from dosirak.deployment.waiting import come_true
from dosirak.errors import DeadlineExceeded, DeploymentNotFound, Unavailable

Watch = Callable[[DeploymentView], None]
_LOOK_EVERY_S = 0.2
_READY_TIMEOUT_S = 600.0


class Deployment:
    """A deployment, as it was when it was last looked at.

    Attributes:
        view: all that was told of it.
    """

    def __init__(self, view: DeploymentView, client: PlatformClient) -> None:
        self.view = view
        self._client = client

    def __repr__(self) -> str:
        return f"<Deployment {self.name} ({self.view.status.status.value}, {self.view.bundle})>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.view.name

    @property
    def bundle(self) -> str:
        """The bundle that has the traffic."""
        return self.view.bundle

    @property
    def endpoint_urls(self) -> tuple[str, ...]:
        """Where callers reach it."""
        return self.view.endpoint_urls

    @property
    def url(self) -> str:
        """The first of `endpoint_urls`."""
        return self.view.endpoint_urls[0]

    @property
    def platform_url(self) -> str:
        """The control plane that looks after it: its API and console."""
        return self._client.url

    def refresh(self) -> Self:
        """Look at it again."""
        self.view = self._client.get(self.name)
        return self

    def get_status(self) -> StatusView:
        """Return how it is now."""
        return self.refresh().view.status

    def get_endpoint_urls(self) -> tuple[str, ...]:
        """Return where callers reach it now."""
        return self.refresh().view.endpoint_urls

    def get_client(self, **options: Any) -> SyncHTTPClient:
        """Return a client of the service; `options` are those of `SyncHTTPClient`."""
        return SyncHTTPClient(self.url, **options)

    def get_async_client(self, **options: Any) -> AsyncHTTPClient:
        """Return a client of the service; `options` are those of `AsyncHTTPClient`."""
        return AsyncHTTPClient(self.url, **options)

    def history(self) -> tuple[RevisionView, ...]:
        """Return its revisions, the newest first."""
        return self._client.revisions(self.name)

    def events(self, *, limit: int = 200) -> tuple[EventView, ...]:
        """Return what happened lately, the oldest first."""
        return self._client.events(self.name, limit=limit)

    def logs(self, *, replica: str = "", follow: bool = False, lines: int = 200) -> Iterator[str]:
        """Yield the lines of a replica's log: of one that serves when none is named."""
        return self._client.logs(self.name, replica=replica, follow=follow, lines=lines)

    def update(
        self,
        bundle: str | Path | Bundle | None = None,
        configuration: Mapping[str, Any] | None = None,
        *,
        note: str = "",
    ) -> Self:
        """Take up another bundle, or some other settings.

        Raises:
            DeploymentConflict: it was changed since it was last looked at.
        """
        reference = None if bundle is None else sealed_reference(bundle)
        return self._now(
            self._client.update(
                self.name,
                bundle=reference,
                settings=configuration,
                generation=self.view.generation,
                note=note,
            )
        )

    def scale(
        self,
        replicas: int | None = None,
        *,
        min_replicas: int | None = None,
        max_replicas: int | None = None,
    ) -> Self:
        """Want so many replicas, within bounds that may be changed in the same step."""
        return self._now(
            self._client.scale(
                self.name, replicas, min_replicas=min_replicas, max_replicas=max_replicas
            )
        )

    def rollback(self, to: int | None = None) -> Self:
        """Give the traffic back to an earlier revision: the one before when `to` is None."""
        return self._now(self._client.rollback(self.name, to=to))

    def set_weight(self, weight_percent: int) -> Self:
        """Give the coming revision of a canary so much of the traffic."""
        return self._now(self._client.set_weight(self.name, weight_percent))

    def promote(self) -> Self:
        """Let a waiting revision have all the traffic."""
        return self._now(self._client.perform(self.name, "promote"))

    def abort(self) -> Self:
        """Give all the traffic back to the revision that had it."""
        return self._now(self._client.perform(self.name, "abort"))

    def pause(self) -> Self:
        """Leave traffic and replicas as they are."""
        return self._now(self._client.perform(self.name, "pause"))

    def resume(self) -> Self:
        """Go on with a paused rollout."""
        return self._now(self._client.perform(self.name, "resume"))

    def restart(self) -> Self:
        """Run what serves anew, without losing a request: new replicas read secrets again."""
        return self._now(self._client.perform(self.name, "restart"))

    def start(self) -> Self:
        """Bring it back once it is terminated."""
        return self._now(self._client.perform(self.name, "start"))

    def terminate(self) -> Self:
        """End its replicas and keep everything else."""
        return self._now(self._client.perform(self.name, "terminate"))

    def delete(self) -> Self:
        """End it and forget it."""
        return self._now(self._client.delete(self.name))

    def wait(self, timeout_s: float | None = _READY_TIMEOUT_S, watch: Watch | None = None) -> Self:
        """Wait until what was asked last has come true; None waits as long as it takes.

        A canary, or a rollout that waits for a person, is waited for until it waits.

        Raises:
            RolloutFailed: the revision cannot be brought to serve (the service's fault).
            DeploymentConflict: somebody has asked for something else meanwhile.
            DeadlineExceeded: it takes longer; it goes on all the same.
        """
        asked = self.view
        self._look_until(lambda: come_true(self.view, asked), timeout_s, watch)
        return self

    wait_until_ready = wait

    def wait_until_gone(
        self, timeout_s: float | None = _READY_TIMEOUT_S, watch: Watch | None = None
    ) -> None:
        """Wait until a deployment that was deleted is forgotten.

        Raises:
            DeadlineExceeded: it takes longer; it goes on all the same.
        """
        try:
            self._look_until(lambda: False, timeout_s, watch)
        except DeploymentNotFound:
            return

    def _now(self, view: DeploymentView) -> Self:
        self.view = view
        return self

    def _look_until(
        self, reached: Callable[[], bool], timeout_s: float | None, watch: Watch | None
    ) -> None:
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                self.refresh()
                if watch is not None:
                    watch(self.view)
                if reached():
                    return
            except Unavailable:
                # The control plane is away; it goes on where it was when it is back.
                if deadline_s is None:
                    time.sleep(_LOOK_EVERY_S)
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DeadlineExceeded(
                    f"The deployment {self.name!r} is not there after {timeout_s:g} s"
                    f" ({self.view.status.status.value}); it goes on all the same.",
                    remedy=f"`dosirak deployment get {self.name}` shows how far it is.",
                )
            time.sleep(_LOOK_EVERY_S)


def create(
    name: str,
    bundle: str | Path | Bundle = ".",
    configuration: Mapping[str, Any] | None = None,
    *,
    note: str = "",
    client: PlatformClient | None = None,
) -> Deployment:
    """Make a deployment; `wait()` waits until it serves.

    Args:
        name: of the deployment.
        bundle: a bundle, its reference, or a project's directory, which is sealed first.
        configuration: settings by name, as in `docs/guides/deployments.md`.
        note: what is to be remembered of the revision.
        client: of another control plane than the one that the environment names.

    Raises:
        AlreadyExists: there is one of this name.
        InvalidConfiguration: a setting is wrong; `fields` names it.
        And what `dosirak.build` raises.
    """
    reference = sealed_reference(bundle)
    platform = client or connect()
    return Deployment(platform.create(name, reference, configuration, note=note), platform)


def update(
    name: str,
    bundle: str | Path | Bundle | None = None,
    configuration: Mapping[str, Any] | None = None,
    *,
    note: str = "",
    client: PlatformClient | None = None,
) -> Deployment:
    """Have a deployment take up another bundle or some other settings; the rest stays.

    Raises:
        DeploymentNotFound: there is none of this name.
        InvalidConfiguration: a setting is wrong; `fields` names it.
        And what `dosirak.build` raises.
    """
    reference = None if bundle is None else sealed_reference(bundle)
    platform = client or connect()
    view = platform.update(name, bundle=reference, settings=configuration, note=note)
    return Deployment(view, platform)


def apply(
    name: str,
    bundle: str | Path | Bundle,
    configuration: Mapping[str, Any] | None = None,
    *,
    note: str = "",
    client: PlatformClient | None = None,
) -> Deployment:
    """Make a deployment be what is given, whether there is one or not.

    Raises:
        InvalidConfiguration: a setting is wrong; `fields` names it.
        And what `dosirak.build` raises.
    """
    reference = sealed_reference(bundle)
    platform = client or connect()
    return Deployment(platform.apply(name, reference, configuration, note=note), platform)


def get(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Return a deployment.

    Raises:
        DeploymentNotFound: there is none of this name.
        Unavailable: the platform does not run; only what changes something starts it.
    """
    platform = client or connect(start=False)
    return Deployment(platform.get(name), platform)


def list(*, client: PlatformClient | None = None) -> tuple[Deployment, ...]:  # noqa: A001
    """Return all deployments, by name.

    Raises:
        Unavailable: the platform does not run; only what changes something starts it.
    """
    platform = client or connect(start=False)
    return tuple(Deployment(view, platform) for view in platform.list())


def scale(
    name: str,
    replicas: int | None = None,
    *,
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    client: PlatformClient | None = None,
) -> Deployment:
    """Want so many replicas; see `Deployment.scale`."""
    found = get(name, client=client or connect())
    return found.scale(replicas, min_replicas=min_replicas, max_replicas=max_replicas)


def rollback(
    name: str, to: int | None = None, *, client: PlatformClient | None = None
) -> Deployment:
    """Give the traffic back to an earlier revision; see `Deployment.rollback`."""
    return get(name, client=client or connect()).rollback(to)


def promote(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Let a waiting revision have all the traffic."""
    return get(name, client=client or connect()).promote()


def abort(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Give all the traffic back to the revision that had it."""
    return get(name, client=client or connect()).abort()


def pause(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Leave traffic and replicas of a rollout as they are."""
    return get(name, client=client or connect()).pause()


def resume(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Go on with a paused rollout."""
    return get(name, client=client or connect()).resume()


def set_weight(
    name: str, weight_percent: int, *, client: PlatformClient | None = None
) -> Deployment:
    """Give the coming revision of a canary so much of the traffic."""
    return get(name, client=client or connect()).set_weight(weight_percent)


def restart(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Run what serves anew, without losing a request; see `Deployment.restart`."""
    return get(name, client=client or connect()).restart()


def start(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """Bring a terminated deployment back."""
    return get(name, client=client or connect()).start()


def terminate(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """End a deployment's replicas and keep everything else."""
    return get(name, client=client or connect()).terminate()


def delete(name: str, *, client: PlatformClient | None = None) -> Deployment:
    """End a deployment and forget it."""
    return get(name, client=client or connect()).delete()


def history(name: str, *, client: PlatformClient | None = None) -> tuple[RevisionView, ...]:
    """Return a deployment's revisions, the newest first."""
    return (client or connect(start=False)).revisions(name)


def events(
    name: str, *, limit: int = 200, client: PlatformClient | None = None
) -> tuple[EventView, ...]:
    """Return what happened to a deployment lately, the oldest first."""
    return (client or connect(start=False)).events(name, limit=limit)


def logs(
    name: str,
    *,
    replica: str = "",
    follow: bool = False,
    lines: int = 200,
    client: PlatformClient | None = None,
) -> Iterator[str]:
    """Yield the lines of a replica's log: of one that serves when none is named."""
    platform = client or connect(start=False)
    return platform.logs(name, replica=replica, follow=follow, lines=lines)
