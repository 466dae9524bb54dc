"""When a worker holds too much memory, and what to do about it. Pure, but for one reading.

    (what each worker holds, limit, clock) ─▶ recycle one | kill

Over the limit a worker is recycled, one at a time, the largest first: another becomes ready before
it goes, so nobody notices. Over the hard limit there is no time for that and it is ended. What a
worker holds is read from the system, never asked of user code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dosirak.errors import InvalidConfiguration

# A worker over the limit this soon after its predecessor was: recycle it, but not in circles.
LEAST_BETWEEN_S = 30.0
_SOON_S = 300.0
_HARD_FACTOR = 1.5
# Not what could be dropped again at once: files that are mapped, such as weights.
_HELD = ("RssAnon:", "RssShmem:", "VmSwap:")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """How much a worker may hold.

    Attributes:
        soft_bytes: over it the worker is recycled.
        hard_bytes: over it the worker is ended.
    """

    soft_bytes: int
    hard_bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One worker as it stands.

    Attributes:
        place: which it is.
        used_bytes: what it holds; 0 while it cannot be asked.
        recycled_s: when the worker in this place was last recycled.
    """

    place: int
    used_bytes: int
    recycled_s: float | None


@dataclass(frozen=True, slots=True)
class Recycle:
    """Replace this worker without losing anything.

    Attributes:
        again: its predecessor was recycled not long ago.
    """

    place: int
    used_bytes: int
    again: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """End this worker now."""

    place: int
    used_bytes: int


Action: TypeAlias = "Recycle | Kill"


def limit_of(soft_bytes: int | None, hard_bytes: int | None) -> MemoryLimit | None:
    """Return the limit that a person asked for.

    Raises:
        InvalidConfiguration: the limits contradict each other, or cannot be watched here.
    """
    if soft_bytes is None and hard_bytes is None:
        return None
    soft = soft_bytes if soft_bytes is not None else hard_bytes or 0
    hard = hard_bytes if hard_bytes is not None else round(soft * _HARD_FACTOR)
    if not 0 < soft <= hard:
        raise InvalidConfiguration(
            "The memory limits of a worker contradict each other.",
            remedy="Use a positive limit, and a hard limit that is not below it.",
        )
    if not _status_of("self").is_file():
        raise InvalidConfiguration(
            "The memory of workers cannot be watched on this system.",
            remedy="Leave the limit out, or serve on Linux.",
        )
    return MemoryLimit(soft, hard)


def check_room(limit: MemoryLimit, used_bytes: int) -> None:
    """Refuse a limit under which a worker would be replaced as soon as it is ready.

    Raises:
        InvalidConfiguration: it is one.
    """
    if used_bytes > limit.soft_bytes:
        raise InvalidConfiguration(
            f"A worker holds {_mib(used_bytes)} MiB when it is ready, and may hold"
            f" {_mib(limit.soft_bytes)} MiB.",
            remedy="Raise --worker-memory-limit, or Resources.memory_bytes, and leave room for the"
            " calls.",
        )


def limit_of_share(share_bytes: int | None) -> MemoryLimit | None:
    """Return the limit of a worker whose share of the service's memory is this, where it can be."""
    if share_bytes is None or not _status_of("self").is_file():
        return None
    return limit_of(share_bytes, None)


def decide(
    workers: Sequence[Standing], limit: MemoryLimit, *, now_s: float, recycling: bool
) -> Iterator[Action]:
    """Decide what to do now.

    Args:
        workers: every worker.
        limit: how much each may hold.
        now_s: the time.
        recycling: one is being recycled: no other is, so that memory is needed once.
    """
    for worker in workers:
        if worker.used_bytes > limit.hard_bytes:
            yield Kill(worker.place, worker.used_bytes)
    over = [
        worker
        for worker in workers
        if limit.soft_bytes < worker.used_bytes <= limit.hard_bytes
        and _since_s(worker, now_s) >= LEAST_BETWEEN_S
    ]
    if over and not recycling:
        largest = max(over, key=lambda worker: worker.used_bytes)
        yield Recycle(largest.place, largest.used_bytes, again=_since_s(largest, now_s) < _SOON_S)


def private_bytes(pid: int) -> int:
    """Return what a process holds and could not give back; 0 when it cannot be read."""
    try:
        lines = _status_of(str(pid)).read_text().splitlines()
    except OSError:
        return 0
    # Each line is `name: number kB`.
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_HELD))


def _mib(size_bytes: int) -> int:
    return round(size_bytes / 2**20)


def _since_s(worker: Standing, now_s: float) -> float:
    return float("inf") if worker.recycled_s is None else now_s - worker.recycled_s


def _status_of(process: str) -> Path:
    return Path("/proc") / process / "status"
