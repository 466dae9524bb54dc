"""When a replica that ended by itself is replaced: at once, or later each time it ends too soon.

Pure: what ended when, and the clock → when the next may start.
"""

from __future__ import annotations

from collections.abc import Iterable

from dosirak.deployment.records import Replica, ReplicaPhase

# One that answered for so long did its work; it is replaced at once, however often it ends.
_LIVED_S = 1.0
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0


def next_start_at(replicas: Iterable[Replica]) -> float:
    """Return when another replica of one revision may start; 0 for at once.

    Args:
        replicas: all of the revision that are known, ended ones included.
    """
    failures = sorted(
        (replica for replica in replicas if replica.phase is ReplicaPhase.FAILED),
        key=lambda replica: replica.since_at,
        reverse=True,
    )
    last_ready_at = max((replica.ready_at or 0.0 for replica in replicas), default=0.0)
    soon = 0
    for failure in failures:
        if not _ended_too_soon(failure) or failure.since_at < last_ready_at:
            break
        soon += 1
    if not soon:
        return 0.0
    return failures[0].since_at + min(_FIRST_DELAY_S * 2 ** (soon - 1), _LONGEST_DELAY_S)


def _ended_too_soon(replica: Replica) -> bool:
    return replica.ready_at is None or replica.since_at - replica.ready_at < _LIVED_S
