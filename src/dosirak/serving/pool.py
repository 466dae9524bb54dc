"""The calls of one revision: choose a worker for each, and send again what a worker lost.

Calls of sync handlers go through the dispatcher, which puts them into messages. A call of an async
handler or a stream travels alone: it goes to the ready worker with the fewest unanswered ones. When
its worker ends first, an idempotent call is sent once more, to another if there is one; any other
call is answered that its worker was lost. Callers wait for a worker that is coming back, as long as
their deadline allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping

import msgspec

from dosirak.errors import (
    Unavailable,
    WorkerLost,
)
from dosirak.observe.health import Health, judge_health
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving.calls import ApiDescription, ServiceDescription, api_not_found
from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.dependency_pools import DependencyPools
from dosirak.serving.dispatcher import Dispatcher, DispatchReport, too_many
from dosirak.serving.identity import ServiceIdentity
from dosirak.serving.lateness import not_in_time
from dosirak.serving.machine import this_machine
from dosirak.serving.memory_limit import MemoryLimit
from dosirak.serving.messages import AnswerBatch, Start
from dosirak.serving.mount_exchanges import AppFailed, app_failed
from dosirak.serving.mount_stream import AsgiEvent, StreamLost
from dosirak.serving.mounted_apps import Receive, Scope, Send
from dosirak.serving.pending import AwaitedCall, PendingCall
from dosirak.serving.quarantine import Quarantine, input_of
from dosirak.serving.worker_process import STOPPED, WorkerGone, WorkerProcess
from dosirak.serving.worker_set import MEMORY, Slot, WorkerEvents, WorkerSet
from dosirak.serving.worker_start import WorkerStarter
from dosirak.spec.context import Context

MOST_OUTSTANDING = 1024
_OUR_REASONS = (STOPPED, MEMORY)
# How long a task's submission waits for somebody to look at its request.
_CHECK_PATIENCE_S = 2.0


class Pool:
    """Answers calls with a number of worker processes.

    Args:
        start: what each worker is told.
        workers: how many; what the author asked for when None.
        max_outstanding: calls accepted and not answered; more are refused.
        memory: how much each worker may hold; no limit when None.
        drain_timeout_s: how long a worker that is replaced may take to finish what it has.
        quarantine: knows the inputs that end workers.
        others: the pools of the services below; its own when None.
        starter: how workers' processes are come by; in the usual way when None.
    """

    def __init__(
        self,
        start: Start,
        *,
        workers: int | None = None,
        max_outstanding: int = MOST_OUTSTANDING,
        memory: MemoryLimit | None = None,
        drain_timeout_s: float = 30.0,
        quarantine: Quarantine | None = None,
        others: DependencyPools | None = None,
        starter: WorkerStarter | None = None,
    ) -> None:
        self._starter = starter or WorkerStarter(this_machine(), workers=workers)
        # The pool of a dependency asks the same pools as that of the served service, whose they
        # are.
        self._below = DependencyPools(self._make_dependency) if others is None else None
        self._others = others or self._below
        self._memory = memory
        self._drain_timeout_s = drain_timeout_s
        self._own_workers: Mapping[str, int] = {}
        self._quarantine = quarantine or Quarantine(after=0, ttl_s=0.0)
        self._max_outstanding = max_outstanding
        self._apis: dict[str, ApiDescription] = {}
        self._any_ready = asyncio.Event()
        self._threads = 1
        self._outstanding = 0
        self._checks: set[asyncio.Task[WireResponse | WireStream]] = set()
        self._dispatched = 0
        self._stopping = False
        self._stopped = False
        self._hopeless = False
        self._metrics: ServingMetrics | None = None
        self._dispatcher = Dispatcher(
            DispatchReport(self._note_retry, self._note_batch),
            hang_grace_s=start.hang_grace_s,
            timeout_s=start.timeout_s,
            quarantine=self._quarantine,
            shared_cpu=self._starter.has_one_cpu,
        )
        self._set = WorkerSet(
            start,
            workers=workers,
            events=WorkerEvents(
                make=self._make_worker,
                ready=self._admit,
                retired=self._retire,
                suspended=self._dispatcher.suspend_worker,
                resumed=self._dispatcher.resume_worker,
                busy=self._is_busy,
                ended=self._note_end,
                changed=self._note_readiness,
            ),
            memory=memory,
            drain_timeout_s=drain_timeout_s,
            starter=self._starter,
        )
        self._on_batch: Callable[[ApiDescription, list[PendingCall], AnswerBatch], None] = _ignore

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return tuple(slot.worker.pid for slot in self._set.slots)

    @property
    def identity(self) -> ServiceIdentity:
        """What the first worker found behind the target."""
        return self._set.identity

    @property
    def outstanding(self) -> int:
        """Calls accepted and not answered; a stream's and a mount's until it has begun."""
        return self._outstanding + self._dispatcher.outstanding

    @property
    def is_busy(self) -> bool:
        """Whether any call is not answered to its end."""
        return self.outstanding > 0 or any(map(self._is_busy, self._set.workers))

    async def start(self) -> ServiceDescription:
        """Start the workers; return when every one is ready.

        Raises:
            DosirakError: one cannot start; the others have been ended.
        """
        description = await self.begin()
        await self.complete()
        return description

    async def begin(self) -> ServiceDescription:
        """Start the first worker; return when it has imported the service.

        Raises:
            DosirakError: it cannot; it has been ended.
        """
        try:
            description = await self._set.begin()
        except BaseException:
            await self.stop(timeout_s=1.0)
            raise
        self._describe(description)
        return description

    async def complete(self) -> None:
        """Start the others; return when every one is ready.

        Raises:
            DosirakError: one cannot start; all have been ended.
        """
        try:
            if self._below is None:
                await self._set.complete()
            else:
                await asyncio.gather(self._set.complete(), self._below.start(self._own_workers))
        except BaseException:
            await self.stop(timeout_s=1.0)
            raise

    def _describe(self, description: ServiceDescription) -> None:
        self._apis = {api.name: api for api in description.apis}
        self._threads = max(1, description.threads)
        self._own_workers = description.own_workers
        for api in description.apis:
            self._dispatcher.add_api(api)

    @property
    def ready_workers(self) -> int:
        """How many workers can take calls."""
        return sum(slot.can_take_calls for slot in self._set.slots)

    def report_to(self, metrics: ServingMetrics) -> None:
        """Count retries and restarts there."""
        self._metrics = metrics
        if self._below is not None:
            self._below.report_to(metrics)

    async def call(
        self,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings | None = None,
    ) -> WireResponse | WireStream:
        """Answer one call (see `calls.Calls`)."""
        description = self._apis.get(api)
        if description is None:
            raise api_not_found(api, self._apis)
        if description.runs != "alone":
            return await self._await_batched(description, request, context, timings)
        self.refuse_if_full()
        self._outstanding += 1
        try:
            return await self._call(description, request, context, timings or CallTimings())
        finally:
            self._outstanding -= 1

    async def check(self, api: str, request: WireRequest, context: Context) -> WireResponse | None:
        """Say what is wrong with a request (see `calls.Calls`)."""
        chosen = _least_busy(self._set.slots, avoid=None)
        if chosen is None:
            return None
        asking = asyncio.create_task(
            chosen.worker.call(api, request, context, CallTimings(), decode_only=True)
        )
        # Not cancelled when it takes long: the worker may be in a handler that holds the
        # interpreter's lock, and a cancelled call that stays silent is taken for a hang.
        self._checks.add(asking)
        asking.add_done_callback(self._forget_check)
        await asyncio.wait({asking}, timeout=_CHECK_PATIENCE_S)
        if not asking.done() or asking.cancelled() or asking.exception() is not None:
            return None
        answer = asking.result()
        return answer if isinstance(answer, WireResponse) and answer.status >= 400 else None

    def _forget_check(self, asked: asyncio.Task[WireResponse | WireStream]) -> None:
        self._checks.discard(asked)
        if not asked.cancelled():
            asked.exception()  # Looked at: a worker that ended is told of elsewhere.

    async def serve_mount(
        self, mount: str, scope: Scope, receive: Receive, send: Send, context: Context
    ) -> None:
        """Let a mounted application answer (see `calls.Calls`); counted until it begins to."""
        self.refuse_if_full()
        with self._counted_until_begun() as begin:

            async def send_begun(event: AsgiEvent) -> None:
                begin()
                await send(event)

            await self._serve_mount(mount, scope, receive, send_begun, context)

    @contextlib.contextmanager
    def _counted_until_begun(self) -> Generator[Callable[[], None], None, None]:
        waits = 1
        self._outstanding += waits

        def begin() -> None:
            nonlocal waits
            self._outstanding -= waits
            waits = 0

        try:
            yield begin
        finally:
            begin()

    async def _serve_mount(
        self, mount: str, scope: Scope, receive: Receive, send: Send, context: Context
    ) -> None:
        slot = await self._choose(context, avoid=None)
        self._dispatched += 1
        slot.last_used = self._dispatched
        try:
            await slot.worker.serve_mount(mount, scope, receive, send, context.request_id)
        except StreamLost as gone:
            raise WorkerLost(
                f"The worker ended before {mount!r} answered.",
                remedy="It may have had an effect; it was not repeated.",
            ) from gone
        except AppFailed as error:
            raise app_failed(mount) from error

    def leave_sockets(self) -> None:
        """Have every WebSocket closed, and each that is opened from now on."""
        for worker in self._set.workers:
            worker.leave_sockets()

    def teach(self, curves: Mapping[str, CostCurve]) -> None:
        """Begin with what calls were seen to cost before."""
        self._dispatcher.teach(curves)
        if self._below is not None:
            self._below.teach(curves)

    def learned(self) -> dict[str, CostCurve]:
        """Return what calls of each api were seen to cost; those below as `service.api`."""
        below = {} if self._below is None else self._below.learned()
        return {**below, **self._dispatcher.learned()}

    def submit(self, api: str, call: PendingCall) -> None:
        """Take a request for an api that does not run its calls alone.

        Raises:
            Unavailable: it cannot be answered, now or in time.
        """
        if self._is_full() and not self._dispatcher.make_room(call):
            raise too_many()
        self._refuse_if_hopeless()
        self._dispatcher.submit(api, call)

    def withdraw(self, api: str, call: PendingCall) -> None:
        """Nobody waits for a request any more."""
        self._dispatcher.withdraw(api, call)

    def on_batch(
        self, told: Callable[[ApiDescription, list[PendingCall], AnswerBatch], None]
    ) -> None:
        """Tell of every message of calls that was answered."""
        self._on_batch = told

    def refuse_if_full(self) -> None:
        """Refuse when too many requests wait.

        Raises:
            Overloaded: they do.
        """
        if self._is_full():
            raise too_many()

    def _is_full(self) -> bool:
        return self._outstanding + self._dispatcher.outstanding >= self._max_outstanding

    async def _await_batched(
        self,
        api: ApiDescription,
        request: WireRequest,
        context: Context,
        timings: CallTimings | None,
    ) -> WireResponse:
        call = AwaitedCall(request, context, timings or CallTimings())
        self.submit(api.name, call)
        try:
            return await call.answer
        finally:
            self.withdraw(api.name, call)

    def health(self) -> Health:
        """Judge from the states of the workers."""
        own = self._own_health()
        return own if self._below is None else self._below.health(own)

    def _own_health(self) -> Health:
        return judge_health((slot.seen for slot in self._set.slots), draining=self._stopping)

    def drain(self) -> None:
        """Say from now on that the server is not ready; calls are still answered."""
        self._stopping = True

    def cut_off(self) -> int:
        """Answer what is left with an error: the server waits no longer; return how many it was."""
        workers = self._set.workers
        cut = self.outstanding + sum(worker.streams for worker in workers)
        error = _cut_off()
        self._stopping = self._hopeless = True
        self._any_ready.set()
        self._dispatcher.cut_off(error)
        for worker in workers:
            worker.cut_off(error)
        return cut

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Stop every worker; return when no process is left."""
        self._stopping = True
        await self._set.stop(timeout_s)
        if self._below is not None:
            await self._below.stop(timeout_s)
        # Who still waits must not wait for a worker that never comes.
        self._stopped = self._hopeless = True
        self._dispatcher.fail_waiting(_ended())
        self._any_ready.set()

    def kill(self) -> None:
        """End every worker now."""
        self._stopping = True
        self._set.kill()
        if self._below is not None:
            self._below.kill()

    def _make_worker(self, start: Start) -> WorkerProcess:
        return WorkerProcess(
            start, self._dispatcher.take_answers, self._lose, self._note_logged, self._others
        )

    def _make_dependency(self, service: str, workers: int) -> Pool:
        return Pool(
            msgspec.structs.replace(self._set.start, service=service),
            workers=workers,
            max_outstanding=self._max_outstanding,
            memory=self._memory,
            drain_timeout_s=self._drain_timeout_s,
            quarantine=self._quarantine.another(),
            others=self._below,
            starter=self._starter.below(service, workers),
        )

    def _lose(self, worker: WorkerProcess) -> None:
        """A worker ended: whatever was alone with it is to blame, unless we ended it ourselves."""
        suspect = worker.end_reason not in _OUR_REASONS
        alone = worker.lost_calls == 1 and not self._dispatcher.is_busy(worker)
        worker.ended_by_one_call = suspect and alone
        self._dispatcher.remove_worker(worker, blame=suspect and not worker.lost_calls)

    def _admit(self, worker: WorkerProcess) -> None:
        self._dispatcher.add_worker(worker, self._threads)

    def _retire(self, worker: WorkerProcess) -> None:
        self._dispatcher.retire_worker(worker)
        worker.leave_sockets()

    def _is_busy(self, worker: WorkerProcess) -> bool:
        return worker.outstanding > 0 or self._dispatcher.is_busy(worker)

    def _note_end(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.worker_restarted(reason)

    def _note_logged(self, written: int, dropped: int) -> None:
        if self._metrics is not None:
            self._metrics.inferences_logged(written, dropped)

    def _note_retry(self) -> None:
        if self._metrics is not None:
            self._metrics.call_retried()

    def _note_batch(
        self, api: ApiDescription, calls: list[PendingCall], batch: AnswerBatch
    ) -> None:
        self._on_batch(api, calls, batch)

    async def _call(
        self,
        api: ApiDescription,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
    ) -> WireResponse | WireStream:
        slot = await self._choose(context, avoid=None)
        try:
            return await self._call_worker(slot, api, request, context, timings)
        except WorkerGone as gone:
            if not api.idempotent:
                raise _lost(api, "The call may have had an effect; it was not repeated.") from gone
        self._note_retry()
        slot = await self._choose(context, avoid=slot)
        try:
            return await self._call_worker(slot, api, request, context, timings)
        except WorkerGone as gone:
            raise _lost(api, "Two workers ended on it; check the request.") from gone

    async def _call_worker(
        self,
        slot: Slot,
        api: ApiDescription,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
    ) -> WireResponse | WireStream:
        quarantine = self._quarantine
        if quarantine.held:
            quarantine.check(input_of(api, request.headers, request.query), request.body)
        self._dispatched += 1
        slot.last_used = self._dispatched
        worker = slot.worker
        try:
            answer = await worker.call(api.name, request, context, timings, allowed_s=api.timeout_s)
            if quarantine.held:
                quarantine.clear(input_of(api, request.headers, request.query), request.body)
            return answer
        except WorkerGone:
            if worker.ended_by_one_call:
                held = input_of(api, request.headers, request.query)
                quarantine.note_end(api.name, held, request.body, crashes=1)
            raise
        except TimeoutError as error:
            own_s = self._set.start.timeout_s if api.timeout_s is None else api.timeout_s
            raise not_in_time(api.name, context.headers, own_s) from error

    async def _choose(self, context: Context, *, avoid: Slot | None) -> Slot:
        try:
            async with asyncio.timeout(_left_s(context)):
                while True:
                    chosen = _least_busy(self._set.slots, avoid=avoid)
                    if chosen is not None:
                        return chosen
                    self._refuse_if_hopeless()
                    self._note_readiness()
                    await self._any_ready.wait()
        except TimeoutError as error:
            raise Unavailable("No worker is ready.", remedy="Try again in a moment.") from error

    def _refuse_if_hopeless(self) -> None:
        if self._hopeless:
            raise _ended() if self._stopping else _hopeless()

    def _note_readiness(self) -> None:
        ready = self.ready_workers
        gone = bool(self._set.slots) and not self._own_health().live
        self._hopeless = self._stopped or gone
        if self._hopeless:
            self._dispatcher.fail_waiting(_hopeless())
        if ready or self._hopeless:
            self._any_ready.set()
        else:
            self._any_ready.clear()


def _least_busy(slots: Iterable[Slot], *, avoid: Slot | None) -> Slot | None:
    ready = [slot for slot in slots if slot.can_take_calls]
    others = [slot for slot in ready if slot is not avoid]
    return min(
        others or ready,
        key=lambda slot: (slot.worker.outstanding, slot.last_used),
        default=None,
    )


def _left_s(context: Context) -> float | None:
    if context.deadline_s is None:
        return None
    return max(0.0, context.deadline_s - time.monotonic())


def _hopeless() -> Unavailable:
    return Unavailable(
        "Every worker failed too often.", remedy="Look at the server's log and restart it."
    )


def _ended() -> Unavailable:
    return Unavailable("The server is stopping.", remedy="Send it again.")


def _cut_off() -> Unavailable:
    return Unavailable(
        "The server stops and waits no longer for the answer.",
        remedy="Send it again if it may be done twice.",
    )


def _ignore(_api: ApiDescription, _calls: list[PendingCall], _batch: AnswerBatch) -> None:
    pass


def _lost(api: ApiDescription, remedy: str) -> WorkerLost:
    return WorkerLost(f"The worker ended before {api.name!r} answered.", remedy=remedy)
