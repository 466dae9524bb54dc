"""The web applications that a service has mounted: found, started, called, stopped.

Each has a lifespan of its own, begun before the worker is ready and ended at its stop. A WSGI
application runs on threads of its own. An application that knows no lifespan needs none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, TypeAlias, cast

from dosirak.errors import DosirakError, NotFound, ServiceError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.mount_answers import WrongMessage
from dosirak.serving.mount_stream import AsgiEvent
from dosirak.spec.service_spec import MountSpec

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiEvent]]
Send: TypeAlias = Callable[[AsgiEvent], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_STOP_S = 10.0
# In a scope: set when nobody reads the answer of a WSGI application any more.
_LEFT = "dosirak.left"
_ENDED = "ended"

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.worker")


class MountedApps:
    """The applications of one instance of a service.

    Args:
        mounts: where they are, and how they are found.
    """

    def __init__(self, mounts: Sequence[MountSpec]) -> None:
        self._mounts = mounts
        self._lives: dict[str, _Life] = {}

    async def start(self, instance: Any) -> None:
        """Find the applications and begin their lifespans.

        Raises:
            ServiceError: one cannot be made or does not start; the author's fault.
        """
        for mount in self._mounts:
            app = await asyncio.to_thread(_found, mount, instance)
            life = _Life(mount.path, _wrapped(app) if mount.kind == "wsgi" else app)
            await life.begin()
            self._lives[mount.path] = life

    async def stop(self) -> None:
        """End the lifespans, the last begun first."""
        while self._lives:
            await self._lives.popitem()[1].end()

    async def serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application that is mounted at `path` answer (ASGI).

        Raises:
            NotFound: none is.
        """
        life = self._lives.get(path)
        if life is None:
            raise NotFound(f"Nothing is mounted at {path}.", remedy="Start the server again.")
        await life.app({**scope, "state": dict(life.state)}, receive, send)


def _found(mount: MountSpec, instance: Any) -> AsgiApp:
    try:
        app = mount.find(instance)
    except DosirakError:
        raise
    except Exception as error:
        raise ServiceError(
            f"Making the application at {mount.path!r} raised {type(error).__name__}: {error}.",
            remedy="Correct what makes it.",
        ) from error
    if not callable(app):
        raise ServiceError(
            f"What was made for {mount.path!r} is no application: {app!r}.",
            remedy="Return an ASGI application, or a WSGI one and say kind='wsgi'.",
        )
    return cast(AsgiApp, app)


def _wrapped(app: Any) -> AsgiApp:
    from a2wsgi import WSGIMiddleware

    middleware = cast(AsgiApp, WSGIMiddleware(_stoppable(app)))

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        left = threading.Event()
        wrong: list[WrongMessage] = []

        async def send_while_there(event: AsgiEvent) -> None:
            # What is raised here would leave the application's thread waiting for ever.
            try:
                if not left.is_set():
                    await send(event)
            except OSError:
                left.set()
            except WrongMessage as error:
                left.set()
                wrong.append(error)

        try:
            await middleware({**scope, _LEFT: left}, receive, send_while_there)
        finally:
            left.set()
        if wrong:
            raise wrong.pop()

    return call


def _stoppable(app: Any) -> Callable[..., Iterator[bytes]]:
    """Return a WSGI application whose answer ends when nobody is left to read it."""

    def call(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        left: threading.Event = environ["asgi.scope"][_LEFT]
        pieces = app(environ, start_response)
        try:
            for piece in pieces:
                yield piece
                if left.is_set():
                    return
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    return call


class _Life:
    """An application and its lifespan."""

    def __init__(self, path: str, app: AsgiApp) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self._path = path
        self._events: asyncio.Queue[AsgiEvent] = asyncio.Queue()
        self._said: asyncio.Queue[AsgiEvent] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._running = asyncio.create_task(self._run())
        said = await self._ask("lifespan.startup")
        if said["type"] == "lifespan.startup.failed":
            await asyncio.wait({self._running})
            raise ServiceError(
                f"The application at {self._path!r} did not start: {said.get('message') or '-'}.",
                remedy="Correct its lifespan.",
            )

    async def end(self) -> None:
        """Let the application clean up; what it raises is logged, and not in others' way."""
        running = self._running
        if running is None or running.done():
            return
        try:
            async with asyncio.timeout(_STOP_S):
                said = await self._ask("lifespan.shutdown")
                if said["type"] == "lifespan.shutdown.failed":
                    _log.error("Stopping the application at %s failed: %s.", self._path, said)
                await asyncio.wait({running})
        except TimeoutError:
            _log.error("The application at %s did not stop in time.", self._path)
            running.cancel()

    async def _ask(self, what: str) -> AsgiEvent:
        """Say what is wanted, and return what the application says, or that it has ended."""
        self._events.put_nowait({"type": what})
        return await self._said.get()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.app(scope, self._events.get, self._said.put)
        except Exception as error:
            # Raising is also how an application says that it knows no lifespan.
            _log.debug("The lifespan of %s ended.", self._path, exc_info=error)
        finally:
            await self._said.put({"type": _ENDED})
