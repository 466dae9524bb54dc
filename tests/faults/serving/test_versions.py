"""F-04 and F-07: a version that is no good never serves, and one that leaks is replaced in time."""

from __future__ import annotations

import asyncio

import pytest
from fault_table import SHARE, count
from ledger import Call, Ledger
from numbered import FIRST, doublings, owner_of_doubled, owner_of_work, post, works
from open_loop import OpenLoop
from served import VICTIMS

_WHERE = '    """Doubles numbers in batches, and dies of some."""\n'
# What a person can get wrong in a new version, and what must be said of it.
BAD_VERSIONS = {
    "raises when it starts": (
        _WHERE + '    def __init__(self):\n        raise RuntimeError("no weights today")\n',
        "no weights today",
    ),
    "is no Python": (_WHERE + "    def double(self:\n", "SyntaxError"),
    "ends its process": (
        _WHERE + "    def __init__(self):\n        import os\n        os._exit(3)\n",
        "ended while it started",
    ),
    "does not exist any more": (None, "Doubling"),
}


def test_f04_a_version_that_is_no_good_never_serves(serve, reached, on_loop):
    server = serve("Doubling", editable=True)
    rounds = count(1, 25)
    versions = list(BAD_VERSIONS.items())[: None if SHARE else 1]
    workers = server.workers()
    good = VICTIMS.read_text()
    found: list[tuple[str, int, bool]] = []

    def deploy() -> None:
        for _ in range(rounds):
            for name, (broken, reason) in versions:
                changed = good.replace(_WHERE, broken) if broken else good.replace("Doubling", "X")
                assert changed != good
                server.file.write_text(changed)
                status, outcome = server.reload()
                found.append((name, status, reason in str(outcome)))
        server.file.write_text(good)

    async def load() -> Ledger:
        ledger = Ledger(owner_of_doubled)
        deploying = asyncio.create_task(asyncio.to_thread(deploy))
        number = 0
        generator = OpenLoop(server.port, ledger)
        while not deploying.done():
            await generator.run(doublings(50, first=number), 100, seed=number)
            number += 50
        await deploying
        await generator.close()
        return ledger

    ledger = on_loop(load())
    refused = sum(status >= 400 for _, status, _ in found)
    said = sum(named for _, _, named in found)
    survived = server.workers() == workers
    whole = ledger.count("right") == ledger.sent()
    reached(
        "F-04",
        f"{len(found)} reloads to versions that raise, end or cannot be read, under 100 requests/s",
        "never ready; the old one serves 100 %; the reason is said",
        f"{refused} refused, {said} with the reason; old workers serve on: {survived}; {ledger}",
        refused == said == len(found) and survived and whole,
    )
    assert [each for each in found if each[1] < 400 or not each[2]] == []
    assert survived
    assert whole, str(ledger)
    assert server.metric("dosirak_workers_ready") == 2


@pytest.mark.slow  # Recycling waits for another worker: tests of the services do that already.
def test_f07_a_worker_that_leaks_memory_is_replaced_before_it_hurts(serve, reached, on_loop):
    options = ("--worker-memory-limit", "160MiB", "--worker-memory-hard-limit", "1GiB")
    server = serve("Leaking", *options)
    recyclings, kept_mib = count(1, 40), 2 if SHARE else 8
    largest = 0

    def leaks(number: int) -> Call:
        value = FIRST + number
        body = b'{"value":%d,"mebibytes":%d}' % (value, kept_mib)
        return Call(number, post("/memory", body), body=b"%d" % (2 * value))

    async def load() -> Ledger:
        nonlocal largest
        ledger = Ledger(owner_of_work)
        generator = OpenLoop(server.port, ledger)
        number = 0
        while server.metric("dosirak_worker_restarts_total") < recyclings:
            await generator.run(map(leaks, range(number, number + 10)), 40, seed=number)
            number += 10
            largest = max(largest, *(process.memory_info().rss for process in server.processes()))
            assert number < 4000 * recyclings, server.log()[-2000:]
        await generator.close()
        return ledger

    ledger = on_loop(load())
    whole = ledger.count("right") == ledger.sent()
    killed = server.metric('dosirak_worker_restarts_total{reason="SIG')
    reached(
        "F-07",
        f"{ledger.sent()} calls that keep {kept_mib} MiB each; limit of a worker 160 MiB",
        "the worker is recycled before it hurts, 0 lost",
        f"{recyclings} recycled, none killed: {killed == 0}; at most {largest / 2**20:.0f} MiB;"
        f" {ledger}",
        whole and killed == 0,
    )
    assert whole, str(ledger)
    assert killed == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "thread"])
def test_f07_files_and_threads_that_leak_hurt_who_leaks_them_alone(serve, reached, on_loop, kind):
    server = serve("Leaking", workers=1)
    calls = count(400, 4000)

    async def load() -> Ledger:
        ledger = Ledger(owner_of_work)
        generator = OpenLoop(server.port, ledger, most_connections=16)
        await generator.run(works(calls, f"/{kind}"), 400)
        await generator.close()
        return ledger

    ledger = on_loop(load())
    right, told = ledger.count("right"), ledger.count("told")
    reached(
        "F-07",
        f"{calls} calls that each keep {'a file open (256 allowed)' if kind == 'files' else kind}",
        f"nobody is hurt by it, 0 lost ({kind}; recycled for memory alone)",
        str(ledger),
        right == calls,
    )
    assert ledger.unaccounted == 0
    assert right + told == calls, str(ledger)
