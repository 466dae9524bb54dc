"""Replicas that die, hang or were never there: who notices, and what is asked twice."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from ledger import Call, Ledger
from numbered import FIRST, owner_of_work, works
from open_loop import OpenLoop
from routed import Replica, Routed, revision, until

from dosirak.deployment.routing import RoutedDeployment, Upstream


@pytest.fixture
def pair(routed: Routed) -> Iterator[list[Replica]]:
    """Two replicas that a test may end."""
    two = [routed.replica(f"r{len(routed.replicas)}") for _ in range(2)]
    yield two
    for replica in two:
        if replica.process.poll() is None:
            replica.signal(signal.SIGCONT)
            replica.end()


def killed_in_turn(
    replicas: list[Replica], kills: int, pause_s: float, over: threading.Event
) -> Callable[[], None]:
    def kill() -> None:
        for turn in range(kills):
            time.sleep(pause_s)
            replica = replicas[turn % len(replicas)]
            replica.end()
            replica.start()
            before = len(replica.noted())
            # The next one may go once this one is asked again, or the load is over.
            until(lambda one=replica, seen=before: len(one.noted()) > seen or over.is_set())

    return kill


def loaded(routed: Routed, calls: Iterator[Call], rate_per_s: float) -> Ledger:
    ledger = Ledger(owner_of_work)

    async def run() -> None:
        load = OpenLoop(routed.port, ledger)
        await load.run(calls, rate_per_s)
        await load.close()

    asyncio.run(run())
    return ledger


def executed(replicas: list[Replica], path: str) -> Counter[int]:
    notes = (note.split(" ") for replica in replicas for note in replica.noted())
    return Counter(int(value) for noted, value in notes if noted == path)


def repeatable(pair: list[Replica]) -> RoutedDeployment:
    return RoutedDeployment("lost", (revision(1, 100, *pair, idempotent_paths=("/work",)),))


def broken(
    routed: Routed, pair: list[Replica], path: str, count: int, rate_per_s: float, kills: int
) -> Ledger:
    routed.put(repeatable(pair))
    pause_s = count / rate_per_s / (kills + 1)
    over = threading.Event()
    killing = threading.Thread(target=killed_in_turn(pair, kills, pause_s, over))
    killing.start()
    ledger = loaded(routed, works(count, f"/lost{path}"), rate_per_s)
    over.set()
    killing.join(60)
    assert ledger.unaccounted == 0
    return ledger


def check_repeated(routed: Routed, pair: list[Replica], count: int, kills: int) -> None:
    ledger = broken(routed, pair, "/work", count, 300, kills)
    assert ledger.count("right") == count, str(ledger)
    assert sum(executed(pair, "/work").values()) > count  # Some were begun twice.


def check_not_repeated(routed: Routed, pair: list[Replica], count: int, kills: int) -> None:
    ledger = broken(routed, pair, "/once", count, 300, kills)
    assert ledger.count("right") + ledger.count("told") == count, str(ledger)
    assert set(ledger.codes) == {"worker_lost"}
    ran = executed(pair, "/once")
    assert set(ran.values()) == {1}
    assert len(ran) >= ledger.count("right")


def test_what_may_run_twice_is_never_lost(routed: Routed, pair: list[Replica]) -> None:
    check_repeated(routed, pair, count=400, kills=2)


def test_what_may_not_run_twice_runs_once(routed: Routed, pair: list[Replica]) -> None:
    check_not_repeated(routed, pair, count=400, kills=2)


@pytest.mark.slow
def test_nothing_is_lost_for_a_minute(routed: Routed, pair: list[Replica]) -> None:
    check_repeated(routed, pair, count=18_000, kills=29)


@pytest.mark.slow
def test_nothing_runs_twice_for_a_minute(routed: Routed, pair: list[Replica]) -> None:
    check_not_repeated(routed, pair, count=18_000, kills=29)


def test_a_replica_that_stands_still_is_left(routed: Routed, pair: list[Replica]) -> None:
    routed.put(RoutedDeployment("still", (revision(1, 100, *pair),)))
    assert {routed.ask("/still/who").json["who"] for _ in range(40)} == {p.name for p in pair}
    pair[0].signal(signal.SIGSTOP)

    def left() -> bool:
        try:
            return all(routed.ask("/still/who", timeout_s=0.5).status == 200 for _ in range(20))
        except TimeoutError:
            return False

    until(left)
    assert {routed.ask("/still/who").json["who"] for _ in range(20)} == {pair[1].name}
    pair[0].signal(signal.SIGCONT)
    until(lambda: routed.ask("/still/who").json["who"] == pair[0].name)


def test_the_only_replica_is_asked_even_if_it_seems_unwell(
    routed: Routed, pair: list[Replica]
) -> None:
    routed.put(RoutedDeployment("only", (revision(1, 100, pair[0]),)))
    pair[0].end()
    gone = routed.ask("/only/x")
    assert (gone.status, gone.json["code"]) == (503, "unavailable")
    assert gone.headers["retry-after"] == "1"
    pair[0].start()
    until(lambda: routed.ask("/only/x").status == 200)


def test_a_replica_that_is_not_there_costs_nobody_an_answer(
    routed: Routed, pair: list[Replica]
) -> None:
    absent = Upstream("absent", str(routed.folder / "absent.sock"))
    here = revision(1, 100, pair[0])
    routed.put(RoutedDeployment("half", (type(here)(1, 100, (*here.upstreams, absent)),)))
    body = b'{"value":%d}' % FIRST
    answers = [routed.ask("/half/once", method="POST", body=body).body for _ in range(30)]
    assert set(answers) == {b"%d" % (2 * FIRST)}


def test_a_lost_replica_is_told_of_where_nothing_may_be_repeated(
    routed: Routed, pair: list[Replica]
) -> None:
    routed.put(RoutedDeployment("told", (revision(1, 100, pair[0]),)))
    answers = list[object]()
    asking = threading.Thread(target=lambda: answers.append(routed.ask("/told/hang")))
    asking.start()
    until(lambda: routed.router.in_flight(pair[0].name) == 1)
    pair[0].end()
    asking.join(30)
    assert [(a.status, a.json["code"]) for a in answers] == [(502, "worker_lost")]
