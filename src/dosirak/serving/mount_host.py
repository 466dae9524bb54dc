"""The worker's side of exchanges with mounted applications.

    MountOpen ─▶ a task that runs the application ─▶ MountEvent … ─▶ MountEnded

Its `receive` and `send` are an end of the exchange on the channel. When nobody is left to answer
the application is told so, as ASGI says, and ended when it does not come to its end.
"""

from __future__ import annotations

import asyncio
import logging

from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import Body
from dosirak.serving.mount_answers import MountAnswer, WrongMessage
from dosirak.serving.mount_messages import (
    MountCredit,
    MountEnded,
    MountEvent,
    MountLeft,
    MountOpen,
    MountScope,
)
from dosirak.serving.mount_stream import AsgiEvent, MountStream, SendFrame, StreamLost
from dosirak.serving.mounted_apps import MountedApps, Scope

# How long an application may go on when nobody is left to answer.
GRACE_S = 5.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.worker")


class MountHost:
    """Runs the exchanges of one worker.

    Args:
        apps: the applications.
        send: writes a frame to the front.
    """

    def __init__(self, apps: MountedApps, send: SendFrame) -> None:
        self._apps = apps
        self._send = send
        self._streams: dict[int, MountStream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def receive(
        self, message: MountOpen | MountEvent | MountCredit | MountLeft, body: Body
    ) -> None:
        """Take what the front says; of an exchange that has ended nothing is kept."""
        match message:
            case MountOpen(exchange_id):
                stream = self._streams[exchange_id] = MountStream(exchange_id, self._send)
                task = asyncio.create_task(self._run(message, stream))
                self._tasks[exchange_id] = task
                task.add_done_callback(lambda done: self._end(message, done))
            case MountEvent(exchange_id):
                if exchange_id in self._streams:
                    self._streams[exchange_id].arrived(message, body)
            case MountCredit(exchange_id, size_bytes):
                if exchange_id in self._streams:
                    self._streams[exchange_id].credited(size_bytes)
            case MountLeft():
                self._leave(message)

    def _leave(self, message: MountLeft) -> None:
        stream = self._streams.get(message.exchange_id)
        task = self._tasks.get(message.exchange_id)
        if stream is None or task is None:
            return
        stream.lose()
        if not message.complete:
            asyncio.get_running_loop().call_later(GRACE_S, task.cancel)

    async def _run(self, message: MountOpen, stream: MountStream) -> None:
        gone = _gone(message.scope)

        async def receive() -> AsgiEvent:
            try:
                return await stream.take() or gone
            except StreamLost:
                return gone

        is_socket = message.scope.type == "websocket"
        answer = MountAnswer(is_socket=is_socket)

        async def send(event: AsgiEvent) -> None:
            if stream.is_lost:
                raise StreamLost
            await stream.put(answer.checked(event))

        try:
            await self._apps.serve(message.mount, _asgi_scope(message.scope), receive, send)
        except (SystemExit, KeyboardInterrupt) as error:
            # An application that exits ends its answer, and not the worker with all others.
            raise RuntimeError(f"It raised {type(error).__name__}.") from error
        if not (is_socket or answer.is_complete or stream.is_lost):
            raise WrongMessage("It returned before its answer was complete.")

    def _end(self, message: MountOpen, done: asyncio.Task[None]) -> None:
        stream = self._streams.pop(message.exchange_id)
        self._tasks.pop(message.exchange_id, None)
        error = None if done.cancelled() else done.exception()
        # To an application whose client has gone, sending raises: that is an end like any other.
        failed = error is not None and not stream.is_lost
        if failed:
            _log.error(
                "The application at %s raised %s [request %s].",
                message.mount,
                type(error).__name__,
                message.request_id,
                exc_info=error,
                extra={"request_id": message.request_id},
            )
        self._send(MountEnded(message.exchange_id, failed), b"")


def _gone(scope: MountScope) -> AsgiEvent:
    if scope.type == "http":
        return {"type": "http.disconnect"}
    return {"type": "websocket.disconnect", "code": 1001, "reason": ""}


def _asgi_scope(scope: MountScope) -> Scope:
    made: Scope = {
        "type": scope.type,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": scope.http_version,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": scope.raw_path,
        "query_string": scope.query_string,
        "root_path": scope.root_path,
        "headers": list(scope.headers),
        "client": scope.client,
        "server": scope.server,
    }
    if scope.type == "http":
        made["method"] = scope.method
    else:
        made["subprotocols"] = list(scope.subprotocols)
        made["extensions"] = {"websocket.http.response": {}}
    return made
