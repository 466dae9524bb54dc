"""The process that owns the models and runs user code: `python -m dosirak.serving.worker FD`.

    (imported) ─▶ Start ─▶ Described ─▶ load, hooks, taste ─▶ Ready ─▶ calls … ─▶ Stop

It is an `importer` first, and then the worker itself or the parent of workers. A worker has one
connection to its front and ends when that closes: a front that dies leaves none behind. Interrupts
from a terminal are the front's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec
import uvloop

from dosirak.errors import DosirakError, ServiceError
from dosirak.observe.inference_log import InferenceLog, InferenceLogPlan
from dosirak.observe.logs import ROOT_LOGGER, configure_logging
from dosirak.observe.opentelemetry import Propagation, open_propagation
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import Body, WireResponse, WireStream
from dosirak.serving.asking import Asking
from dosirak.serving.batch_run import BatchedCall, BatchRun
from dosirak.serving.batch_wire import answers_of, calls_of
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.channel import Channel
from dosirak.serving.composition import chosen_service, compose, without_mounts
from dosirak.serving.dataplane import Dataplane, LoadableModel
from dosirak.serving.garbage_collection import settle
from dosirak.serving.importer import (
    Duty,
    ImportedService,
    Importer,
    await_order,
    import_service,
)
from dosirak.serving.inference_recorder import InferenceRecorder
from dosirak.serving.messages import (
    Answer,
    BrokenFrame,
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
    Times,
    ToWorker,
    Withdraw,
    to_worker_decoder,
)
from dosirak.serving.mount_host import MountHost
from dosirak.serving.mount_messages import MountCredit, MountEvent, MountLeft, MountOpen
from dosirak.serving.shared_bodies import SharedBodies, borrow
from dosirak.serving.stream_pieces import StreamSender
from dosirak.spec.service_spec import ServiceSpec

# A request's size was already limited by the front; this only stops nonsense in a length.
_MAX_BODY_BYTES = 2**32 - 1
_PR_SET_PDEATHSIG = 1
# User code may leave cycles that hold large arrays: those must not wait for long.
_YOUNG_OBJECTS = 5_000
_YOUNG_WHILE_IMPORTING = 50_000

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.worker")


class Worker:
    """One dataplane behind one channel.

    Args:
        imported: the service, or why there is none, which the front is told.
    """

    def __init__(self, imported: ImportedService | Exception) -> None:
        self._imported = imported
        self._channel: Channel[ToWorker] = Channel(
            to_worker_decoder, self._receive, self._lose_front, max_body_bytes=_MAX_BODY_BYTES
        )
        self._started: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._front_lost = asyncio.Event()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._streams = StreamSender(self._channel.send)
        self._runs: dict[int, BatchRun] = {}
        self._asking = Asking(self._channel.send)
        self._dataplane: Dataplane | None = None
        self._mounts: MountHost | None = None
        self._propagation: Propagation | None = None
        self._recorder: InferenceRecorder | None = None

    async def run(self, end: socket.socket, lent: SharedBodies | None) -> int:
        """Serve until the front says stop; return the exit code."""
        self._channel.share(lent)
        await self._channel.open(end)
        start = await self._started
        configure_logging(start.log_style)
        try:
            self._dataplane = await self._prepare(start)
        except Exception as error:
            self._channel.send(_failure(error))
            return await self._leave(1)
        self._channel.send(Ready())
        await self._stopping.wait()
        await self._stop_dataplane(self._dataplane)
        return await self._leave(0)

    async def _stop_dataplane(self, dataplane: Dataplane) -> None:
        try:
            await dataplane.stop()
        except DosirakError as error:
            _log.error("%s", error, exc_info=error)

    async def _prepare(self, start: Start) -> Dataplane:
        if isinstance(self._imported, Exception):
            raise self._imported
        opened, identity = self._imported.opened, self._imported.identity
        if start.revision and identity.revision != start.revision:
            _log.warning("The service's files have changed since %s began.", start.revision)
        spec, models = chosen_service(self._imported.spec, opened.models, start.service)
        if start.service:
            spec = without_mounts(spec)
        pins = self._imported.store.pins
        self._channel.send(Described(ServiceDescription.of(spec), pins, identity))
        # After the import: a provider of the author's own comes first.
        self._propagation = open_propagation(spec.name, os.environ)
        self._recorder = self._open_recorder(start.inference_log, spec.name)
        dataplane = self._make_dataplane(spec, models, start)
        await dataplane.start()
        self._mounts = MountHost(dataplane.mounted, self._channel.send)
        settle(_YOUNG_OBJECTS)
        return dataplane

    def _make_dataplane(
        self, spec: ServiceSpec, models: Mapping[str, LoadableModel], start: Start
    ) -> Dataplane:
        return compose(
            spec,
            models,
            asking=self._asking,
            on_hang=lambda api: self._channel.send(Hung(api)),
            hang_grace_s=start.hang_grace_s,
            timeout_s=start.timeout_s,
            propagation=self._propagation,
        )

    def _open_recorder(
        self, plan: InferenceLogPlan | None, service: str
    ) -> InferenceRecorder | None:
        if plan is None:
            return None
        loop = asyncio.get_running_loop()

        def tell(written: int, dropped: int) -> None:
            # From the log's thread; it may be writing its last when the loop has ended.
            if written or dropped:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._channel.send, Logged(written, dropped))

        return InferenceRecorder(InferenceLog(plan, service, tell))

    async def _leave(self, exit_code: int) -> int:
        self._stopping.set()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.log.close)
        self._channel.close()
        await self._front_lost.wait()
        if self._propagation is not None:
            self._propagation.close()
        return exit_code

    def _lose_front(self) -> None:
        self._front_lost.set()
        self._asking.lose_front()
        # Nobody is left to answer. Stop hooks are for an orderly end; this is not one.
        if not self._stopping.is_set():
            os._exit(0)

    def _receive(self, message: ToWorker, body: Body) -> None:
        match message:
            case CallBatch():
                self._begin_batch(message, body)
            case Withdraw(batch_id, index):
                if batch_id in self._runs:
                    self._runs[batch_id].withdraw(index)
            case Call():
                task = asyncio.create_task(self._answer(message, body))
                self._calls[message.call_id] = task
                task.add_done_callback(lambda done: self._let_go(message.call_id, done))
            case Cancel(call_id):
                if call_id in self._calls:
                    self._calls[call_id].cancel()
            case Credit(call_id):
                self._streams.credit(call_id)
            case Answer() | StreamBegan() | Chunk() | StreamEnded():
                self._asking.receive(message, body)
            case MountOpen() | MountEvent() | MountCredit() | MountLeft():
                if self._mounts is not None:
                    self._mounts.receive(message, body)
            case _:
                self._receive_order(message)

    def _receive_order(self, message: ToWorker) -> None:
        match message:
            case Start():
                self._started.set_result(message)
            case Stop():
                self._stopping.set()
            case _:
                pass

    def _let_go(self, call_id: int, done: asyncio.Task[None]) -> None:
        self._calls.pop(call_id, None)
        # Said here and not by the task: one that is cancelled before its first step never runs,
        # and the front would take this worker for one that hangs.
        if done.cancelled():
            self._channel.send(Dropped(call_id))

    def _begin_batch(self, batch: CallBatch, body: Body) -> None:
        assert self._dataplane is not None  # noqa: S101 - the front sends calls after Ready

        arrived_s = time.monotonic()

        def send(run: BatchRun, answered: Sequence[BatchedCall], *, done: bool) -> None:
            if done:
                self._runs.pop(batch.batch_id, None)
            message, bodies, body_bytes = answers_of(batch.batch_id, run, answered, done=done)
            if not self._channel.send_batch(message, bodies, body_bytes):
                # Headers without end, of the author's making: a worker that cannot answer is none.
                _log.error("The headers of answers of %s are too large.", batch.api)
                self._channel.abort()
            if self._recorder is not None:
                self._recorder.take_batch(batch.api, answered, arrived_s)

        calls = calls_of(batch, body, self._dataplane.state)
        self._runs[batch.batch_id] = self._dataplane.run(batch.api, calls, send)

    async def _answer(self, call: Call, body: Body) -> None:
        if self._propagation is not None:
            # For the rest of this task, which is this call's own: async user code runs in it.
            self._propagation.attach(call.headers)
        timings = CallTimings()
        arrived_s = time.monotonic()
        answer = await self._call_dataplane(call, body, timings)
        if not isinstance(answer, WireResponse):
            await self._send_stream(call.call_id, answer, timings)
            self._record(call, body, answer, arrived_s)
            return
        self._channel.send(
            Answer(
                call.call_id,
                answer.status,
                answer.content_type,
                answer.headers,
                Times.of(timings),
            ),
            answer.body,
        )
        self._record(call, body, answer, arrived_s)

    def _record(
        self, call: Call, body: Body, answer: WireResponse | WireStream, arrived_s: float
    ) -> None:
        if self._recorder is not None and not call.decode_only:
            self._recorder.take(call, body, answer, arrived_s)

    async def _call_dataplane(
        self, call: Call, body: Body, timings: CallTimings
    ) -> WireResponse | WireStream:
        assert self._dataplane is not None  # noqa: S101 - the front sends calls after Ready
        request, context = call.request(body), call.context()
        if call.decode_only:
            wrong = await self._dataplane.check(call.api, request, context)
            return wrong or WireResponse(b"", "text/plain", status=204)
        return await self._dataplane.call(call.api, request, context, timings)

    async def _send_stream(self, call_id: int, stream: WireStream, timings: CallTimings) -> None:
        self._channel.send(
            StreamBegan(
                call_id,
                stream.status,
                stream.content_type,
                stream.headers,
                Times.of(timings),
            )
        )
        await self._streams.run(call_id, stream)


def _failure(error: Exception) -> Failed:
    if isinstance(error, DosirakError):
        if isinstance(error, ServiceError) and error.__cause__ is not None:
            # The author's constructor or hook raised; every other error says enough by itself.
            _log.error("%s", error.message, exc_info=error.__cause__)
        return Failed(error.code, error.message, error.remedy)
    _log.error("Starting failed.", exc_info=error)
    return Failed(
        ServiceError.code,
        f"Starting the service raised {type(error).__name__}: {error}.",
        "Correct what the traceback in the log shows.",
    )


def die_with_parent() -> None:
    """Ask the kernel to end this process with the front, even while user code hangs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Import what the front says on the inherited socket whose descriptor is the one argument.

    Returns in every process that was a worker, and in the one that only imported.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()

    line = socket.socket(fileno=int(arguments[0]))
    line.set_inheritable(False)
    try:
        start = await_order(line)
        if start is None:
            return 0
        configure_logging(start.log_style)
        imported = _imported(start)
        duty = Importer(line).run(imported)
    except (ConnectionError, msgspec.DecodeError):
        return 0  # The front is gone, or this is not it.
    return 0 if duty is None else uvloop.run(_serve(imported, duty))


def _imported(start: Start) -> ImportedService | Exception:
    # What an import makes stays: there is little to collect, and looking for it takes long.
    gc.set_threshold(_YOUNG_WHILE_IMPORTING, *gc.get_threshold()[1:])
    try:
        return import_service(start)
    except Exception as error:
        return error


async def _serve(imported: ImportedService | Exception, duty: Duty) -> int:
    try:
        lent = borrow(duty.end)
    except BrokenFrame:
        return 0  # This is not the front.
    return await Worker(imported).run(duty.end, lent)


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    # Threads of user code that never end must not keep the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
