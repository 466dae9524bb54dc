"""F-20 to F-29: whatever clients send, workers live, nothing is a 5xx, and others are served."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bad_flood
import bad_requests
import cores
import pytest
import smuggling
from bad_requests import LIMIT_BYTES, Case
from bare_server import Beside
from fault_table import count
from ledger import Call, Ledger
from numbered import head, owner_of_work, post, works
from open_loop import OpenLoop
from raw_client import exchange
from served import Served

FLOOD = Path(__file__).parent / "bad_flood.py"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory):
    """One server for the cases; each test must leave it answering with the same workers."""
    folder = tmp_path_factory.mktemp("served")
    server = Served("Recording", folder, "--max-body", "1MiB", apart=True)
    workers = server.workers()
    yield server
    assert server.workers() == workers
    assert server.post("echo", value=5) == 5
    server.end()


KINDS = {
    "F-21": (bad_requests.large, "bodies over the limit of 1 MiB"),
    "F-22": (bad_requests.compressed, "compressed bodies that grow, or are none"),
    "F-23": (bad_requests.bodies, "bodies that JSON, npy, msgpack and Arrow readers choke on"),
    "F-24": (bad_requests.forms, "multipart bodies"),
    "F-25": (bad_requests.heads, "heads too large, or not heads"),
    "F-28": (bad_requests.oddities, "rare methods, targets and expectations"),
}


@pytest.mark.parametrize("fault", KINDS)
def test_bad_requests_are_refused_and_harm_nobody(recording, reached, fault):
    cases, what = KINDS[fault]
    found = list(cases())
    memory_bytes = recording.memory_bytes()

    def outcome(case: Case) -> str:
        answers, closed = exchange(recording.port, case.data, silence_s=8.0, most=1)
        if not answers:
            return "closed" if closed else "silence"
        return _class_of(answers[0].status, harmless=case.harmless)

    with ThreadPoolExecutor(8) as clients:
        outcomes = dict(
            zip((case.name for case in found), clients.map(outcome, found), strict=True)
        )
    bad = {name: outcome for name, outcome in outcomes.items() if outcome not in ("ok", "closed")}
    grown = recording.memory_bytes() - memory_bytes
    reached(
        fault,
        f"{len(found)} {what}",
        "4xx or closed; 0 worker exits, 0 answers 5xx",
        f"{len(found) - len(bad)} of {len(found)} so {bad or ''}".strip(),
        not bad,
    )
    if fault in ("F-21", "F-22"):
        reached(
            fault,
            f"{len(found)} {what}, 8 at a time",
            "memory grows by ≤ 2 × the limit for each",
            f"{grown / 2**20:.1f} MiB in all",
            grown <= 8 * 2 * LIMIT_BYTES,
        )
        assert grown <= 4 * 8 * LIMIT_BYTES
    assert bad == {}


def test_f26_the_worker_sees_exactly_what_the_front_accepted(recording, reached):
    cases = list(smuggling.cases())

    def run(at: int) -> tuple[list[str], list[int]]:
        data = cases[at].data.replace(b"smuggled", b"s%07d" % at).replace(b"outer", b"o%07d" % at)
        answers, _ = exchange(recording.port, data)
        taken = [answer.request_id for answer in answers if answer.status < 300]
        return taken, [answer.status for answer in answers]

    with ThreadPoolExecutor(32) as clients:
        results = list(clients.map(run, range(len(cases))))
    recorded = [line.split()[0] for line in recording.noted("recorded")]
    recorded = [name for name in recorded if name[:1] in ("s", "o") and name[1:].isdigit()]
    accepted = [name for taken, _ in results for name in taken]
    smuggled = [
        cases[int(name[1:])].name
        for name in recorded
        if name[0] == "s" and not cases[int(name[1:])].lawful
    ]
    broken = [cases[at].name for at, (_, seen) in enumerate(results) if any(s >= 500 for s in seen)]
    holds = sorted(recorded) == sorted(accepted) and not smuggled and not broken
    reached(
        "F-26",
        f"{len(cases)} requests that two readers might cut differently",
        "the worker sees exactly what the front accepted; nothing smuggled",
        f"{len(accepted)} accepted, {len(recorded)} seen, {len(smuggled)} smuggled"
        f" {smuggled or ''}".strip(),
        holds,
    )
    assert sorted(recorded) == sorted(accepted)
    assert smuggled == []
    assert broken == []
    # The lawful ones are taken: a server that refused everything would pass as well.
    assert any(name[0] == "s" for name in recorded)


def test_f29_bad_traffic_does_not_touch_good_traffic(recording, reached, on_loop):
    requests = count(600, 1_000_000)
    workers, memory_bytes = recording.workers(), recording.memory_bytes()
    beside = Beside()

    async def load() -> tuple[Ledger, Ledger, dict[str, int]]:
        calm, busy = Ledger(owner_of_work), Ledger(owner_of_work)
        await _good(recording, calm, count(300, 15_000))
        async with beside:
            flooding = await asyncio.create_subprocess_exec(
                *cores.load_prefix(), sys.executable, str(FLOOD), str(recording.port),
                str(requests), "900", stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                ended = asyncio.create_task(flooding.communicate())
                while not ended.done():
                    await _good(recording, busy, 50)
                printed, _ = await ended
            finally:
                if flooding.returncode is None:
                    flooding.kill()
        return calm, busy, json.loads(printed)

    began_s = time.monotonic()
    before_s = recording.front_cpu_s()
    calm, busy, outcomes = on_loop(load())
    elapsed_s = time.monotonic() - began_s
    good = busy.sent()
    cost_us = (recording.front_cpu_s() - before_s) / (requests + good) * 1e6
    slowdown = busy.quantile_ms(0.99) / max(1.0, calm.quantile_ms(0.99))
    restarted = recording.workers() != workers
    grown = recording.memory_bytes() - memory_bytes
    reached(
        "F-29",
        f"{requests} bad requests of {len(bad_flood.kinds())} kinds, turned and cut at random, at"
        f" {requests / elapsed_s:.0f}/s; {good} good ones beside them",
        "no worker exit, no 5xx; good traffic 100 % right",
        f"worker exits: {restarted}; {outcomes}; {busy}",
        not restarted and "5xx" not in outcomes and busy.count("right") == good,
    )
    reached(
        "F-29",
        f"{requests} bad requests, {cost_us:.0f} µs of the front's core for each",
        "p99 of good traffic < 3 × undisturbed",
        f"{busy.quantile_ms(0.99):.1f} ms, {slowdown:.1f} ×; {beside}",
        slowdown < 3,
    )
    reached(
        "F-29",
        f"{requests} bad requests",
        "memory: ≤ 0.5 byte for each, and the 32 MiB that fill once",
        f"{grown / 2**20:.1f} MiB in all",
        grown <= 0.5 * requests + 32 * 2**20,
    )
    assert not restarted
    assert "5xx" not in outcomes, outcomes
    assert sum(outcomes.values()) == requests
    # They were heard: those that are cut short wait for the rest and have no answer.
    assert outcomes["ok"] > requests / 3, outcomes
    assert busy.count("right") == good, str(busy)


async def _good(server: Served, ledger: Ledger, calls: int) -> None:
    """Send good traffic, 100 requests a second, and wait for its answers."""
    generator = OpenLoop(server.port, ledger)
    first = ledger.sent()
    await generator.run(works(calls, "/echo", first=first, times=1), 100, seed=first)
    await generator.close()


@pytest.mark.slow  # What is slow is given ten seconds.
def test_f20_slow_clients_are_ended_and_hold_up_nobody(recording, reached, on_loop):
    slow = count(90, 2000)

    beside = Beside()

    async def creep(kind: int, after_s: float) -> tuple[int, float]:
        """Send a byte now and then; return the status that ended it, and when."""
        # Not all at once: it is their number that is to hurt, not a moment's haste of the load.
        await asyncio.sleep(after_s)
        reader, writer = await asyncio.open_connection("127.0.0.1", recording.port)
        began_s = time.monotonic()
        if kind == 1:
            writer.write(head("/echo", 5000))
        data = b"POST /echo HTTP/1.1\r\nX-Slow: ".ljust(5000, b"y")
        try:
            for at in range(40):
                writer.write(data[at : at + 1] if kind != 1 else b" ")
                try:
                    async with asyncio.timeout(1.0):
                        received = await reader.read(4096)
                except TimeoutError:
                    continue
                status = int(received[9:12]) if received.startswith(b"HTTP") else 0
                return status, time.monotonic() - began_s
            return -1, time.monotonic() - began_s
        except ConnectionError:
            return 0, time.monotonic() - began_s
        finally:
            writer.close()

    async def load() -> tuple[Ledger, Ledger, list[tuple[int, float]]]:
        calm, busy = Ledger(owner_of_work), Ledger(owner_of_work)
        await _good(recording, calm, 1000)
        async with beside:
            creeping = [asyncio.create_task(creep(at % 2, at / slow)) for at in range(slow)]
            await _good(recording, busy, 1000)
        ends = await asyncio.gather(*creeping)
        return calm, busy, ends

    calm, busy, ends = on_loop(load())
    statuses = {status: [status for status, _ in ends].count(status) for status, _ in ends}
    slowdown = busy.quantile_ms(0.99) / max(1.0, calm.quantile_ms(0.99))
    reached(
        "F-20",
        f"{slow} connections that send a byte a second, half in the head, half in the body",
        "all told 408 or closed; good traffic right",
        f"{statuses} after at most {max(took_s for _, took_s in ends):.0f} s; {busy}",
        set(statuses) <= {0, 408} and busy.count("right") == busy.sent(),
    )
    reached(
        "F-20",
        f"{slow} slow connections",
        "p99 of good traffic < 2 × undisturbed",
        f"{busy.quantile_ms(0.99):.1f} ms, {slowdown:.1f} ×; {beside}",
        slowdown < 2,
    )
    assert set(statuses) <= {0, 408}, statuses
    assert busy.count("right") == busy.sent(), str(busy)


def test_f27_what_nobody_waits_for_any_more_never_runs(serve, reached, on_loop):
    server = serve("Steady", workers=1)
    rounds = count(2, 200)
    queued = 40
    before = _open_files(server)

    async def load() -> tuple[Ledger, set[int]]:
        """Fill a queue behind a call that takes its time, and leave it again."""
        ledger = Ledger()
        generator = OpenLoop(server.port, ledger)
        gone, number = set[int](), 0
        for _ in range(rounds):
            for at in range(queued + 1):
                leaves = at > 0 and at % 2 == 0
                seconds = 0.4 if at == 0 else 0.001
                body = b'{"value":%d,"seconds":%f}' % (number, seconds)
                call = Call(number, post("/slowly", body), body=b"%d" % (2 * number))
                if leaves:
                    call.kind, call.leave_after_s = "leaving", 0.1
                    gone.add(number)
                generator.send(call)
                number += 1
                if at == 0:
                    await asyncio.sleep(0.05)
            await generator.settle()
        await generator.close()
        return ledger, gone

    ledger, gone = on_loop(load())
    ran = {int(line) for line in server.noted("ran")}
    ran_for_nobody = len(ran & gone)
    server.until(lambda: server.metric("dosirak_requests_in_progress") == 1.0)
    leaked = _open_files(server) - before
    holds = ran_for_nobody <= 0.05 * len(gone)
    reached(
        "F-27",
        f"{len(gone)} clients that leave while their request waits",
        "≥ 95 % never run; the others unaffected; nothing leaked",
        f"{ran_for_nobody} ran; {ledger}; {leaked} more open files",
        holds and leaked <= 0 and ledger.count("right", "good") == ledger.sent("good"),
    )
    assert ledger.count("right", "good") == ledger.sent("good"), str(ledger)
    assert ledger.count("left", "leaving") == len(gone)
    assert ran_for_nobody <= 0.05 * len(gone)
    # The connection of the last look at the metrics may still be there.
    assert leaked <= 2


def _class_of(status: int, *, harmless: bool) -> str:
    if status >= 500 and status != 501:
        return "5xx"
    return "ok" if status >= 400 or harmless else f"taken {status}"


def _open_files(server: Served) -> int:
    return sum(process.num_fds() for process in server.processes())
