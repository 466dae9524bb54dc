"""A service in this process, called without a socket: for unit tests of services.

`ASGITransport` gives the synchronous client an ASGI application in place of a network. The
application lives in an event loop on a thread of its own, from its start hooks (on first use, or on
entering the client) to its stop hooks (on closing it), as it would in a server:

    test ── SyncHTTPClient ── ASGITransport ──▶ portal ──▶ event loop: application
                                     ◀── one message at a time, so that streams really stream ──

The transport closes itself when it is dropped or at exit, and its thread is a daemon: a test that
forgets to close leaves nothing behind.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeAlias

import anyio
import httpx2
from anyio.from_thread import BlockingPortal

from dosirak.client.asgi_exchange import (
    Application,
    ApplicationExchange,
    Lifespan,
    Message,
    request_scope,
)
from dosirak.client.deadline import left_s
from dosirak.client.session import closed_client
from dosirak.client.sync_client import SyncHTTPClient

_URL = "http://testserver"
# What a started application gives: the way into its event loop, and what its start hooks left.
_Begun: TypeAlias = "Future[tuple[BlockingPortal, dict[str, Any]]]"


def test_client(application: Application) -> SyncHTTPClient:
    """Return a client of an ASGI application that runs in this process.

    As a context manager it starts the application on entry and stops it on exit.

    Args:
        application: the ASGI 3 application.
    """
    return SyncHTTPClient(_URL, transport=ASGITransport(application))


# pytest takes every `test_…` that a test module imports for a test, unless it is told.
test_client.__dict__["__test__"] = False


class ASGITransport(httpx2.BaseTransport):
    """Runs an ASGI application in an event loop of its own.

    Args:
        application: the ASGI 3 application.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._starting = Lock()
        self._running: _Running | None = None
        self._closed = False

    def __enter__(self) -> ASGITransport:
        self._started()
        return self

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request through the application.

        Raises:
            httpx2.TransportError: it ended, or the time was over, before it had answered.
            DosirakError: it could not be started.
        """
        running = self._started()
        portal = running.portal
        exchange = portal.call(ApplicationExchange, request.read())
        portal.start_task_soon(
            exchange.run, self._application, request_scope(request, running.state)
        )
        body = _Body(portal, exchange, request.extensions.get("timeout", {}).get("read"))
        try:
            start = body.next_message("http.response.start")
        except BaseException:
            body.close()
            raise
        return httpx2.Response(start["status"], headers=list(start.get("headers", ())), stream=body)

    def close(self) -> None:
        """Stop the application: what still runs is cancelled, then its stop hooks run.

        Raises:
            DosirakError: they failed (the author's fault).
        """
        with self._starting:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            running.stop()

    def _started(self) -> _Running:
        with self._starting:
            if self._closed:
                raise closed_client(_URL)
            if self._running is None:
                self._running = _Running(self._application)
                weakref.finalize(self, self._running.stop)
            return self._running


class _Body(httpx2.SyncByteStream):
    """The body of one response, taken from the application message by message."""

    def __init__(
        self, portal: BlockingPortal, exchange: ApplicationExchange, limit_s: float | None
    ) -> None:
        self._portal = portal
        self._exchange = exchange
        self._limit_s = limit_s

    def next_message(self, kind: str) -> Message:
        try:
            return self._portal.call(self._exchange.next_message, kind, left_s(self._limit_s))
        except (RuntimeError, CancelledError) as error:
            raise httpx2.RemoteProtocolError("The application was stopped.") from error

    def __iter__(self) -> Iterator[bytes]:
        more = True
        while more:
            message = self.next_message("http.response.body")
            yield bytes(message.get("body", b""))
            more = message.get("more_body", False)

    def close(self) -> None:
        # Once the application was stopped there is nobody left to tell.
        with suppress(RuntimeError, CancelledError):
            self._portal.call(self._exchange.leave)


class _Running:
    """The thread with the event loop, from the start hooks to the stop hooks."""

    def __init__(self, application: Application) -> None:
        begun: _Begun = Future()
        self._ended: Future[None] = Future()
        self._thread = Thread(
            target=_main,
            args=(application, begun, self._ended),
            name="dosirak-test-client",
            daemon=True,
        )
        self._thread.start()
        self.portal, self.state = begun.result()

    def stop(self) -> None:
        """End the application; once is enough."""
        if not self._ended.done():
            self.portal.start_task_soon(self.portal.stop, True)
            self._thread.join()
            self._ended.result()


def _main(
    application: Application,
    begun: _Begun,
    ended: Future[None],
) -> None:
    try:
        anyio.run(_live, application, begun)
    except BaseException as error:  # whoever waits for the start, or for the end, is told
        ended.set_exception(error)
        if not begun.done():
            begun.set_exception(error)
    else:
        ended.set_result(None)


async def _live(application: Application, begun: _Begun) -> None:
    lifespan = Lifespan(application)
    # Nothing may be raised inside the group: it would come out wrapped in an exception group.
    async with anyio.create_task_group() as group:
        group.start_soon(lifespan.run)
        await lifespan.reach("startup")
        if lifespan.failure is None:
            async with BlockingPortal() as portal:
                begun.set_result((portal, lifespan.state))
                await portal.sleep_until_stopped()
            await lifespan.reach("shutdown")
        group.cancel_scope.cancel()
    if lifespan.failure is not None:
        raise lifespan.failure
