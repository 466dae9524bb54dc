"""The asynchronous client: performs what the conversations ask for, and looks like the service.

The twin of `sync_client`. What differs is attribute access: it cannot wait for the schema, so until
the client is connected a method is a `PendingMethod`, which connects when its call is awaited.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
)
from contextlib import aclosing
from copy import copy
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

from dosirak.client.exchange import (
    Conversation,
    Opened,
    ResultT,
)
from dosirak.client.methods import dressed, find_api, method_names, missing_attribute, submitter
from dosirak.client.performing import AsyncPerformer
from dosirak.client.request import PreparedRequest
from dosirak.client.schema import RemoteApi, RemoteService
from dosirak.client.session import Session, patience_s
from dosirak.client.stream import reading_stream
from dosirak.client.task import AsyncTask, submit
from dosirak.errors import UsageError


class AsyncHTTPClient:
    """A service, called like a local asynchronous object.

        async with AsyncHTTPClient("http://127.0.0.1:3000") as client:
            await client.predict(flowers=frame)
            async for token in client.generate(prompt="…"):
                ...

    The arguments and the rules are those of `SyncHTTPClient`. It belongs to the event loop in which
    it is first used.

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
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._session = Session.open(
            url,
            token=token,
            timeout_s=timeout_s,
            ready_timeout_s=ready_timeout_s,
            retries=retries,
            headers=headers,
        )
        self._http = httpx2.AsyncClient(transport=transport, follow_redirects=False)
        self._performer = AsyncPerformer(self._http, self.url)
        self._connecting = anyio.Lock()
        self._service: RemoteService | None = None
        self._methods: dict[str, Callable[..., Any]] = {}

    @property
    def url(self) -> str:
        """The service's address, without credentials."""
        return self._session.address.base

    @property
    def service(self) -> RemoteService:
        """The service as it describes itself.

        Raises:
            UsageError: the client is not connected yet (the caller's fault).
        """
        if self._service is None:
            raise UsageError("The client is not connected yet.", remedy="Await connect() first.")
        return self._service

    @property
    def apis(self) -> Mapping[str, RemoteApi]:
        """The service's apis by name (see `service`)."""
        return self.service.apis

    async def connect(self) -> Self:
        """Read the service's schema now rather than on first use; once is enough.

        Raises:
            Unavailable: nothing answers, or the service did not become ready in time.
            RemoteError: what answers is no dosirak service.
        """
        async with self._connecting:
            if self._service is None:
                self._service = await self._learn()
        return self

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> PendingCall:
        """Call the api of this name: await it, or iterate over it where it streams.

        Raises:
            ApiNotFound: the service has no such api.
            InvalidInput: the arguments do not fit it.
            DosirakError: the service's error, or what prevented an answer.
        """

        async def find() -> Callable[..., Any]:
            await self.connect()
            api = find_api(self.service, name)
            return self._method(api, name)

        return PendingCall(find, args, kwargs)

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

    async def is_ready(self) -> bool:
        """Ask once whether the service can answer now."""
        return await self._run(self._session.is_ready())

    async def wait_until_ready(self, timeout_s: float | None = 30.0) -> None:
        """Wait for the service; None waits as long as it takes.

        Raises:
            Unavailable: it was not ready in time.
        """
        await self._run(self._session.wait_until_ready(patience_s(timeout_s, "timeout_s")))

    async def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        await self._http.aclose()

    async def _learn(self) -> RemoteService:
        service = await self._run(self._session.connect())
        self._methods = self._methods_of(service)
        return service

    def _methods_of(self, service: RemoteService) -> dict[str, Callable[..., Any]]:
        names = method_names(service.apis).items()
        return {method: self._method(service.apis[name], method) for method, name in names}

    def _method(self, api: RemoteApi, name: str) -> Callable[..., Any]:
        if api.streams:

            def stream(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
                return self._items(api, self._session.request_to(api, args, kwargs))

            return dressed(stream, api, name)

        async def method(*args: Any, **kwargs: Any) -> Any:
            return await self._call(api, args, kwargs)

        async def submit_task(*args: Any, **kwargs: Any) -> AsyncTask:
            return await self._submit(api, args, kwargs)

        if api.kind == "task":
            method.__dict__["submit"] = dressed(submit_task, api, "submit")
        return dressed(method, api, name)

    async def _call(self, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if api.kind == "task":
            return await (await self._submit(api, args, kwargs)).get()
        return await self._run(self._session.call(api, self._session.request_to(api, args, kwargs)))

    async def _submit(
        self, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> AsyncTask:
        return AsyncTask(await self._run(submit(self._session, api, args, kwargs)), self._run)

    async def _items(self, api: RemoteApi, request: PreparedRequest) -> AsyncGenerator[Any, None]:
        opened = await self._run(self._session.open_stream(request))
        # Dropping this generator ends it here, which closes the connection.
        async with aclosing(opened.response):
            with reading_stream(request.url, self._session.timeout_s):
                items = api.codec.decode_async_stream(opened.content_type, _all(opened))
                async for item in items:
                    yield item

    async def _run(self, conversation: Conversation[ResultT]) -> ResultT:
        return await self._performer.run(conversation)

    def __getattr__(self, name: str) -> Any:
        # Names with an underscore are asked for by Python itself (copying, displays, …).
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if self._service is None:
            return PendingMethod(self, name)
        method = self._methods.get(name)
        if method is None:
            message = missing_attribute(self._service, type(self).__name__, name)
            raise AttributeError(message, name=name, obj=self)
        return method

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._methods})

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"AsyncHTTPClient({self.url!r})"


class PendingMethod:
    """A method of a client that is not connected yet."""

    def __init__(self, client: AsyncHTTPClient, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> PendingCall:
        """Call the api once the client is connected."""
        return PendingCall(self._find, args, kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> PendingCall:
        """Submit a task (see `AsyncTask`)."""

        async def find() -> Callable[..., Any]:
            return submitter(await self._find(), self._name)

        return PendingCall(find, args, kwargs)

    async def _find(self) -> Callable[..., Any]:
        await self._client.connect()
        return getattr(self._client, self._name)


class PendingCall(Coroutine[Any, Any, Any]):
    """A call that finds its method when it is awaited, or iterated over where the api streams."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Callable[..., Any]]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._find = find
        self._args = args
        self._kwargs = kwargs
        self._begun: Coroutine[Any, Any, Any] | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine().__await__()

    def send(self, value: Any) -> Any:
        """Go on (part of being a coroutine, which `asyncio.create_task` asks for)."""
        return self._coroutine().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise inside (part of being a coroutine)."""
        return self._coroutine().throw(*error)

    def close(self) -> None:
        """End early (part of being a coroutine)."""
        if self._begun is not None:
            self._begun.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        items = await self._result(awaited=False)
        if isinstance(items, Coroutine):
            items.close()
            raise UsageError("The api does not stream.", remedy="Await the call instead.")
        async with aclosing(items):
            async for item in items:
                yield item

    def _coroutine(self) -> Coroutine[Any, Any, Any]:
        if self._begun is None:
            self._begun = self._result(awaited=True)
        return self._begun

    async def _result(self, *, awaited: bool) -> Any:
        method = await self._find()
        result = method(*self._args, **self._kwargs)
        if isinstance(result, Coroutine) and awaited:
            return await result
        return result


async def _all(opened: Opened) -> AsyncIterator[bytes]:
    yield opened.first
    async for piece in opened.pieces:
        yield piece
