"""The synchronous client: performs what the conversations ask for, and looks like the service.

Everything decided is decided elsewhere (`session`, `exchange`, `methods`); here are a connection
pool, a lock and attribute access.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from copy import copy
from itertools import chain
from threading import Lock
from types import TracebackType
from typing import Any, Self

import httpx2

from dosirak.client.answer import Answer
from dosirak.client.deadline import deadline_transport, until
from dosirak.client.exchange import (
    TRANSPORT_ERRORS,
    Conversation,
    Effect,
    Opened,
    ResultT,
    Send,
    Wait,
)
from dosirak.client.methods import dressed, find_api, method_names, missing_attribute
from dosirak.client.request import PreparedRequest
from dosirak.client.schema import RemoteApi, RemoteService
from dosirak.client.session import Session, closed_client, patience_s
from dosirak.client.stream import reading_stream
from dosirak.client.task import Task, submit


class SyncHTTPClient:
    """A service, called like a local object.

        with SyncHTTPClient("http://127.0.0.1:3000") as client:
            client.predict(flowers=frame)

    On first use it reads the service's schema once and offers a method for each api: `client.NAME`,
    or `client.api_NAME` where the client itself has that name. An api that streams returns an
    iterator; a task is called to its end, or started with `client.NAME.submit(…)`. May be shared
    between threads.

    Args:
        url: the service's address, such as `http://127.0.0.1:3000`.
        token: sent as a bearer token.
        timeout_s: the longest time for one call with its retries; for a stream, until its first
            item and between items. None: no limit.
        ready_timeout_s: how long to wait for readiness before the first use; None: not at all.
        retries: how often a call that may be repeated is repeated.
        headers: sent with every request.
        transport: an httpx2 transport to use in place of the network.

    Raises:
        InvalidConfiguration: a value cannot be used (the caller's fault).
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float | None = 30.0,
        ready_timeout_s: float | None = None,
        retries: int = 2,
        headers: Mapping[str, str] | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._session = Session.open(
            url,
            token=token,
            timeout_s=timeout_s,
            ready_timeout_s=ready_timeout_s,
            retries=retries,
            headers=headers,
        )
        self._http = httpx2.Client(
            transport=transport or deadline_transport(self.url), follow_redirects=False
        )
        self._connecting = Lock()
        self._service: RemoteService | None = None
        self._methods: dict[str, Callable[..., Any]] = {}

    @property
    def url(self) -> str:
        """The service's address, without credentials."""
        return self._session.address.base

    @property
    def service(self) -> RemoteService:
        """The service as it describes itself; connects on first use."""
        with self._connecting:
            if self._service is None:
                self._service = self._learn()
            return self._service

    @property
    def apis(self) -> Mapping[str, RemoteApi]:
        """The service's apis by name; connects on first use."""
        return self.service.apis

    def connect(self) -> Self:
        """Read the service's schema now rather than on first use; once is enough.

        Raises:
            Unavailable: nothing answers, or the service did not become ready in time.
            RemoteError: what answers is no dosirak service.
        """
        _ = self.service
        return self

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the api of this name.

        Raises:
            ApiNotFound: the service has no such api.
            InvalidInput: the arguments do not fit it.
            DosirakError: the service's error, or what prevented an answer.
        """
        return self._call(find_api(self.service, name), args, kwargs)

    def at_urgency(self, urgency: int) -> Self:
        """Return this client with another say: its calls are this urgent.

        It shares the connections, and is closed with this one. A service that has more calls
        waiting than it can run takes more urgent ones first.

        Args:
            urgency: 0 (most urgent) to 7; calls that do not say are 3.

        Raises:
            InvalidConfiguration: it is none of these (the caller's fault).
        """
        other = copy(self)
        other._session = self._session.at_urgency(urgency)
        if self._service is not None:
            other._methods = other._methods_of(self._service)
        return other

    def is_ready(self) -> bool:
        """Ask once whether the service can answer now."""
        return self._run(self._session.is_ready())

    def wait_until_ready(self, timeout_s: float | None = 30.0) -> None:
        """Wait for the service; None waits as long as it takes.

        Raises:
            Unavailable: it was not ready in time.
        """
        self._run(self._session.wait_until_ready(patience_s(timeout_s, "timeout_s")))

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._http.close()

    def _learn(self) -> RemoteService:
        service = self._run(self._session.connect())
        self._methods = self._methods_of(service)
        return service

    def _methods_of(self, service: RemoteService) -> dict[str, Callable[..., Any]]:
        names = method_names(service.apis).items()
        return {method: self._method(service.apis[name], method) for method, name in names}

    def _method(self, api: RemoteApi, name: str) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            return self._call(api, args, kwargs)

        def submit_task(*args: Any, **kwargs: Any) -> Task:
            return self._submit(api, args, kwargs)

        if api.kind == "task":
            method.__dict__["submit"] = dressed(submit_task, api, "submit")
        return dressed(method, api, name)

    def _call(self, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if api.kind == "task":
            return self._submit(api, args, kwargs).get()
        request = self._session.request_to(api, args, kwargs)
        if api.streams:
            return self._items(api, request)
        return self._run(self._session.call(api, request))

    def _submit(self, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Task:
        return Task(self._run(submit(self._session, api, args, kwargs)), self._run)

    def _items(self, api: RemoteApi, request: PreparedRequest) -> Iterator[Any]:
        opened = self._run(self._session.open_stream(request))
        chunks = chain((opened.first,), opened.pieces)
        # Dropping this generator ends it here, which closes the connection.
        with closing(opened.response), reading_stream(request.url, self._session.timeout_s):
            yield from api.codec.decode_stream(opened.content_type, chunks)

    def _run(self, conversation: Conversation[ResultT]) -> ResultT:
        with closing(conversation):
            try:
                effect = next(conversation)
                while True:
                    effect = self._perform(effect, conversation)
            except StopIteration as end:
                return end.value

    def _perform(self, effect: Effect, conversation: Conversation[Any]) -> Effect:
        if isinstance(effect, Wait):
            time.sleep(effect.seconds)
            return conversation.send(None)
        try:
            outcome = self._send(effect)
        except TRANSPORT_ERRORS as error:
            return conversation.throw(error)
        return conversation.send(outcome)

    def _send(self, send: Send) -> Answer | Opened:
        if self._http.is_closed:
            raise closed_client(self.url)
        end_s = time.monotonic() + send.timeout_s
        with until(end_s):
            return self._exchange(send, end_s)

    def _exchange(self, send: Send, end_s: float) -> Answer | Opened:
        response = self._http.send(send.build(self._http), stream=True)
        try:
            return _receive(response, send, end_s)
        except BaseException:
            response.close()
            raise

    def __getattr__(self, name: str) -> Any:
        # Names with an underscore are asked for by Python itself (copying, displays, …).
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        service = self.service
        method = self._methods.get(name)
        if method is None:
            message = missing_attribute(service, type(self).__name__, name)
            raise AttributeError(message, name=name, obj=self)
        return method

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._methods})

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"SyncHTTPClient({self.url!r})"


def _receive(response: httpx2.Response, send: Send, end_s: float) -> Answer | Opened:
    pieces = response.iter_bytes()
    if response.is_success and not send.request.whole:
        first = next(pieces, b"")
        return Opened(response.headers, response, first, pieces)
    body: list[bytes] = []
    for piece in pieces:
        body.append(piece)
        # A transport that the caller gave may know nothing of the moment.
        if time.monotonic() > end_s:
            raise httpx2.ReadTimeout("The time for the whole answer is over.")
    response.close()
    return Answer(response.status_code, response.headers, b"".join(body))
