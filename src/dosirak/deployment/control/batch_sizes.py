"""How large the batches of replicas are, asked of their `/metrics` on their own sockets.

The router sees requests, not batches, so replicas are asked: a few at a time, those of deployments
that somebody looks at first. What a replica answers is bounded in time and size and judged as a
stranger's text: it runs its author's code.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dosirak.deployment.routing import Upstream

_TIMEOUT_S = 0.25
_MOST_BYTES = 2 << 20
_SUM = b"dosirak_batch_rows_sum"
_COUNT = b"dosirak_batch_rows_count"
# Replicas asked in one step: those that are looked at, and some of the others in turn.
_LOOKED_AT = 16
_IN_TURN = 4


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """A replica that takes requests, and where."""

    replica: str
    deployment: str
    revision: int
    upstream: Upstream | None = None


@dataclass(frozen=True, slots=True)
class RowsCounted:
    """Rows and messages of a replica since it began."""

    rows: float
    messages: float


class BatchSizes:
    """Remembers what replicas counted, to tell the mean since the time before.

    Args:
        timeout_s: how long a replica may take for each part of its answer.
    """

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._before: dict[str, RowsCounted] = {}
        self._turn: deque[str] = deque()

    def ask(
        self, places: Iterable[ReplicaPlace], looked_at: frozenset[str], deadline: float
    ) -> dict[tuple[str, int], float]:
        """Return the mean rows of the messages of each revision that was asked and had any.

        Args:
            places: all replicas that take requests.
            looked_at: names of deployments that somebody looks at.
            deadline: by the monotonic clock; those that were not asked by then are left out.
        """
        by_id = {place.replica: place for place in places if place.upstream is not None}
        self._before = {name: kept for name, kept in self._before.items() if name in by_id}
        found: dict[tuple[str, int], list[RowsCounted]] = {}
        for place in self._chosen(by_id, looked_at):
            if time.monotonic() > deadline or place.upstream is None:
                break
            counted = rows_counted(metrics_of(place.upstream, self._timeout_s))
            if counted is None:
                continue
            delta = rows_since(self._before.get(place.replica), counted)
            self._before[place.replica] = counted
            found.setdefault((place.deployment, place.revision), []).append(delta)
        return means(found)

    def _chosen(
        self, by_id: Mapping[str, ReplicaPlace], looked_at: frozenset[str]
    ) -> list[ReplicaPlace]:
        first = [one for one in by_id.values() if one.deployment in looked_at][:_LOOKED_AT]
        known = set(self._turn)
        self._turn.extend(name for name in by_id if name not in known)
        turned: list[ReplicaPlace] = []
        for _ in range(min(_IN_TURN, len(self._turn))):
            name = self._turn.popleft()
            if name in by_id:
                self._turn.append(name)
                if by_id[name] not in first:
                    turned.append(by_id[name])
        return first + turned


def rows_since(before: RowsCounted | None, counted: RowsCounted) -> RowsCounted:
    """Return what was counted since; a replica that was not asked before has nothing to compare."""
    if before is None or counted.messages < before.messages:
        return RowsCounted(0.0, 0.0)
    return RowsCounted(counted.rows - before.rows, counted.messages - before.messages)


def means(found: Mapping[tuple[str, int], list[RowsCounted]]) -> dict[tuple[str, int], float]:
    """Return rows per message of each revision that had a message."""
    sums = {
        key: (sum(one.rows for one in counted), sum(one.messages for one in counted))
        for key, counted in found.items()
    }
    return {key: rows / messages for key, (rows, messages) in sums.items() if messages > 0}


def rows_counted(text: bytes) -> RowsCounted | None:
    """Add up the batches of all apis in the text that `/metrics` answers; None if it has none."""
    rows = messages = 0.0
    seen = False
    for line in text.splitlines():
        if line.startswith(_SUM):
            rows += _value(line)
            seen = True
        elif line.startswith(_COUNT):
            messages += _value(line)
    return RowsCounted(rows, messages) if seen else None


def metrics_of(upstream: Upstream, timeout_s: float) -> bytes:
    """Return what a replica's `/metrics` answers; nothing when it does not answer in time."""
    connection = _Connection(upstream, timeout_s)
    try:
        connection.request("GET", "/metrics", headers={"host": "replica"})
        answer = connection.getresponse()
        return answer.read(_MOST_BYTES) if answer.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def _value(line: bytes) -> float:
    try:
        return float(line.rsplit(b" ", 1)[-1])
    except ValueError:
        return 0.0


class _Connection(http.client.HTTPConnection):
    """HTTP/1.1 on a Unix socket, or on an address."""

    def __init__(self, upstream: Upstream, timeout_s: float) -> None:
        super().__init__(upstream.host or "replica", upstream.port or 80, timeout=timeout_s)
        self._path = upstream.socket_path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        """Connect (called by the standard library)."""
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(self._path)
