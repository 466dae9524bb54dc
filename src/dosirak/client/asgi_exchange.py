"""An application's side of `asgi`: what it receives and sends, inside its event loop.

Everything here runs in that loop; `asgi` calls it from other threads through a portal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import anyio
import httpx2

from dosirak.errors import DosirakError, ServiceError

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# What applications may rely on, as in the server that they run under elsewhere.
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def request_scope(request: httpx2.Request, state: dict[str, Any]) -> dict[str, Any]:
    """Describe a request as ASGI does; `state` is what the start hooks left."""
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 0),
        "server": (request.url.host, request.url.port or 80),
        "state": dict(state),
    }


class ApplicationExchange:
    """One request and the messages with which the application answers it."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._left = anyio.Event()
        self._error: Exception | None = None
        # No buffer: an application that sends faster than its caller reads has to wait.
        self._outgoing, self._incoming = anyio.create_memory_object_stream[Message](0)

    async def run(self, application: Application, scope: dict[str, Any]) -> None:
        """Call the application."""
        with self._outgoing:
            try:
                await application(scope, self.receive, self.send)
            except Exception as error:  # the caller is told, as the cause of a broken connection
                self._error = error
            except anyio.get_cancelled_exc_class():
                self._incoming.close()
                raise

    async def receive(self) -> Message:
        """Give the application the request, then nothing until the caller has left."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message from the application; into the void once the caller has left."""
        try:
            await self._outgoing.send(message)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            await anyio.lowlevel.checkpoint()  # an endless stream must not starve the loop

    async def next_message(self, kind: str, limit_s: float | None) -> Message:
        """Wait for the application's next message of a kind.

        Raises:
            httpx2.ReadTimeout: none came in time.
            httpx2.RemoteProtocolError: none will come.
        """
        try:
            with anyio.fail_after(limit_s):
                while True:
                    message = await self._incoming.receive()
                    if message["type"] == kind:
                        return message
        except TimeoutError as error:
            raise httpx2.ReadTimeout("The application did not answer in time.") from error
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            broken = httpx2.RemoteProtocolError("The application ended before its answer did.")
            raise broken from self._error

    def leave(self) -> None:
        """Tell the application that its caller has gone."""
        self._left.set()
        self._incoming.close()


class Lifespan:
    """The conversation that starts and stops an application.

    Attributes:
        failure: why it did not start or stop; None when it did.
        state: what the start hooks leave for requests.
    """

    def __init__(self, application: Application) -> None:
        self.failure: DosirakError | None = None
        self._application = application
        self._phase = "startup"
        self._asked = {"startup": anyio.Event(), "shutdown": anyio.Event()}
        self._answered = {"startup": anyio.Event(), "shutdown": anyio.Event()}
        self._pending = iter(("startup", "shutdown"))
        self._complained = False
        self.state: dict[str, Any] = {}

    async def run(self) -> None:
        """Call the application; one that knows no lifespan ends at once, which is no failure."""
        raised: Exception | None = None
        try:
            await self._application(
                {"type": "lifespan", "asgi": _ASGI, "state": self.state}, self._receive, self._send
            )
        except Exception as error:
            raised = error
        if self._complained:
            self._fail(raised)
        for answered in self._answered.values():
            answered.set()

    async def reach(self, phase: str) -> None:
        """Ask the application to start up, or to shut down, and wait until it has."""
        self._phase = phase
        self._asked[phase].set()
        await self._answered[phase].wait()

    async def _receive(self) -> Message:
        phase = None if self._complained else next(self._pending, None)
        if phase is None:
            raise RuntimeError("The lifespan is over.")
        await self._asked[phase].wait()
        return {"type": f"lifespan.{phase}"}

    async def _send(self, message: Message) -> None:
        if message["type"].endswith(".failed"):
            # The application raises the reason next; `run` waits for it.
            self._complained = True
        else:
            self._answered[self._phase].set()

    def _fail(self, raised: Exception | None) -> None:
        if isinstance(raised, DosirakError):
            self.failure = raised
            return
        verb = "start" if self._phase == "startup" else "stop"
        self.failure = ServiceError(
            f"The service did not {verb}.", remedy="See the cause, and the service's hooks."
        )
        self.failure.__cause__ = raised
