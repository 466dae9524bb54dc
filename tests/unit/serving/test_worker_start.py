"""What is started for a worker ends with the failure to start it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import psutil
import pytest

from dosirak.errors import InvalidConfiguration
from dosirak.serving.machine import Machine
from dosirak.serving.messages import Start
from dosirak.serving.worker_start import WorkerStarter

SERVICE = """
import dosirak

@dosirak.service(resources=dosirak.Resources(gpu=2))
class Large:
    @dosirak.api
    def echo(self, value: int) -> int:
        return value
"""


def test_a_service_that_asks_for_more_than_there_is_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(SERVICE)
    start = Start(f"{tmp_path / 'large.py'}:Large", str(tmp_path), "text", 1.0, 1.0)
    before = set(psutil.Process().children())

    async def main() -> None:
        starter = WorkerStarter(Machine(cpus=(0,)))
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(InvalidConfiguration):
            await starter.start(theirs, start, 0)
        # Killed, and not only asked: nobody would ask again.
        async with asyncio.timeout(10):
            while set(psutil.Process().children()) - before:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)

    asyncio.run(main())
