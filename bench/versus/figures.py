"""What must be reached, and what a run reached: ratios of medians within that run.

A figure whose workload or system was not in the run is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workloads import (
    BATCHED_C64,
    BATCHED_C128,
    ECHO,
    IRIS_C64,
    ONE_WORKER,
    SLOW_CLOSED,
    SLOW_LIMIT_PER_S,
    SLOW_OPEN,
    SLOW_SERVICE_S,
    TENSOR,
    TWO_WORKERS,
)

OURS, BARE, ALONE = "dosirak", "prototype", "model alone"
Runs = Mapping[str, Mapping[str, list[dict[str, float]]]]


@dataclass(frozen=True)
class Figure:
    """One thing that must be reached."""

    workload: str
    must: str
    reached: str
    holds: bool

    def __str__(self) -> str:
        mark = "yes" if self.holds else "NO"
        return f"{self.workload:26} {self.must:44} {self.reached:28} {mark}"


class Medians:
    """The medians of a run."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def of(self, workload: str, system: str, name: str) -> float | None:
        found = [run[name] for run in self._runs.get(workload, {}).get(system, ())]
        return statistics.median(found) if found else None

    def ratio(self, workload: str, other: str, name: str = "rate") -> float | None:
        ours, theirs = self.of(workload, OURS, name), self.of(workload, other, name)
        return None if ours is None or not theirs else ours / theirs

    def peers(self, workload: str, name: str) -> dict[str, float]:
        names = [each for each in self._runs.get(workload, {}) if each not in (OURS, BARE, ALONE)]
        found = {each: self.of(workload, each, name) for each in names}
        return {each: value for each, value in found.items() if value is not None}


def figures(runs: Runs) -> list[Figure]:
    """Judge a run."""
    medians = Medians(runs)
    return [*_ratios(medians), *_slow(medians), *_highest(medians), *_scaling(medians),
            *_starts(medians), *_overhead(medians)]  # fmt: skip


def _ratios(medians: Medians) -> Iterator[Figure]:
    wanted = [
        (ECHO, "mosec", 2.5), (ECHO, "bentoml", 60), (IRIS_C64, "mosec", 1.3),
        (IRIS_C64, "bentoml", 8), (BATCHED_C64, "mosec", 2), (BATCHED_C64, "bentoml", 60),
        (BATCHED_C128, "mosec", 2), (BATCHED_C128, "bentoml", 60),
    ]  # fmt: skip
    for workload, peer, least in wanted:
        ratio = medians.ratio(workload, peer)
        if ratio is not None:
            yield Figure(workload, f"≥ {least:g} × {peer}", f"{ratio:.2f} ×", ratio >= least)
    for workload in (BATCHED_C64, BATCHED_C128):
        ratio = medians.ratio(workload, "mosec", "p99_ms")
        if ratio is not None:
            yield Figure(workload, "p99 ≤ 0.2 × mosec's", f"{ratio:.2f} ×", ratio <= 0.2)


def _slow(medians: Medians) -> Iterator[Figure]:
    service_ms = SLOW_SERVICE_S * 1000
    limits = {SLOW_CLOSED: SLOW_LIMIT_PER_S, SLOW_OPEN: 0.8 * SLOW_LIMIT_PER_S}
    for workload, most in limits.items():
        rate, p99_ms = (medians.of(workload, OURS, name) for name in ("rate", "p99_ms"))
        if rate is None or p99_ms is None:
            continue
        what = "the physical limit" if workload == SLOW_CLOSED else "what is offered"
        share, times = rate / most, p99_ms / service_ms
        alone = medians.of(workload, ALONE, "rate")
        reached = f"{share:.1%}" + (f", the model alone {alone / most:.1%}" if alone else "")
        yield Figure(workload, f"≥ 95 % of {what} ({most:,.0f}/s)", reached, share >= 0.95)
        yield Figure(workload, f"p99 ≤ 2.5 × {service_ms:.1f} ms", f"{times:.2f} ×", times <= 2.5)


def _highest(medians: Medians) -> Iterator[Figure]:
    # Where all of what is offered is answered, the rates differ by chance alone.
    for workload, slack in ((SLOW_CLOSED, 1.0), (SLOW_OPEN, 0.99), (TENSOR, 1.0)):
        ours, peers = medians.of(workload, OURS, "rate"), medians.peers(workload, "rate")
        if ours is None or not peers:
            continue
        best = max(peers, key=lambda name: peers[name])
        reached = f"{ours:,.0f} against {peers[best]:,.0f} of {best}"
        yield Figure(workload, "no peer higher", reached, ours >= slack * peers[best])


def _scaling(medians: Medians) -> Iterator[Figure]:
    for system in [OURS, *medians.peers(TWO_WORKERS, "rate")]:
        one, two = (medians.of(label, system, "rate") for label in (ONE_WORKER, TWO_WORKERS))
        if one and two:
            must = "≥ 1.7 × one" if system == OURS else f"({system}, for comparison)"
            yield Figure(TWO_WORKERS, must, f"{two / one:.2f} ×", two / one >= 1.7)


def _starts(medians: Medians) -> Iterator[Figure]:
    # Of the server alone, and with a model whose library both of them must import.
    for workload in (ECHO, IRIS_C64):
        for name, label in (("start_s", "start to first answer"), ("idle_mib", "idle memory")):
            ratio = medians.ratio(workload, "bentoml", name)
            if ratio is not None:
                what = f"{label}, {workload.removesuffix(' c64')}"
                yield Figure(what, "≤ 0.5 × bentoml", f"{ratio:.2f} ×", ratio <= 0.5)


def _overhead(medians: Medians) -> Iterator[Figure]:
    for workload in (ECHO, BATCHED_C64, BATCHED_C128):
        ratio = medians.ratio(workload, BARE)
        if ratio is not None:
            must = "all features: ≥ 0.75 × the bare prototype"
            # The rate is bounded by the load's core, too; the CPU time of a request is not.
            cpu = medians.ratio(workload, BARE, "us_per_request") or 1.0
            reached = f"{ratio:.2f} ×, by CPU time {1 / cpu:.2f} ×"
            yield Figure(workload, must, reached, min(ratio, 1 / cpu) >= 0.75)
