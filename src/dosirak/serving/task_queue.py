"""Running tasks: claim, call like any request, keep the answer.

As many tasks run at once as the workers have threads. A task whose worker or server ends is run
again, if its api says that it may be, and given up after a few attempts. What the store says is no
longer held here (cancelled at another server, or a lease that ran out) is stopped. A store that
fails stops nothing but tasks: callers are told in time, answers wait for it, and the server ends
when it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec

from dosirak.errors import (
    Conflict,
    DeadlineExceeded,
    DosirakError,
    ServiceError,
    TaskNotFound,
    Unavailable,
    WorkerLost,
)
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.metrics import ServingMetrics
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.calls import Calls, ServiceDescription
from dosirak.serving.problems import problem_response
from dosirak.serving.task_store import ClaimedTask, TaskRecord, TaskStore, as_json
from dosirak.serving.troubles import Troubles
from dosirak.serving.unkept_answers import UnkeptAnswers
from dosirak.serving.webhook_sender import HOLD_S, WebhookSender
from dosirak.serving.webhooks import WebhookPlan
from dosirak.spec.context import Context

MOST_ATTEMPTS = 3
WEBHOOK_HEADER = "x-task-webhook"
_FORGET_EVERY_S = 30.0
# An answer that cannot be kept now is kept later; a task that ran is not run again for nothing.
_KEEP_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# How long a caller waits for the store, and the end of the queue for all that it has begun.
_CALLER_S = 5.0
_STOP_S = 5.0
_LEAST_STOP_S = 0.5

ParametersP = ParamSpec("ParametersP")
ReturnT = TypeVar("ReturnT")
_log = logging.getLogger(f"{ROOT_LOGGER}.serving.tasks")


class TaskQueue:
    """Keeps tasks and runs them through anything that answers calls."""

    def __init__(
        self,
        store: TaskStore,
        calls: Calls,
        description: ServiceDescription,
        metrics: ServingMetrics,
        *,
        concurrency: int,
        webhooks: WebhookPlan = WebhookPlan(),
        caller_s: float = _CALLER_S,
        stop_s: float = _STOP_S,
    ) -> None:
        self._caller_s = caller_s
        self._stop_s = stop_s
        self._troubles = Troubles(_log)
        self._unkept = UnkeptAnswers()
        self._webhooks = webhooks
        self._sender = WebhookSender(
            webhooks,
            lambda: self._on_disk(store.claim_delivery, HOLD_S),
            lambda task_id, again_in_s: self._on_disk(store.end_delivery, task_id, again_in_s),
            metrics.webhook_sent,
        )
        self._store = store
        self._calls = calls
        self._apis = {api.name: api for api in description.apis}
        self._metrics = metrics
        self._concurrency = concurrency
        # The loop must not wait for a disk.
        self._disk = ThreadPoolExecutor(store.at_once, thread_name_prefix="tasks")
        self._work = asyncio.Event()
        self._runners: list[asyncio.Task[None]] = []
        self._running: dict[str, tuple[ClaimedTask, asyncio.Task[WireResponse]]] = {}
        self._claiming = 0
        self._retired = False
        self._ended = False
        self._stopping: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a task is running here, or about to, or its answer waits to be kept."""
        return bool(self._running) or self._claiming > 0 or len(self._unkept) > 0

    async def start(self) -> None:
        """Open the store and begin to run what waits in it."""
        await self._on_disk(self._store.open)
        self._work.set()
        self._runners = [asyncio.create_task(self._run()) for _ in range(self._concurrency)]
        self._runners.append(asyncio.create_task(self._every(_FORGET_EVERY_S, self._forget)))
        self._runners.append(asyncio.create_task(self._every(self._store.look_every_s, self._look)))
        self._runners.append(
            asyncio.create_task(self._every(self._store.renew_every_s, self._renew))
        )
        if self._webhooks.allowed:
            self._runners.append(asyncio.create_task(self._sender.run()))

    def wake(self) -> None:
        """Look for tasks now: another queue of the same store may have left some."""
        self._work.set()

    def retire(self) -> None:
        """Begin no further task; those that run are finished. Others of the store go on."""
        self._retired = True
        self._work.set()

    async def stop(self, timeout_s: float = _STOP_S) -> None:
        """Stop running tasks; those unfinished are run again by the next server.

        Whoever asks again waits for the same end: a server stops its revisions when it has drained
        and once more on its way out, whatever happened before. A store that fails or hangs holds
        nobody up for long, and least who is in a hurry.

        Args:
            timeout_s: how long to wait at most; none is shorter than a store that works needs.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        # The first caller may be cancelled (a second signal); the store is closed all the same.
        await asyncio.wait({self._stopping}, timeout=max(timeout_s, _LEAST_STOP_S))

    async def _stop(self) -> None:
        self._ended = True
        for runner in self._runners:
            runner.cancel()
        leaving = asyncio.create_task(self._leave())
        _, late = await asyncio.wait({leaving}, timeout=self._stop_s)
        if late:
            # What is left unsaid is found out by whoever comes next: an owner that is gone.
            _log.error("The task store did not take within %g s what was left.", self._stop_s)
            leaving.cancel()
            self._disk.submit(self._store.close)
        elif (error := leaving.exception()) is not None:
            self._troubles.say("The task store was not closed", error)
        self._disk.shutdown(wait=False)

    async def _leave(self) -> None:
        await asyncio.gather(*self._runners, return_exceptions=True)
        await self._keep_unkept()
        await self._on_disk(self._store.close)

    async def submit(self, api: str, request: WireRequest) -> TaskRecord:
        """Keep a task; it survives from here on.

        Raises:
            Overloaded: too many are waiting.
            Unavailable: the store does not take it now.
            RequestError: the webhook that it names is no URL.
            Forbidden: this server sends no webhooks there.
        """
        webhook = request.headers.get(WEBHOOK_HEADER, "")
        if webhook:
            self._webhooks.destination(webhook)
        record = await self._for_caller(self._store.submit, api, request, webhook=webhook)
        self._work.set()
        return record

    async def check(self, api: str, request: WireRequest, request_id: str) -> WireResponse | None:
        """Return the error of a request that would fail before its task begins, if it is known."""
        context = Context(request_id=request_id, headers=request.headers)
        return await self._calls.check(api, request, context)

    async def status(self, api: str, task_id: str) -> TaskRecord:
        """Return what is known of a task.

        Raises:
            TaskNotFound: there is none with this id.
        """
        record = await self._for_caller(self._store.find, api, task_id)
        if record is None:
            raise _not_found(api)
        return record

    async def result(self, api: str, task_id: str) -> WireResponse:
        """Return a finished task's answer, error or not; while it runs, its status with 202.

        Raises:
            TaskNotFound: there is none with this id.
            Conflict: it was cancelled and has no answer.
        """
        record = await self.status(api, task_id)
        answer = await self._for_caller(self._store.answer_of, api, task_id)
        if answer is not None:
            return answer
        if record.status == "cancelled":
            raise Conflict("The task was cancelled.", remedy="Retry it, or submit it again.")
        if record.status != "in_progress":
            raise _not_found(api)  # Forgotten between the two looks.
        return WireResponse(msgspec.json.encode(as_json(record)), "application/json", status=202)

    async def retry(self, api: str, task_id: str) -> TaskRecord:
        """Run a finished task's request again, as a new task.

        Raises:
            TaskNotFound: there is none with this id.
            Conflict: it is still in progress.
            Overloaded: too many are waiting.
        """
        if (await self.status(api, task_id)).status == "in_progress":
            raise Conflict("The task is in progress.", remedy="Cancel it first, or wait.")
        record = await self._for_caller(self._store.submit_again, api, task_id)
        if record is None:
            raise _not_found(api)
        self._work.set()
        return record

    async def cancel(self, api: str, task_id: str) -> TaskRecord:
        """Cancel a task that is not finished.

        Raises:
            TaskNotFound: there is none with this id.
            Conflict: it has finished.
        """
        before = await self.status(api, task_id)
        if not await self._for_caller(self._store.cancel, api, task_id):
            if before.status == "cancelled":
                return before
            raise Conflict("The task has finished.", remedy="Ask for its result.")
        self._metrics.task_ended(api, "cancelled")
        self._sender.wake()
        if task_id in self._running:
            self._running[task_id][1].cancel()
        return await self.status(api, task_id)

    async def _run(self) -> None:
        while not self._ended:
            await self._work.wait()
            if self._retired:
                return
            try:
                task = await self._claim()
                if task is None:
                    self._work.clear()
                else:
                    await self._run_one(task)
            except Exception as error:
                # A full disk must not end the queue; the task is claimed again after a restart.
                self._troubles.say("Running tasks failed", error)
                await asyncio.sleep(1.0)

    async def _claim(self) -> ClaimedTask | None:
        """Take a task; one that is taken while this is cancelled is given back, not forgotten."""
        claiming = asyncio.ensure_future(self._on_disk(self._store.claim))
        self._claiming += 1
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # A store that fails now keeps the task until its owner is known to be gone.
            with contextlib.suppress(Exception):
                task = await claiming
                if task is not None:
                    await self._on_disk(self._store.release, task)
            raise
        finally:
            self._claiming -= 1

    async def _run_one(self, task: ClaimedTask) -> None:
        running = asyncio.create_task(self._answer(task))
        self._running[task.id] = (task, running)
        try:
            await asyncio.wait({running})
            if not running.cancelled():
                await self._keep(task, running.result())
        except asyncio.CancelledError:
            await self._give_back(task, running)
            raise
        finally:
            del self._running[task.id]

    async def _keep(self, task: ClaimedTask, response: WireResponse) -> None:
        for wait_s in (*_KEEP_AGAIN_S, None):
            try:
                await self._finish(task, response)
                return
            except Exception as error:
                self._troubles.say("The answer of a task waits to be kept", error)
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        # The store fails for longer: others may still be run, and this is tried on the side.
        api = self._apis.get(task.api)
        self._unkept.add(task, response, repeatable=api is None or api.idempotent)

    async def _finish(self, task: ClaimedTask, response: WireResponse) -> None:
        if await self._on_disk(self._store.finish, task, response):
            self._metrics.task_ended(task.api, "success" if response.status < 400 else "failure")
            self._sender.wake()

    async def _release(self, task: ClaimedTask) -> None:
        await self._on_disk(self._store.release, task)

    async def _keep_unkept(self) -> None:
        error = await self._unkept.keep(self._finish, self._release)
        if error is not None:
            self._troubles.say("Answers of tasks wait to be kept", error)

    async def _give_back(self, task: ClaimedTask, running: asyncio.Task[WireResponse]) -> None:
        """Leave a task as well as the store allows; never raises in place of the cancellation."""
        try:
            if running.done() and not running.cancelled():
                await self._finish(task, running.result())  # It was about to be kept.
                return
            running.cancel()
            await asyncio.wait({running})
            await self._release(task)
        except Exception as error:
            self._troubles.say("A task was not given back", error)

    async def _answer(self, task: ClaimedTask) -> WireResponse:
        api = self._apis.get(task.api)
        try:
            if api is None:
                raise TaskNotFound(f"The service has no task {task.api!r} any more.")
            if task.attempts > (MOST_ATTEMPTS if api.idempotent else 1):
                raise WorkerLost("The task's worker ended on every attempt.", remedy="Retry it.")
            context = Context(
                request_id=task.id,
                headers=task.request.headers,
                deadline_s=None if api.timeout_s is None else time.monotonic() + api.timeout_s,
            )
            answer = await self._calls.call(task.api, task.request, context)
        except DosirakError as error:
            return problem_response(error, request_id=task.id)
        if isinstance(answer, WireResponse):
            return answer
        return problem_response(
            ServiceError("A task cannot answer with a stream."), request_id=task.id
        )

    async def _every(self, period_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(period_s)
            try:
                await step()
            except Exception as error:
                self._troubles.say("Looking after tasks failed", error)

    async def _look(self) -> None:
        await self._keep_unkept()
        await self._on_disk(self._store.take_over)
        self._work.set()

    async def _renew(self) -> None:
        """Keep hold of what runs; stop what is no longer ours."""
        held = [*(task for task, _ in self._running.values()), *self._unkept.tasks]
        for task_id in await self._on_disk(self._store.renew, held):
            self._unkept.discard(task_id)
            if task_id in self._running:
                self._running[task_id][1].cancel()

    async def _forget(self) -> None:
        late = problem_response(
            DeadlineExceeded(
                "The task waited longer than it may.",
                remedy="Retry it, or allow more with --task-waiting-s.",
            ),
            request_id="",
        )
        for api in await self._on_disk(self._store.expire_waiting, late):
            self._metrics.task_ended(api, "failure")
        await self._on_disk(self._store.forget_expired)

    async def _for_caller(
        self,
        function: Callable[ParametersP, ReturnT],
        *args: ParametersP.args,
        **kwargs: ParametersP.kwargs,
    ) -> ReturnT:
        """Ask the store for somebody who waits; what nobody waits for any more is not begun."""
        try:
            async with asyncio.timeout(self._caller_s):
                return await self._on_disk(function, *args, **kwargs)
        except TimeoutError as error:
            raise Unavailable(
                "The task store does not answer.", remedy="Try again later."
            ) from error

    async def _on_disk(
        self,
        function: Callable[ParametersP, ReturnT],
        *args: ParametersP.args,
        **kwargs: ParametersP.kwargs,
    ) -> ReturnT:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._disk, lambda: function(*args, **kwargs))


def _not_found(api: str) -> TaskNotFound:
    return TaskNotFound(
        f"{api!r} has no task with this id.",
        remedy="Check the id; results are kept for a time only (--task-result-s).",
    )
