"""Two billion requests a month: 772 a second, with updates and rollbacks among them."""

from __future__ import annotations

import time
from functools import partial

import pytest
from deployed import Platform
from fault_table import SHARE
from test_rollouts import await_revision, load_while

_MONTH_PER_S = 772.0
_LASTS_S = 65 * 60
_UPDATES, _ROLLBACKS = 6, 2
# What the post that asked for this system promises its callers.
_P50_MS, _P95_MS = 80.0, 200.0


@pytest.mark.slow  # The suites of rollouts and of the control plane do the same in small.
def test_l1_the_load_of_a_month_with_updates_and_rollbacks(
    platform, bundles, name, reached, on_loop
):
    lasts_s = max(20.0, _LASTS_S * SHARE)
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    work = partial(_changes, platform, bundles, name, lasts_s)
    ledger = on_loop(load_while(platform, name, work, _MONTH_PER_S))
    whole = ledger.count("right") == ledger.sent()
    quantiles = {q: ledger.quantile_ms(q) for q in (0.5, 0.95, 0.99, 0.999)}
    done = (
        f"{ledger.sent():,} requests at {_MONTH_PER_S:.0f}/s over {lasts_s / 60:.0f} min,"
        f" {_UPDATES} updates, {_ROLLBACKS} rollbacks"
    )
    reached("L-1", done, "0 lost, 0 wrong", str(ledger), whole and not ledger.unaccounted)
    reached(
        "L-1",
        "the same",
        f"p50 ≤ {_P50_MS:.0f} ms, p95 ≤ {_P95_MS:.0f} ms",
        ", ".join(f"p{100 * q:g} {value:.1f} ms" for q, value in quantiles.items()),
        quantiles[0.5] <= _P50_MS and quantiles[0.95] <= _P95_MS,
    )
    assert whole, str(ledger)


def _changes(platform: Platform, bundles: list[str], name: str, lasts_s: float) -> None:
    """Update and roll back at even distances, until the time is over."""
    deadline_s = time.monotonic() + lasts_s
    steps = ["update"] * 3 + ["rollback"] + ["update"] * 3 + ["rollback"]
    assert (steps.count("update"), steps.count("rollback")) == (_UPDATES, _ROLLBACKS)
    version = 1
    for number, step in enumerate(steps):
        due_s = deadline_s - lasts_s * (len(steps) - number) / (len(steps) + 1)
        time.sleep(max(0.0, due_s - time.monotonic()))
        version = 3 - version
        if step == "update":
            body = {"bundle": bundles[version - 1]}
            platform.ask("PATCH", f"/deployments/{name}", body)
        else:
            platform.ask("POST", f"/deployments/{name}/rollback", {})
        await_revision(platform, name, version)
    time.sleep(max(0.0, deadline_s - time.monotonic()))
