"""Calls that are withdrawn at once: the worker lets go of every one of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest
from dosirak.serving.machine import this_machine
from dosirak.serving.messages import Start
from dosirak.serving.worker_process import WorkerProcess
from dosirak.serving.worker_start import WorkerStarter
from dosirak.spec.context import Context

TARGET = f"{Path(__file__).parent / 'targets.py'}:Behaving"


def test_a_call_cancelled_before_it_began_is_let_go(tmp_path: Path) -> None:
    async def run() -> int:
        worker = WorkerProcess(
            Start(
                target=TARGET,
                home=str(tmp_path),
                log_style="json",
                hang_grace_s=60.0,
                timeout_s=60.0,
            ),
            on_answers=lambda *_: None,  # No batch is sent here.
            on_lost=lambda *_: None,
        )
        await worker.spawn(WorkerStarter(this_machine()))
        await worker.ready()
        try:
            request = WireRequest(b'{"seconds": 0.01}', "application/json")
            calls = [
                asyncio.create_task(
                    worker.call(
                        "wait_on_loop",
                        request,
                        Context(request_id=str(number), headers={}, deadline_s=None),
                        CallTimings(),
                    )
                )
                for number in range(300)
            ]
            # Every call goes out, and its withdrawal right behind it, in the same read.
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            deadline_s = time.monotonic() + 20
            while worker.outstanding and time.monotonic() < deadline_s:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            return worker.outstanding
        finally:
            with contextlib.suppress(TimeoutError):
                await worker.stop(10.0)

    assert asyncio.run(run()) == 0
