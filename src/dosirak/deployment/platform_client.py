"""A client of the control plane: requests → views, errors as the classes that were raised there.

Every change carries an idempotency key, so that it is sent again without harm when a connection
broke or the control plane was just restarted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ValidationError

from dosirak.client.address import Address
from dosirak.client.answer import Answer, error_of_answer, unreadable
from dosirak.client.exchange import TRANSPORT_ERRORS
from dosirak.client.failure import failure_of_exception
from dosirak.deployment.views import (
    DeploymentView,
    EventView,
    ReplicaView,
    RevisionView,
    StatusView,
)
from dosirak.errors import DosirakError, Unavailable

ViewT = TypeVar("ViewT", bound=BaseModel)
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 1.0
# A stream of events says something every 15 s; a log may be quiet for days.
_EVENTS_QUIET_S = 45.0


class PlatformClient:
    """A control plane.

    Args:
        url: its address.
        token: for one that wants tokens.
        timeout_s: the longest time for one answer, repetitions included.
        transport: an httpx2 transport to use in place of the network.

    Raises:
        InvalidConfiguration: the address or the token cannot be used (the caller's fault).
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._address = Address.parse(url, token)
        self._timeout_s = timeout_s
        authorization = self._address.authorization
        self._http = httpx2.Client(
            headers={"authorization": authorization} if authorization else {},
            follow_redirects=False,
            # Nothing is left open: a client is made for a command, or kept for days.
            limits=httpx2.Limits(max_keepalive_connections=0),
            transport=transport,
        )

    @property
    def url(self) -> str:
        """The control plane's address, without credentials."""
        return self._address.base

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
        """Close it; it cannot be used any more."""
        self._http.close()

    # Deployments.

    def list(self) -> tuple[DeploymentView, ...]:
        """Return every deployment that may be seen, by name."""
        return self._many(DeploymentView, "/deployments")

    def get(self, name: str) -> DeploymentView:
        """Return one deployment.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        return self._one(DeploymentView, "GET", _at(name))

    def create(
        self, name: str, bundle: str, settings: Mapping[str, Any] | None = None, *, note: str = ""
    ) -> DeploymentView:
        """Make a deployment.

        Raises:
            AlreadyExists: there is one of this name.
            BundleNotFound: the platform's store has no such bundle.
            InvalidConfiguration: a setting is wrong.
        """
        body = {
            "name": name, "bundle": bundle, "configuration": dict(settings or {}), "note": note
        }  # fmt: skip
        return self._one(DeploymentView, "POST", "/deployments", body)

    def update(
        self,
        name: str,
        *,
        bundle: str | None = None,
        settings: Mapping[str, Any] | None = None,
        generation: int | None = None,
        note: str = "",
    ) -> DeploymentView:
        """Take up another bundle or some other settings; what is not named stays.

        Raises:
            DeploymentConflict: it was changed since `generation` was seen.
        """
        body = {"bundle": bundle, "configuration": dict(settings or {}), "note": note}
        return self._one(DeploymentView, "PATCH", _at(name), body, generation)

    def apply(
        self,
        name: str,
        bundle: str,
        settings: Mapping[str, Any] | None = None,
        *,
        generation: int | None = None,
        note: str = "",
    ) -> DeploymentView:
        """Make a deployment be what is given, whether there is one or not."""
        body = {"bundle": bundle, "configuration": dict(settings or {}), "note": note}
        return self._one(DeploymentView, "PUT", _at(name), body, generation)

    def scale(
        self,
        name: str,
        replicas: int | None = None,
        *,
        min_replicas: int | None = None,
        max_replicas: int | None = None,
    ) -> DeploymentView:
        """Want so many replicas, within bounds that may be changed in the same step."""
        body = {
            "replicas": replicas, "min_replicas": min_replicas, "max_replicas": max_replicas
        }  # fmt: skip
        return self._one(DeploymentView, "POST", _at(name, "scale"), body)

    def rollback(self, name: str, *, to: int | None = None) -> DeploymentView:
        """Give the traffic back to an earlier revision: the one before when `to` is None."""
        return self._one(DeploymentView, "POST", _at(name, "rollback"), {"to": to})

    def set_weight(self, name: str, weight_percent: int) -> DeploymentView:
        """Give the coming revision of a canary so much of the traffic."""
        body = {"weight_percent": weight_percent}
        return self._one(DeploymentView, "POST", _at(name, "weight"), body)

    def perform(self, name: str, verb: str, *, note: str = "") -> DeploymentView:
        """Ask for a verb that needs nothing more: `promote`, `abort`, `pause`, `resume`, …"""
        return self._one(DeploymentView, "POST", _at(name, verb), {"note": note})

    def delete(self, name: str) -> DeploymentView:
        """End a deployment and forget it."""
        return self._one(DeploymentView, "DELETE", _at(name))

    def status(self, name: str) -> StatusView:
        """Return how a deployment is, in a word."""
        return self._one(StatusView, "GET", _at(name, "status"))

    def revisions(self, name: str) -> tuple[RevisionView, ...]:
        """Return a deployment's revisions, the newest first."""
        return self._many(RevisionView, _at(name, "revisions"))

    def replicas(self, name: str) -> tuple[ReplicaView, ...]:
        """Return a deployment's replicas, those that ended included."""
        return self._many(ReplicaView, _at(name, "replicas"))

    def events(
        self, name: str, *, after: int = 0, limit: int = 200, newest: bool = True
    ) -> tuple[EventView, ...]:
        """Return events, the oldest first: the newest, or the next ones after a number."""
        query = {"after": after, "limit": limit, "newest": str(newest).lower()}
        return self._many(EventView, _at(name, "events"), query)

    def follow_events(self, name: str, *, after: int = -1) -> Iterator[EventView]:
        """Yield events as they happen, from now on or after a number, until it is closed."""
        query = {"after": after}
        with self._stream(_at(name, "events/stream"), query, _EVENTS_QUIET_S) as lines:
            for line in lines:
                if line.startswith("data: "):
                    yield self._read(EventView, line.removeprefix("data: "))

    def logs(
        self, name: str, *, replica: str = "", follow: bool = False, lines: int = 200
    ) -> Iterator[str]:
        """Yield the lines of a replica's log; with `follow`, go on as it grows."""
        query = {"replica": replica, "lines": lines, "follow": str(follow).lower()}
        quiet_s = None if follow else self._timeout_s
        with self._stream(_at(name, "logs"), query, quiet_s) as found:
            yield from found

    # Everything else of the platform, as JSON values.

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request below `/api/v1` and return the JSON of its answer.

        Raises:
            DosirakError: the platform's errors, or what prevented an answer.
        """
        answer = self._send(method, path, body, query, None)
        return self._json(answer)

    # How.

    def _one(
        self,
        kind: type[ViewT],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        generation: int | None = None,
    ) -> ViewT:
        answer = self._send(method, path, body, None, generation)
        return self._read(kind, answer.body)

    def _many(
        self, kind: type[ViewT], path: str, query: Mapping[str, Any] | None = None
    ) -> tuple[ViewT, ...]:
        answer = self._send("GET", path, None, query, None)
        found = self._json(answer)
        if not isinstance(found, list):
            raise unreadable(self.url)
        return tuple(self._view(kind, item) for item in cast("list[Any]", found))

    def _read(self, kind: type[ViewT], body: bytes | str) -> ViewT:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise unreadable(self.url) from error

    def _view(self, kind: type[ViewT], value: Any) -> ViewT:
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise unreadable(self.url) from error

    def _json(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise unreadable(self.url) from error

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        generation: int | None,
    ) -> Answer:
        request = self._http.build_request(
            method,
            self._address.at(f"/api/v1{path}"),
            params=None if query is None else dict(query),
            json=None if body is None else dict(body),
            headers=_conditions(method, generation),
            timeout=self._timeout_s,
        )
        deadline_s = time.monotonic() + self._timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return self._once(request)
            except Unavailable:
                if time.monotonic() + wait_s > deadline_s:
                    raise
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _once(self, request: httpx2.Request) -> Answer:
        url = str(request.url)
        with _told(url, self._timeout_s):
            response = self._http.send(request)
        answer = Answer(response.status_code, response.headers, response.content)
        if not answer.is_success:
            raise error_of_answer(answer, url=url)
        return answer

    @contextmanager
    def _stream(
        self, path: str, query: Mapping[str, Any], quiet_s: float | None
    ) -> Generator[Iterator[str]]:
        url = self._address.at(f"/api/v1{path}")
        timeout = httpx2.Timeout(self._timeout_s, read=quiet_s)
        with (
            _told(url, self._timeout_s),
            self._http.stream("GET", url, params=dict(query), timeout=timeout) as response,
        ):
            if not response.is_success:
                body = response.read()
                raise error_of_answer(Answer(response.status_code, response.headers, body), url=url)
            yield response.iter_lines()


@contextmanager
def _told(url: str, timeout_s: float) -> Generator[None]:
    try:
        yield
    except TRANSPORT_ERRORS as error:
        found: DosirakError = failure_of_exception(error, url=url, timeout_s=timeout_s).error
        raise found from error


def _conditions(method: str, generation: int | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if method != "GET":
        headers["idempotency-key"] = uuid4().hex
    if generation is not None:
        headers["if-match"] = f'"{generation}"'
    return headers


def _at(name: str, below: str = "") -> str:
    path = f"/deployments/{quote(name, safe='')}"
    return f"{path}/{below}" if below else path
