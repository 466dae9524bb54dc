"""The front's view of one worker: its process, its channel, and the calls it has not answered.

A worker that ends, for whatever reason, fails every call it had with `WorkerGone`; the pool decides
what becomes of them. A worker that does not answer long after a deadline is killed: it may hold the
interpreter's lock, and then only another process can end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from dosirak.errors import DosirakError, ServiceError, WorkerLost, error_class
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.timings import CallTimings
from dosirak.payload.streams import error_piece
from dosirak.payload.wire import Body, StreamOutcome, WireRequest, WireResponse, WireStream
from dosirak.serving.asked import Asked, NoOtherServices, OtherServices
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.channel import Channel
from dosirak.serving.descriptors import is_lack
from dosirak.serving.identity import ServiceIdentity
from dosirak.serving.messages import (
    Answer,
    AnswerBatch,
    Call,
    CallBatch,
    Cancel,
    Chunk,
    Credit,
    Described,
    Dropped,
    Failed,
    Hung,
    Logged,
    Ready,
    Start,
    Stop,
    StreamBegan,
    StreamEnded,
    ToFront,
    Withdraw,
    to_front_decoder,
)
from dosirak.serving.mount_exchanges import MountExchanges
from dosirak.serving.mount_host import GRACE_S
from dosirak.serving.mount_messages import MountCredit, MountEnded, MountEvent
from dosirak.serving.mounted_apps import Receive, Scope, Send
from dosirak.serving.problems import problem_response
from dosirak.serving.shared_bodies import lend
from dosirak.serving.started_process import UNKNOWN_CODE, StartedProcess, StartFailed
from dosirak.serving.stream_pieces import Pieces, ReceivedPieces
from dosirak.serving.worker_start import WorkerStarter
from dosirak.spec.context import Context
from dosirak.store import Pin

# The worker answers at the deadline by itself; the front waits a little longer for that answer.
_DEADLINE_SLACK_S = 0.08
_MAX_BODY_BYTES = 2**32 - 1
_LAST_WORDS_S = 0.2
STOPPED = "stopped"

ValueT = TypeVar("ValueT")
_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


class WorkerGone(Exception):
    """The worker ended before it answered; `answered` when part of the answer had gone out."""


@dataclass(slots=True)
class _Pending:
    """A call that the worker has not finished with."""

    answer: asyncio.Future[WireResponse | WireStream]
    timings: CallTimings
    request_id: str = ""
    stream_type: str = ""
    chunks: Pieces = field(default_factory=asyncio.Queue)
    outcome: StreamOutcome = field(default_factory=StreamOutcome)


OnAnswers: TypeAlias = "Callable[[WorkerProcess, AnswerBatch, Body], None]"
OnLost: TypeAlias = "Callable[[WorkerProcess], None]"


class WorkerProcess:
    """One worker, from its spawn to its end; never reused.

    Args:
        start: what it is told first.
        on_answers: called with the answers to messages of calls.
        on_lost: called once when nothing more will come from it.
        on_logged: told how many entries of the inference log were written, and dropped.
        others: answers the calls that it makes of other services.
    """

    def __init__(
        self,
        start: Start,
        on_answers: OnAnswers,
        on_lost: OnLost,
        on_logged: Callable[[int, int], None] | None = None,
        others: OtherServices | None = None,
    ) -> None:
        self._on_logged = on_logged
        self._start = start
        self._on_answers = on_answers
        self._on_lost = on_lost
        self._ids: Iterator[int] = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._channel: Channel[ToFront] = Channel(
            to_front_decoder, self._receive, self._lose_worker, max_body_bytes=_MAX_BODY_BYTES
        )
        self._mounts = MountExchanges(self._channel.send)
        self._asked = Asked(others or NoOtherServices(), self._channel.send)
        loop = asyncio.get_running_loop()
        self._described: asyncio.Future[ServiceDescription] = loop.create_future()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[int] = loop.create_future()
        self._starting: asyncio.Future[StartedProcess] | None = None
        self._process: StartedProcess | None = None
        self._gone = False
        self.end_reason = ""
        self.was_lacking = False
        self.pins: tuple[Pin, ...] = ()
        self.identity = ServiceIdentity()
        self.lost_calls = 0
        self.ended_by_one_call = False

    @property
    def is_ready(self) -> bool:
        """Whether calls may be sent."""
        return self.was_ready and not self._gone and not self.end_reason

    @property
    def was_ready(self) -> bool:
        """Whether the worker ever became ready."""
        return self._ready.done() and not self._ready.cancelled() and not self._ready.exception()

    @property
    def outstanding(self) -> int:
        """Calls sent and not finished, and exchanges with mounted applications."""
        return len(self._pending) + len(self._mounts)

    @property
    def pid(self) -> int:
        """The process id, for the log."""
        return self._process.pid if self._process else 0

    async def spawn(self, starter: WorkerStarter, place: int = 0) -> None:
        """Start the process and tell it what to serve.

        Args:
            starter: how a process is come by.
            place: which of the workers this is.
        """
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._note_not_spawned(error)
            return
        try:
            with theirs:
                self._process = await self._start_process(starter, theirs, place)
        finally:
            if self._process is None:
                ours.close()
        if self._process is None:
            return
        self._channel.share(lend(ours))
        ours.setblocking(False)
        self._process.on_exit(self._process_ended)
        if self.end_reason:
            self._process.kill()  # It was to end before there was a process.
        await self._channel.open(ours)
        self._channel.send(self._start)

    async def _start_process(
        self, starter: WorkerStarter, end: socket.socket, place: int
    ) -> StartedProcess | None:
        self._starting = asyncio.ensure_future(starter.start(end, self._start, place))
        try:
            return await self._starting
        except OSError as error:
            self._note_not_spawned(error)
        except StartFailed as failed:
            self._process_ended(failed.code)
            self._lose_worker()
        except DosirakError as error:
            self._fail_start(error)
            self._exited.set_result(0)
            self._lose_worker()
        except asyncio.CancelledError:
            was_killed = bool(self.end_reason)
            self.end_reason = self.end_reason or STOPPED
            self._exited.set_result(0)
            self._lose_worker()
            if not was_killed:
                raise
        return None

    def _note_not_spawned(self, error: OSError) -> None:
        self.end_reason = "not spawned"
        self.was_lacking = is_lack(error)
        self._exited.set_result(0)
        self._lose_worker()
        _log.error("A worker could not be spawned: %s.", error)

    async def described(self) -> ServiceDescription:
        """Wait until the service was imported.

        Raises:
            DosirakError: it cannot be; the worker says why.
        """
        return await asyncio.shield(self._described)

    async def ready(self) -> None:
        """Wait until calls may be sent.

        Raises:
            DosirakError: the service cannot start; the worker says why.
        """
        await asyncio.shield(self._ready)

    async def exited(self) -> None:
        """Wait until the process has ended."""
        await asyncio.shield(self._exited)

    async def call(
        self,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
        *,
        allowed_s: float | None = None,
        decode_only: bool = False,
    ) -> WireResponse | WireStream:
        """Send one call and wait for its answer.

        Args:
            api: whose call it is.
            request: the request.
            context: what its handler may know of it.
            timings: where the time went is put there.
            allowed_s: what the api says that a call may take, whatever this caller allows.
            decode_only: only look at the request.

        Raises:
            WorkerGone: the worker ended first.
            TimeoutError: it did not answer by the context's deadline.
        """
        call_id = next(self._ids)
        sent_s = time.monotonic()
        answer = asyncio.get_running_loop().create_future()
        pending = _Pending(answer, timings, context.request_id)
        self._pending[call_id] = pending
        message = Call.of(call_id, api, request, context, decode_only=decode_only)
        self._channel.send(message, request.body)
        try:
            async with asyncio.timeout(_patience_s(context)):
                return await pending.answer
        except (asyncio.CancelledError, TimeoutError):
            self._abandon(call_id, sent_s + (allowed_s or self._start.timeout_s))
            raise

    async def serve_mount(
        self, mount: str, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        """Let a mounted application answer (see `MountExchanges.serve`)."""
        left = self._look_after_left
        await self._mounts.serve(mount, scope, receive, send, left, request_id)

    def leave_sockets(self) -> None:
        """Have every WebSocket closed."""
        self._mounts.leave_sockets()

    def send_batch(self, batch: CallBatch, bodies: Sequence[Body], body_bytes: int) -> bool:
        """Send a message of calls; `on_answers` is told of the answers (see `BatchWorker`)."""
        return self._channel.send_batch(batch, bodies, body_bytes)

    def withdraw(self, batch_id: int, index: int) -> None:
        """Say that nobody waits for one call of a message any more."""
        self._channel.send(Withdraw(batch_id, index))

    @property
    def streams(self) -> int:
        """Streams that have begun and not ended."""
        return sum(pending.answer.done() for pending in self._pending.values())

    def cut_off(self, error: DosirakError) -> None:
        """Answer every call that was sent alone with an error, and end streams with it."""
        for call_id, pending in list(self._pending.items()):
            self._channel.send(Cancel(call_id))
            if pending.answer.done():
                _break_stream(pending, error)
            else:
                _fail(pending.answer, error)

    async def stop(self, timeout_s: float) -> None:
        """Let the worker run its stop hooks; kill it if it has not ended in time."""
        self.end_reason = self.end_reason or STOPPED
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait({self._starting})
        if self._process is None:
            return
        self._channel.send(Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.exited()
                return
        _log.warning("Worker %d did not stop in %g s and was killed.", self.pid, timeout_s)
        self.kill(STOPPED)
        await self.exited()

    def kill(self, reason: str) -> None:
        """End the process now."""
        self.end_reason = self.end_reason or reason
        if self._process is not None:
            self._process.kill()
        elif self._starting is not None:
            self._starting.cancel()

    def on_end(self, told: Callable[[str], None]) -> None:
        """Tell why it ended, as soon as that is known."""
        self._exited.add_done_callback(lambda _exited: told(self.end_reason))

    def _process_ended(self, code: int) -> None:
        self.end_reason = self.end_reason or _describe_exit(code)
        self._exited.set_result(code)
        # What the worker wrote before its end is read first; a child of it that holds the socket
        # open, and reads nothing, must not keep callers waiting.
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._channel.abort)

    def _lose_worker(self) -> None:
        self._gone = True
        self._asked.close()
        if self._process is not None and self.end_reason != STOPPED:
            # It spoke nonsense, closed its end or is ending anyway: a worker that cannot be talked
            # to is of no use. How it ended is said by its exit code.
            self._process.kill()
        failure = ServiceError(
            "A worker ended while it started.", remedy="Look at its output in the log."
        )
        for future in (self._described, self._ready):
            _fail(future, failure)
        self.lost_calls = self.outstanding
        self._mounts.lose_worker()
        lost = WorkerLost(
            "The worker ended before the stream did.", remedy="Send the request again."
        )
        for pending in list(self._pending.values()):
            _fail(pending.answer, WorkerGone())
            _break_stream(pending, lost)
        self._pending.clear()
        self._on_lost(self)

    def _cancel(self, call_id: int) -> None:
        if call_id in self._pending:
            self._channel.send(Cancel(call_id))

    def _abandon(self, call_id: int, due_s: float) -> None:
        if call_id not in self._pending:
            return
        self._channel.send(Cancel(call_id))
        left_s = max(0.0, due_s - time.monotonic())
        asyncio.get_running_loop().call_later(
            left_s + self._start.hang_grace_s, self._kill_if_pending, call_id
        )

    def _look_after_left(self, exchange_id: int) -> None:
        wait_s = GRACE_S + self._start.timeout_s + self._start.hang_grace_s
        asyncio.get_running_loop().call_later(wait_s, self._kill_if_left, exchange_id)

    def _kill_if_left(self, exchange_id: int) -> None:
        if exchange_id in self._mounts:
            _log.error("An application in worker %d does not end; it is killed.", self.pid)
            self.kill("hung")

    def _kill_if_pending(self, call_id: int) -> None:
        if call_id in self._pending:
            _log.error("Worker %d does not react and is killed.", self.pid)
            self.kill("hung")

    def _receive(self, message: ToFront, body: Body) -> None:
        match message:
            case AnswerBatch():
                self._on_answers(self, message, body)
            case Answer():
                self._finish(message, body)
            case StreamBegan():
                self._begin_stream(message)
            case Chunk(call_id):
                if call_id in self._pending:
                    self._pending[call_id].chunks.put_nowait(bytes(body))
            case StreamEnded(call_id, broken, error_code):
                pending = self._pending.pop(call_id, None)
                if pending is not None:
                    if broken or error_code:
                        pending.outcome.error = error_of(error_code)("The stream ended early.")
                    pending.chunks.put_nowait(WorkerGone() if broken else None)
            case Dropped(call_id):
                self._pending.pop(call_id, None)
            case Call() | Cancel() | Credit():
                self._asked.receive(message, body)
            case MountEvent() | MountCredit() | MountEnded():
                self._mounts.receive(message, body)
            case _:
                self._receive_state(message)

    def _receive_state(self, message: ToFront) -> None:
        match message:
            case Described(service, pins, identity):
                self.pins = pins
                self.identity = identity
                _deliver(self._described, service)
            case Ready():
                _deliver(self._ready, None)
            case Failed(code, text, remedy):
                self._fail_start(error_of(code)(text, remedy=remedy))
            case Logged(written, dropped):
                if self._on_logged is not None:
                    self._on_logged(written, dropped)
            case Hung(api):
                _log.error("The api %s hangs in worker %d, which is killed.", api, self.pid)
                self.kill("hung")
            case _:
                pass

    def _fail_start(self, error: DosirakError) -> None:
        self.end_reason = "failed to start"
        for future in (self._described, self._ready):
            _fail(future, error)

    def _finish(self, message: Answer, body: Body) -> None:
        pending = self._pending.pop(message.call_id, None)
        if pending is not None:
            message.times.copy_to(pending.timings)
            _deliver(
                pending.answer,
                WireResponse(body, message.content_type, message.status, message.headers),
            )

    def _begin_stream(self, message: StreamBegan) -> None:
        pending = self._pending.get(message.call_id)
        if pending is not None:
            message.times.copy_to(pending.timings)
            pending.stream_type = message.content_type.partition(";")[0].strip()
            call_id = message.call_id
            chunks = ReceivedPieces(
                pending.chunks,
                took=lambda: self._channel.send(Credit(call_id)),
                left=lambda: self._cancel(call_id),
            )
            _deliver(
                pending.answer,
                WireStream(
                    chunks, message.content_type, message.status, message.headers, pending.outcome
                ),
            )


def _break_stream(pending: _Pending, error: DosirakError) -> None:
    """Say in a stream why it ends early, where its form has a word for it."""
    pending.outcome.error = error
    problem = problem_response(error, request_id=pending.request_id)
    said = error_piece(pending.stream_type, bytes(problem.body))
    if said is None:
        pending.chunks.put_nowait(WorkerGone())
    else:
        pending.chunks.put_nowait(said)
        pending.chunks.put_nowait(None)


def error_of(code: str) -> type[DosirakError]:
    """Return the error class with this code, `ServiceError` when there is none."""
    return error_class(code) or ServiceError


def _patience_s(context: Context) -> float | None:
    if context.deadline_s is None:
        return None
    return max(0.0, context.deadline_s - time.monotonic()) + _DEADLINE_SLACK_S


def _describe_exit(code: int) -> str:
    """Say how a process ended in few words: this is a label of a metric."""
    if code == UNKNOWN_CODE:
        return "unknown"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return "unknown signal"


def _deliver(future: asyncio.Future[ValueT], value: ValueT) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        # A start that fails is often awaited in one place only.
        future.exception()
