"""The thread that fills the traffic history: every two seconds, within a bounded time.

What it costs does not grow with what is looked at: one read of the router's counters, one query for
the replicas, and the metrics of a few replicas. A step that fails leaves a gap and is told once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from dosirak.deployment.control.batch_sizes import BatchSizes, ReplicaPlace
from dosirak.deployment.control.traffic_history import STEP_S, Counted, TrafficHistory
from dosirak.deployment.records import ReplicaPhase
from dosirak.deployment.routing import Router
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.target import Target
from dosirak.observe.logs import ROOT_LOGGER

_logger = logging.getLogger(f"{ROOT_LOGGER}.platform")
# For the replicas' metrics, of the two seconds.
_BATCHES_S = 0.5
# How long after its last sign of life a page counts as looking.
_LOOKED_AT_FOR_S = 10.0


class Onlookers:
    """Which deployments somebody looks at now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_at: dict[str, float] = {}

    def look(self, name: str) -> None:
        """Note that somebody looks at a deployment; a page says so again every few seconds."""
        with self._lock:
            self._seen_at[name] = self._clock()

    def names(self) -> frozenset[str]:
        """Return the deployments that are looked at."""
        oldest = self._clock() - _LOOKED_AT_FOR_S
        with self._lock:
            self._seen_at = {name: at for name, at in self._seen_at.items() if at > oldest}
            return frozenset(self._seen_at)


class TrafficCollector:
    """Counts every two seconds until it is stopped.

    Args:
        history: what it fills.
        router: whose counters it reads.
        places: the replicas that take requests; see `ready_replicas`.
        onlookers: whose replicas are asked for their batches first.
        clock: the wall clock.
    """

    def __init__(
        self,
        history: TrafficHistory,
        router: Router,
        places: Callable[[], Iterable[ReplicaPlace]],
        onlookers: Onlookers,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history = history
        self._router = router
        self._places = places
        self._onlookers = onlookers
        self._clock = clock
        self._batches = BatchSizes()
        self._stopping = threading.Event()
        self._told = ""

    def stop(self) -> None:
        """End after the present step."""
        self._stopping.set()

    def run(self) -> None:
        """Count at every step of the clock; called in a thread of its own."""
        while not self._stopping.wait(STEP_S - self._clock() % STEP_S):
            try:
                self.count()
                self._told = ""
            except Exception as error:
                self._tell(error)

    def count(self) -> None:
        """Take one step."""
        places = tuple(self._places())
        deadline = time.monotonic() + _BATCHES_S
        self._history.take(
            Counted(
                self._router.traffic(),
                Counter((place.deployment, place.revision) for place in places),
                self._batches.ask(places, self._onlookers.names(), deadline),
            ),
            self._clock(),
        )

    def _tell(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        if told != self._told:
            _logger.warning("Traffic could not be counted: %s", told)
        self._told = told


def ready_replicas(state: PlatformState, target: Target) -> tuple[ReplicaPlace, ...]:
    """Return the replicas that take requests, with their addresses."""
    with state.reading() as reading:
        replicas = reading.replicas()
    seen = target.look()
    return tuple(
        ReplicaPlace(
            replica.id,
            replica.deployment,
            replica.revision,
            seen[replica.id].upstream if replica.id in seen else None,
        )
        for replica in replicas
        if replica.phase is ReplicaPhase.READY
    )
