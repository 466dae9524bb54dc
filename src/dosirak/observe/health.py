"""The rules of health: from what the workers are doing to live and ready. Pure.

Live means that waiting can help; when it is false the whole process should be replaced. Ready means
that a request sent now can be answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class WorkerState(Enum):
    """What one worker is doing."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    GIVEN_UP = "given_up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes answer.

    Attributes:
        live: false when no worker can come back.
        ready: true when a request sent now can be answered.
        reason: one sentence for a person.
    """

    live: bool
    ready: bool
    reason: str


def judge_health(workers: Iterable[WorkerState], *, draining: bool) -> Health:
    """Decide from the states of all workers, and whether the server is stopping."""
    states = tuple(workers)
    if draining:
        return Health(live=True, ready=False, reason="The server is stopping.")
    if WorkerState.READY in states:
        ready = states.count(WorkerState.READY)
        return Health(live=True, ready=True, reason=f"{ready} of {len(states)} workers are ready.")
    if states and all(state is WorkerState.GIVEN_UP for state in states):
        return Health(live=False, ready=False, reason="Every worker failed too often.")
    return Health(live=True, ready=False, reason="No worker is ready yet.")
