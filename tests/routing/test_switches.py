"""Traffic moves from revision to revision: nothing is lost, nobody sees the old after the new."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections import Counter

import pytest
from ledger import Ledger
from numbered import owner_of_work, works
from open_loop import OpenLoop
from routed import Replica, Routed, revision, until

from dosirak.deployment.routing import RoutedDeployment


class InOrder:
    """A client that asks one thing after another, and what it may see."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.begun = self.applied = self.seen = 0
        self.asked = 0
        self.wrong: list[str] = []

    def __enter__(self) -> InOrder:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join(30)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._end.is_set():
            must_see = self.applied
            connection.request("GET", self._path)
            answer = connection.getresponse()
            answer.read()
            self.asked += 1
            number = int(answer.headers.get("x-dosirak-revision", 0))
            # Revisions take turns: another one than before means the next switch.
            self.seen += number != self.seen % 2 + 1
            if answer.status != 200 or not must_see <= self.seen <= self.begun:
                self.wrong.append(f"{answer.status}: {must_see} {self.seen} {self.begun}")
        connection.close()


def switched(routed: Routed, a: Replica, b: Replica, times: int, rate_per_s: float) -> None:
    def blue_green(switch: int) -> RoutedDeployment:
        green = switch % 2 * 100
        revisions = (
            revision(1, 100 - green, a, idempotent_paths=("/work",)),
            revision(2, green, b, idempotent_paths=("/work",)),
        )
        return RoutedDeployment("flip", revisions)

    routed.put(blue_green(0))
    ledger = Ledger(owner_of_work)
    load = OpenLoop(routed.port, ledger)
    over = threading.Event()

    async def run() -> None:
        def calls() -> object:
            endless = works(10**9, "/flip/work")
            while not over.is_set():
                yield next(endless)

        await load.run(calls(), rate_per_s)
        await load.close()

    with InOrder(routed.port, "/flip/who") as client:
        asking = threading.Thread(target=asyncio.run, args=(run(),))
        asking.start()
        try:
            for switch in range(1, times + 1):
                client.begun = switch
                routed.put(blue_green(switch))
                client.applied = switch
                until(lambda now=switch: client.seen == now or not client._thread.is_alive())
        finally:
            over.set()
            asking.join(60)
    assert client.wrong == []
    assert client.seen == times
    assert client.asked > times
    assert ledger.unaccounted == 0
    assert ledger.count("right") == ledger.sent() > times, str(ledger)


def test_a_switch_is_one_moment_for_each_client(routed: Routed, a: Replica, b: Replica) -> None:
    switched(routed, a, b, times=50, rate_per_s=150)


@pytest.mark.slow
def test_a_thousand_switches(routed: Routed, a: Replica, b: Replica) -> None:
    switched(routed, a, b, times=1000, rate_per_s=200)


def test_weights_are_shares_of_the_requests(routed: Routed, a: Replica, b: Replica) -> None:
    routed.put(RoutedDeployment("share", (revision(1, 80, a), revision(2, 20, b))))
    connection = http.client.HTTPConnection("127.0.0.1", routed.port, timeout=30)
    seen = Counter[str]()
    for _ in range(600):
        connection.request("GET", "/share/who")
        answer = connection.getresponse()
        answer.read()
        seen[answer.headers["x-dosirak-revision"]] += 1
    connection.close()
    assert set(seen) == {"1", "2"}
    assert 60 < seen["2"] < 190  # 120 ± seven standard deviations.


def test_the_share_of_a_revision_without_replicas_goes_to_the_others(
    routed: Routed, a: Replica
) -> None:
    routed.put(RoutedDeployment("gone", (revision(1, 10, a), revision(2, 90))))
    assert {routed.ask("/gone/x").status for _ in range(30)} == {200}


def test_a_replica_keeps_its_requests_when_it_gets_no_more(
    routed: Routed, a: Replica, b: Replica
) -> None:
    routed.put(RoutedDeployment("drain", (revision(1, 100, a, b),)))
    routed.put(RoutedDeployment("drain", (revision(1, 100, a),)))
    answers = list[bytes]()
    asking = [
        threading.Thread(target=lambda path=path: answers.append(routed.ask(path).body))
        for path in ("/drain/slow?ms=700", "/drain/stream?n=8&ms=100")
    ]
    for thread in asking:
        thread.start()
    until(lambda: routed.router.in_flight("a") == 2)
    routed.put(RoutedDeployment("drain", (revision(1, 100, b),)))
    assert routed.router.in_flight("a") == 2
    assert {routed.ask("/drain/who").json["who"] for _ in range(20)} == {"b"}
    for thread in asking:
        thread.join(30)
    until(lambda: routed.router.in_flight("a") == 0)
    streamed = b"".join(b"a %d\n" % number for number in range(8))
    assert sorted(answers)[0] == streamed
    assert b'"who": "a"' in sorted(answers)[1]


def test_clusters_go_once_nothing_leads_to_them(routed: Routed, a: Replica, b: Replica) -> None:
    routed.router._old._linger_s = 0.0
    for replica in (a, b, a, b):
        routed.put(RoutedDeployment("tidy", (revision(1, 100, replica),)))
    routed.router.ensure_running()
    held = [name for name in routed.router._files.held("clusters") if name.startswith("tidy@")]
    assert len(held) == 1
    assert routed.ask("/tidy/who").json["who"] == "b"


def test_an_unchanged_table_has_the_version_that_it_had(routed: Routed, a: Replica) -> None:
    routed.router.ensure_running()
    version = routed.put(RoutedDeployment("same", (revision(1, 100, a),)))
    assert routed.apply() == version
    assert routed.put(RoutedDeployment("same", (revision(2, 100, a),))) > version


def test_what_was_counted_is_told_by_revision(routed: Routed, a: Replica, b: Replica) -> None:
    routed.put(
        RoutedDeployment("count.1", (revision(1, 0, a), revision(12, 100, b))),
        RoutedDeployment("count", (revision(1, 100, a),)),
    )
    for path, times in (("/count.1/x", 3), ("/count.1@1/x", 2), ("/count/x", 1)):
        for _ in range(times):
            routed.ask(path)

    def counted() -> dict[tuple[str, int], int]:
        traffic = routed.router.traffic()
        return {
            (one.deployment, one.revision): one.requests
            for one in traffic
            if one.deployment.startswith("count")
        }

    assert counted() == {("count.1", 12): 3, ("count.1", 1): 2, ("count", 1): 1}
    # Counters outlive the replicas of a revision.
    routed.put(RoutedDeployment("count", (revision(1, 100, b),)))
    assert counted()["count", 1] == 1
    until(lambda: any(one.latency_ms for one in routed.router.traffic()))


def test_more_requests_than_the_deployment_may_have_are_refused(routed: Routed, a: Replica) -> None:
    routed.put(RoutedDeployment("full", (revision(1, 100, a),), max_requests=1))
    slow = threading.Thread(target=routed.ask, args=("/full/slow?ms=600",))
    slow.start()
    until(lambda: routed.router.in_flight("a") == 1)
    refused = routed.ask("/full/x")
    slow.join(30)
    assert (refused.status, refused.json["code"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert routed.ask("/full/x").status == 200


def test_the_timeout_is_for_the_head_of_the_answer(routed: Routed, a: Replica) -> None:
    deployment = RoutedDeployment(
        "late", (revision(1, 100, a, idempotent_paths=("/hang",)),), timeout_s=0.4
    )
    routed.put(deployment)
    for path in ("/late/slow?ms=20000", "/late/hang"):
        late = routed.ask(path)
        assert (late.status, late.json["code"]) == (504, "deadline_exceeded")
    began_s = time.monotonic()
    assert routed.ask("/late/stream?n=10&ms=100").body.count(b"\n") == 10
    assert time.monotonic() - began_s > deployment.timeout_s
