"""What one small request costs in the front and in a worker, without sockets.

`python bench/micro/hot_path.py [front|log|refuse|forwarded|worker] [--batch 32]` runs the real hot
path over transports and a worker that answer at once, and prints microseconds of CPU per
request: the least of several repetitions, because everything else on the machine only adds.
`refuse` is the front again, with a queue that nobody empties: every request would wait too long and
is refused, and logged like any other. `forwarded` is the owner's part of requests that an acceptor
has read. Where the time goes inside is for a profiler
(`perf stat -e instructions:u python bench/micro/hot_path.py front`).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import uvloop

import dosirak
from dosirak.observe.access_log import open_access_log
from dosirak.observe.metrics import ServingMetrics
from dosirak.payload.wire import Body
from dosirak.serving.batch_run import BatchRun
from dosirak.serving.batch_wire import answers_of, calls_of
from dosirak.serving.bound_api import BoundApi
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.channel import Channel
from dosirak.serving.dispatcher import Dispatcher, DispatchReport
from dosirak.serving.forwarded import ForwardedCalls
from dosirak.serving.forwarding import Forwarded, ForwardedHead, to_owner_decoder
from dosirak.serving.handler_threads import HandlerThreads
from dosirak.serving.heads import HeadReader
from dosirak.serving.hot_protocol import HotServer
from dosirak.serving.hot_routes import HotAccount, PooledRoute
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.messages import (
    AnswerBatch,
    AnswerHead,
    CallBatch,
    FrameReader,
    RequestHead,
    encode_batch_frame,
    to_front_decoder,
    to_worker_decoder,
)

BODY = b'{"value": 7}'
REQUEST = (
    b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY
HURRIED = REQUEST.replace(b"\r\nContent-Type", b"\r\nX-Request-Timeout: 0.5\r\nContent-Type")


@dosirak.service
class Echo:
    """What is served."""

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


class Transport(asyncio.Transport):
    """Takes what is written and forgets it."""

    def write(self, data: Any) -> None:
        pass

    def writelines(self, list_of_data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4000) if name == "peername" else default


class InstantWorker:
    """Keeps a message and answers it when asked, through the real frames."""

    def __init__(self) -> None:
        self.waiting: list[CallBatch] = []
        self.front: Channel[Any] | None = None

    def send_batch(self, batch: CallBatch, bodies: Sequence[Body], body_bytes: int) -> bool:
        b"".join(encode_batch_frame(batch, bodies, body_bytes))
        self.waiting.append(batch)
        return True

    def withdraw(self, batch_id: int, index: int) -> None:
        pass

    def kill(self, reason: str) -> None:
        raise AssertionError(reason)

    def on_end(self, told: Callable[[str], None]) -> None:
        raise AssertionError(told)

    def answer(self, call_s: float = 0.00002) -> None:
        for batch in self.waiting:
            count = len(batch.sizes)
            message = AnswerBatch(
                batch.batch_id, [], [AnswerHead(200, "application/json", ())], [], [1] * count,
                count, count, 0.00001, call_s, True, time.monotonic(), 0.00001, 0.00001, 0.00001,
            )  # fmt: skip
            frame = b"".join(encode_batch_frame(message, [b"7"] * count, count))
            assert self.front is not None
            self.front.data_received(frame)
        self.waiting.clear()


class BarePool:
    """The part of `Pool` that plain requests go through."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.submit = dispatcher.submit
        self.withdraw = dispatcher.withdraw


def forwarded_frames(batch: int, rounds: int, plain: Any) -> list[bytes]:
    """Return what an acceptor would send, one message a round."""
    now_s = time.monotonic()
    return [
        b"".join(
            encode_batch_frame(
                Forwarded(
                    False, [] if done else [ForwardedHead.of(0, plain)],
                    [done * batch + n for n in range(batch)], [0] * batch,
                    [f"{n:032x}" for n in range(batch)], ["127.0.0.1"] * batch,
                    [now_s] * batch, [len(BODY)] * batch,
                ),
                [BODY] * batch, batch * len(BODY),
            )
        )
        for done in range(rounds)
    ]  # fmt: skip


async def front(
    batch: int, rounds: int, *, log: bool, refuse: bool = False, forwarded: bool = False
) -> float:
    description = ServiceDescription.of(Echo.spec)
    api = description.apis[0]
    access_log = open_access_log("json", io.StringIO()) if log else None
    account = HotAccount(ServingMetrics(service="Echo", process=False), access_log)
    dispatcher = Dispatcher(DispatchReport(lambda: None, account.take_batch), hang_grace_s=5.0)
    dispatcher.add_api(api)
    worker = InstantWorker()
    worker.front = Channel(
        to_front_decoder,
        lambda message, body: dispatcher.take_answers(worker, message, body),
        lambda: None,
        max_body_bytes=2**31,
    )
    dispatcher.add_worker(worker, 1)
    pool: Any = BarePool(dispatcher)
    route = PooledRoute(api, pool, account, 60.0)
    options = HttpOptions(allowed_hosts=frozenset({"127.0.0.1"}))
    routes = {b"/echo": route}
    server = HotServer(HeadReader(routes, options), routes, lambda _transport, _data: None, options)
    connections = [server.connect() for _ in range(batch)]
    for connection in connections:
        connection.connection_made(Transport())
    acceptor: Channel[Any] = Channel(
        to_owner_decoder,
        lambda message, body: calls.receive(message, body),
        lambda: None,
        max_body_bytes=2**31,
    )
    acceptor.connection_made(Transport())
    calls = ForwardedCalls(acceptor, lambda: routes)
    plain = server.heads.read(REQUEST[: -len(BODY)])
    frames = forwarded_frames(batch, rounds, plain) if forwarded else []
    if refuse:
        await overload(dispatcher, worker, server)
    began_s = time.process_time()
    for done in range(0 if refuse else rounds):
        if forwarded:
            acceptor.data_received(frames[done])
        else:
            for connection in connections:
                connection.data_received(REQUEST)
        while dispatcher.outstanding:
            await asyncio.sleep(0)
            worker.answer()
    for _ in range(rounds if refuse else 0):
        for connection in connections:
            connection.data_received(HURRIED)
        await asyncio.sleep(0)
    return (time.process_time() - began_s) / (batch * rounds)


async def overload(dispatcher: Dispatcher, worker: InstantWorker, server: HotServer) -> None:
    """Leave requests in the queue that take a second each, as far as is known."""
    waiting = [server.connect() for _ in range(40)]
    for connection in waiting:
        connection.connection_made(Transport())
        connection.data_received(REQUEST)
        await asyncio.sleep(0)
        if connection is waiting[0]:
            worker.answer(call_s=1.0)
    await asyncio.sleep(0.01)
    outstanding = dispatcher.outstanding
    hurried = server.connect()
    hurried.connection_made(Transport())
    hurried.data_received(HURRIED)
    # Refused: it is not one of those that wait.
    assert dispatcher.outstanding == outstanding


async def worker(batch: int, rounds: int) -> float:
    spec = Echo.spec
    bound = BoundApi(spec.apis[0], Echo())
    message = CallBatch(
        1, "echo",
        to_worker_heads(), [], [len(BODY)] * batch, [f"{n:032x}" for n in range(batch)],
        [time.monotonic() + 60.0] * batch,
    )  # fmt: skip
    frame = b"".join(encode_batch_frame(message, [BODY] * batch, batch * len(BODY)))
    ended = asyncio.Event()

    def send(run: BatchRun, answered: Any, *, done: bool) -> None:
        answer, bodies, body_bytes = answers_of(1, run, answered, done=done)
        b"".join(encode_batch_frame(answer, bodies, body_bytes))
        if done:
            ended.set()

    reader = FrameReader(2**31)
    threads = HandlerThreads(1)
    began_s = time.process_time()
    for _ in range(rounds):
        for header, body in reader.feed(frame):
            calls = calls_of(to_worker_decoder.decode(header), body, {})
            run = BatchRun(
                bound, calls, send, threads=threads, runners=1, on_hang=None, hang_after_s=65.0
            )
            run.start()
            await ended.wait()
            ended.clear()
    return (time.process_time() - began_s) / (batch * rounds)


def to_worker_heads() -> list[Any]:
    headers = {"host": "127.0.0.1:3000", "content-type": "application/json", "content-length": "12"}
    return [RequestHead("application/json", "", headers, "", "POST")]


async def measure(what: str, batch: int, rounds: int) -> float:
    if what == "worker":
        return await worker(batch, rounds)
    return await front(
        batch,
        rounds,
        log=what in ("log", "refuse"),
        refuse=what == "refuse",
        forwarded=what == "forwarded",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    whats = ["front", "log", "refuse", "forwarded", "worker"]
    parser.add_argument("what", nargs="*", default=whats)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    for what in options.what:
        times = [
            uvloop.run(measure(what, options.batch, options.rounds))
            for _ in range(options.repetitions)
        ]
        print(f"{what:8} {min(times) * 1e6:6.2f} us per request, batches of {options.batch}")


if __name__ == "__main__":
    main()
