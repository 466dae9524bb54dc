"""What became of each numbered request: exactly one outcome each, and how long it took.

    sent ─▶ right · refused · told · wrong · swapped · lost · left · unsent

A ledger that balances has an outcome for every number, and none has two. Times run from the moment
at which a request was *meant* to be sent: a generator that is late, or a server that stops reading,
does not hide what a caller would have waited.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

OUTCOMES = (
    "right",  # the one answer that it must have
    "refused",  # 429 or 503: try again
    "told",  # another error, in the project's own words, with the request's own id
    "wrong",  # anything else
    "swapped",  # the answer of another request: the worst that can happen
    "lost",  # the connection ended, or nothing came
    "left",  # the client went away by itself
    "unsent",  # no connection could be opened
)
_MOST_SAMPLES = 10


@dataclass(slots=True)
class Call:
    """One request and the one answer that it must have.

    Attributes:
        number: its place in the ledger.
        request: all its bytes.
        body: the right answer; None accepts any with the right status.
        status: the right status.
        request_id: what the answer must name; empty when the server may choose.
        leave_after_s: the client goes away this long after sending; None stays.
        kind: outcomes are counted by it.
        meant_s: when it was meant to be sent.
    """

    number: int
    request: bytes
    body: bytes | None = None
    status: int = 200
    request_id: bytes = b""
    leave_after_s: float | None = None
    kind: str = "good"
    meant_s: float = 0.0


class Ledger:
    """The outcomes of the calls numbered 0, 1, 2, …

    Args:
        owner_of: tells whose answer a body is; None when it is nobody's.
    """

    def __init__(self, owner_of: Callable[[bytes], int | None] | None = None) -> None:
        self._owner_of = owner_of
        self._states = bytearray()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._times: dict[tuple[str, str], array[float]] = {}
        self.codes: Counter[str] = Counter()
        self.twice = 0
        self.samples: list[str] = []

    def open(self, call: Call) -> None:
        """A call will be made."""
        assert call.number == len(self._states), "calls are numbered 0, 1, 2, …"
        self._states.append(0)

    def close(self, call: Call, outcome: str, took_s: float) -> None:
        """A call has its outcome."""
        if self._states[call.number]:
            self.twice += 1
            return
        self._states[call.number] = OUTCOMES.index(outcome) + 1
        if outcome == "lost" and len(self.samples) < _MOST_SAMPLES:
            self.samples.append(f"lost {call.number} ({call.kind}) after {took_s:.3f} s")
        key = (call.kind, outcome)
        self._counts[key] += 1
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = array("f")
        times.append(took_s)

    def judge(self, call: Call, status: int, head: bytes, body: bytes) -> str:
        """Name the outcome of an answer."""
        if call.request_id and b"\r\nx-request-id: %b\r\n" % call.request_id not in head:
            return self._note("swapped", call, head + body)
        if status == call.status and (call.body is None or body == call.body):
            return "right"
        if status in (429, 503):
            return "refused"
        if status < 400:
            owner = self._owner_of(body) if self._owner_of is not None else None
            mine = owner is None or owner == call.number
            return self._note("wrong" if mine else "swapped", call, head + body)
        return self._judge_error(call, head, body)

    def count(self, outcome: str, kind: str | None = None) -> int:
        """Return how many calls (of one kind) ended so."""
        return sum(
            number
            for (of, name), number in self._counts.items()
            if name == outcome and kind in (None, of)
        )

    def sent(self, kind: str | None = None) -> int:
        """Return how many calls (of one kind) have an outcome."""
        return sum(number for (of, _), number in self._counts.items() if kind in (None, of))

    @property
    def unaccounted(self) -> int:
        """Calls without an outcome, or with two."""
        return self._states.count(0) + self.twice

    def times(self, outcome: str, kind: str = "good") -> array[float]:
        """Return how long each of them took, in seconds."""
        return self._times.get((kind, outcome), array("f"))

    def quantile_ms(self, quantile: float, outcome: str = "right", kind: str = "good") -> float:
        """Return a quantile of the times; 0 when there are none."""
        times = sorted(self.times(outcome, kind))
        return times[min(len(times) - 1, int(len(times) * quantile))] * 1000 if times else 0.0

    def __str__(self) -> str:
        kinds = sorted({kind for kind, _ in self._counts})
        parts = [
            f"{kind}: "
            + ", ".join(f"{count} {name}" for name in OUTCOMES if (count := self.count(name, kind)))
            for kind in kinds
        ]
        return "; ".join([*parts, *self.samples, *([str(dict(self.codes))] if self.codes else [])])

    def _judge_error(self, call: Call, head: bytes, body: bytes) -> str:
        try:
            problem = json.loads(body)
            named = problem["request_id"].encode()
            code = problem["code"]
        except (ValueError, TypeError, KeyError):
            return self._note("wrong", call, head + body)
        if call.request_id and named != call.request_id:
            return self._note("swapped", call, head + body)
        self.codes[code] += 1
        return "told"

    def _note(self, outcome: str, call: Call, answer: bytes) -> str:
        if len(self.samples) < _MOST_SAMPLES:
            self.samples.append(f"{outcome} {call.request[-80:]!r}: {answer[-300:]!r}")
        return outcome
