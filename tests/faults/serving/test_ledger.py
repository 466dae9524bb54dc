"""The ledger and the load themselves: an answer to the wrong caller would be seen."""

from __future__ import annotations

import asyncio

from fault_table import merge
from ledger import Call, Ledger
from numbered import FIRST, doublings, owner_of_doubled, owner_of_work, works
from open_loop import OpenLoop

HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: n0\r\ncontent-length: 9\r\n\r\n"


def _judged(body: bytes, *, status: int = 200, head: bytes = HEAD, named: bool = True) -> str:
    call = next(doublings(1, named=named))
    return Ledger(owner_of_doubled).judge(call, status, head, body)


def test_each_outcome_is_told_from_the_others():
    right = b"[%d]" % (2 * FIRST)
    assert _judged(right) == "right"
    assert _judged(b"[%d]" % (2 * FIRST + 2)) == "swapped"
    assert _judged(b"nonsense") == "wrong"
    assert _judged(right, head=HEAD.replace(b"n0", b"n1")) == "swapped"
    assert _judged(b"", status=429) == "refused"
    assert _judged(b'{"code":"worker_lost","request_id":"n0"}', status=502) == "told"
    assert _judged(b'{"code":"worker_lost","request_id":"n7"}', status=502) == "swapped"
    assert _judged(b"Internal Server Error", status=500) == "wrong"


def test_a_number_has_one_outcome_and_none_is_forgotten():
    ledger = Ledger()
    for call in works(3):
        ledger.open(call)
        if call.number < 2:
            ledger.close(call, "right", 0.1)
    assert ledger.unaccounted == 1
    ledger.close(Call(0, b""), "right", 0.1)
    assert ledger.unaccounted == 2


class _Faulty(asyncio.Protocol):
    """Answers like the api, but gives every tenth caller another's answer, or nothing."""

    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        value = int(data.rpartition(b":")[2].rstrip(b"}"))
        _Faulty.served += 1
        if _Faulty.served % 10 == 3:
            self._transport.abort()
            return
        if _Faulty.served % 10 == 7:
            value += 1
        body = b"%d" % (2 * value)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def test_a_test_replaces_its_own_rows_in_the_table_and_no_others():
    def row(test: str, must: str, reached: str, fault: str = "F-30") -> dict[str, object]:
        about = {"test": test} if test else {}
        return {"fault": fault, "must": must, "reached": reached, "holds": True, **about}

    known = [
        row("test[2]", "goodput", "old"),
        row("test[10]", "goodput", "kept"),
        row("", "rejects", "of a time without tests"),
        row("", "recovery", "kept, too"),
    ]
    found = [row("test[2]", "goodput", "new"), row("test[2]", "rejects", "new")]
    merged = merge(known, found)
    assert [each["reached"] for each in merged] == ["kept", "kept, too", "new", "new"]


def test_a_server_that_swaps_and_loses_answers_is_found_out(on_loop):
    async def scenario() -> Ledger:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Faulty, "127.0.0.1", 0)
        ledger = Ledger(owner_of_work)
        load = OpenLoop(server.sockets[0].getsockname()[1], ledger, most_connections=20)
        await load.run(works(500), 5000)
        await load.close()
        server.close()
        return ledger

    ledger = on_loop(scenario())
    assert ledger.unaccounted == 0
    assert [ledger.count(name) for name in ("right", "swapped", "lost")] == [400, 50, 50]


def test_the_load_is_fast_enough_to_be_worth_something(on_loop):
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            body = b"%d" % (2 * int(data.rpartition(b":")[2].rstrip(b"}")))
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)

    async def scenario() -> tuple[Ledger, float]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        ledger = Ledger(owner_of_work)
        load = OpenLoop(server.sockets[0].getsockname()[1], ledger, most_connections=64)
        await load.run(works(10_000), 1e6)
        elapsed_s = load.elapsed_s
        await load.close()
        server.close()
        return ledger, elapsed_s

    ledger, elapsed_s = on_loop(scenario())
    print(f"{10_000 / elapsed_s:.0f} requests a second, server included")
    assert (ledger.count("right"), ledger.unaccounted) == (10_000, 0)
