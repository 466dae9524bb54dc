"""F-04, F-50, F-53, F-55: what callers notice of updates, rollbacks and switches: nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

from deployed import Platform, until
from fault_table import SHARE, count
from ledger import Call, Ledger
from numbered import FIRST, owner_of_work, post
from open_loop import OpenLoop


def doubled(
    name: str, count: int, *, first: int = 0, kind: str = "good", api: str = "double"
) -> Iterator[Call]:
    for number in range(first, first + count):
        value = FIRST + number
        yield Call(
            number,
            post(f"/{name}/{api}", b'{"value":%d}' % value),
            body=b"%d" % (2 * value),
            kind=kind,
        )


async def load_while(
    platform: Platform, name: str, work: Callable[[], None], rate_per_s: float
) -> Ledger:
    """Send numbered requests by the clock for as long as `work` takes in another thread."""
    ledger = Ledger(owner_of_work)
    working = asyncio.create_task(asyncio.to_thread(work))
    generator = OpenLoop(platform.port, ledger)
    number = 0
    try:
        while not working.done():
            await generator.run(doubled(name, 200, first=number), rate_per_s, seed=number)
            number += 200
        await working
    finally:
        await generator.close()
    return ledger


def await_revision(platform: Platform, name: str, version: int) -> None:
    until(lambda: platform.view(name)["rollout"]["phase"] == "completed")
    assert platform.call(name, "version") == version


def _serves(platform: Platform, name: str, version: int) -> bool:
    return bool(platform.call(name, "version") == version)


def test_f50_updates_one_after_the_other_lose_nothing(platform, bundles, name, reached, on_loop):
    updates = count(2, 100)
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    rate_per_s = 400.0 if SHARE else 100.0
    calm = on_loop(load_while(platform, name, lambda: time.sleep(3), rate_per_s))

    def update() -> None:
        for number in range(updates):
            version = 1 + (number + 1) % 2
            platform.ask(
                "PATCH",
                f"/deployments/{name}",
                {"bundle": bundles[version - 1], "configuration": {"keep_previous_s": 0}},
            )
            await_revision(platform, name, version)

    ledger = on_loop(load_while(platform, name, update, rate_per_s))
    whole = ledger.count("right") == ledger.sent()
    slower = ledger.quantile_ms(0.99) / max(0.1, calm.quantile_ms(0.99))
    reached(
        "F-50",
        f"{updates} rolling updates back to back at {rate_per_s:.0f} requests/s,"
        f" {ledger.sent():,} requests",
        "0 lost, 0 wrong",
        str(ledger),
        whole,
    )
    reached(
        "F-50",
        "the same",
        "p99 during them ≤ 2 × the calm one",
        f"{ledger.quantile_ms(0.99):.1f} ms, calm {calm.quantile_ms(0.99):.1f} ms: {slower:.1f} ×",
        slower <= 2,
    )
    assert whole, str(ledger)
    assert ledger.unaccounted == 0


def test_f53_a_rollback_moves_everything_at_once(platform, bundles, name, reached, on_loop):
    rollbacks = count(2, 50)
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    platform.ask("PATCH", f"/deployments/{name}", {"bundle": bundles[1]})
    await_revision(platform, name, 2)
    took_s: list[float] = []

    def roll_back() -> None:
        version = 2
        for _ in range(rollbacks):
            version = 3 - version
            platform.ask("POST", f"/deployments/{name}/rollback", {})
            took_s.append(until(partial(_serves, platform, name, version)))
            for _ in range(20):
                assert platform.call(name, "version") == version
            until(lambda: platform.view(name)["rollout"]["phase"] == "completed")

    ledger = on_loop(load_while(platform, name, roll_back, 200))
    whole = ledger.count("right") == ledger.sent()
    reached(
        "F-53",
        f"{rollbacks} rollbacks (and rollbacks of rollbacks) under 200 requests/s",
        "all traffic on the old revision ≤ 1 s, 0 lost",
        f"at most {max(took_s):.2f} s; {ledger}",
        whole and max(took_s) <= 1,
    )
    assert whole, str(ledger)


def test_f55_no_caller_sees_the_old_revision_after_the_new_one(platform, bundles, name, reached):
    switches = count(3, 1000)
    platform.deploy(name, bundles[0], "--strategy", "blue_green")
    platform.ask("PATCH", f"/deployments/{name}", {"bundle": bundles[1]})
    await_revision(platform, name, 2)
    version, backwards, calls = 2, 0, 0
    for _ in range(switches):
        version = 3 - version
        platform.ask("POST", f"/deployments/{name}/rollback", {})
        switched = False
        deadline_s = time.monotonic() + 30
        while not switched or calls % 8:
            calls += 1
            seen = platform.call(name, "version")
            backwards += switched and seen != version
            switched = switched or seen == version
            assert time.monotonic() < deadline_s
        until(lambda: platform.view(name)["rollout"]["phase"] == "completed")
    reached(
        "F-55",
        f"{switches} switches between two warm revisions, {calls:,} calls one after the other",
        "no caller sees the old after the new",
        f"{backwards} did",
        backwards == 0,
    )
    assert backwards == 0


def test_f04_a_revision_that_is_no_good_never_gets_a_request(
    platform, bundles, name, reached, on_loop
):
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    broken = {
        "raises": "raise RuntimeError('no weights today')",
        "ends its process": "os._exit(3)",
    }
    if not SHARE:
        del broken["raises"]
    outcomes: list[str] = []

    def deploy_all() -> None:
        for start in broken.values():
            bundle = platform.build(9, start=start)
            platform.ask("PATCH", f"/deployments/{name}", {"bundle": bundle})
            until(
                lambda: platform.view(name)["rollout"]["phase"] in ("failed", "completed"),
                180,
            )
            outcomes.append(platform.view(name)["rollout"]["phase"])

    ledger = on_loop(load_while(platform, name, deploy_all, 100))
    whole = ledger.count("right") == ledger.sent()
    held = whole and outcomes == ["failed"] * len(broken)
    reached(
        "F-04",
        f"updates to revisions that {' and '.join(broken)} at their start, under 100 requests/s",
        "stopped by themselves; the old one keeps 100 %",
        f"{', '.join(outcomes)}; {ledger}",
        held,
    )
    assert held, f"{outcomes} {ledger}"
    assert platform.call(name, "version") == 1
