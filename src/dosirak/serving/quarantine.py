"""Inputs that end workers: known by their digest, refused for a while.

    a worker ended while it ran this input and nothing else ─▶ blamed ─▶ often enough ─▶ refused

Only an input that was alone with its worker is blamed: those that shared a batch with it are run
again by themselves and are cleared by their answer. Memory is bounded, and an empty quarantine
costs nothing: no body is hashed unless one of its length is held.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dosirak.errors import QuarantinedInput
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import Body
from dosirak.serving.calls import ApiDescription

_MOST_HELD = 4096
_DIGEST_BYTES = 16
# Different for every request, of the same one too.
_OF_NO_MATTER = frozenset(
    {"x-request-id", "traceparent", "tracestate", "x-request-timeout", "priority"}
)

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


@dataclass(slots=True)
class HeldInput:
    """One input: how many workers it ended, until when that counts, and its length."""

    crashes: int
    until_s: float
    size_bytes: int


class Quarantine:
    """The inputs that ended workers.

    Args:
        after: as many workers ended by an input make it refused; 0 refuses none.
        ttl_s: how long, from the last of them.
        most_held: inputs remembered; the oldest are forgotten first.

    Attributes:
        held: the inputs; while there are none, nothing need be looked up.
    """

    def __init__(self, *, after: int, ttl_s: float, most_held: int = _MOST_HELD) -> None:
        self._after = after
        self._ttl_s = ttl_s
        self._most_held = most_held
        self.held: dict[bytes, HeldInput] = {}
        self._sizes: Counter[int] = Counter()

    def another(self) -> Quarantine:
        """Return one with the same limits that knows no input, for another service."""
        return Quarantine(after=self._after, ttl_s=self._ttl_s, most_held=self._most_held)

    def note_end(self, api: str, held: str, body: Body, *, crashes: int) -> None:
        """A worker ended on this input just now (see `blame`).

        Args:
            api: its name, which alone is logged: what is held may name a caller's secrets.
            held: what `input_of` says.
            body: the input.
            crashes: workers that ended on this one request, this one included.
        """
        if self.blame(held, body, crashes=crashes, now_s=time.monotonic()):
            _log.error("An input of %s ends workers and is refused for a while.", api)

    def check(self, api: str, body: Body) -> None:
        """Let an input through.

        Raises:
            QuarantinedInput: it ended workers.
        """
        if self.refuses(api, body, now_s=time.monotonic()):
            raise QuarantinedInput(
                "This input has ended workers and is not tried again for a while.",
                remedy="Do not repeat it; whoever runs the service finds more in its log.",
            )

    def blame(self, api: str, body: Body, *, crashes: int, now_s: float) -> bool:
        """A worker ended on this input; return whether it is refused from now on.

        Args:
            api: what `input_of` says.
            body: the input.
            crashes: workers that ended on this one request, this one included.
            now_s: the time.
        """
        if self._after <= 0:
            return False
        key = _digest(api, body)
        held = self.held.get(key)
        if held is not None and held.until_s > now_s:
            # What this request did before has been counted.
            crashes = held.crashes + 1
        self._forget(key)
        self._make_room(now_s)
        self.held[key] = HeldInput(crashes, now_s + self._ttl_s, len(body))
        self._sizes[len(body)] += 1
        return crashes >= self._after

    def clear(self, api: str, body: Body) -> None:
        """The input was answered: it ends no worker."""
        if self._sizes[len(body)]:
            self._forget(_digest(api, body))

    def refuses(self, api: str, body: Body, *, now_s: float) -> bool:
        """Whether the input is to be refused."""
        if not self._sizes[len(body)]:
            return False
        key = _digest(api, body)
        held = self.held.get(key)
        if held is None:
            return False
        if held.until_s <= now_s:
            self._forget(key)
            return False
        return held.crashes >= self._after

    def _make_room(self, now_s: float) -> None:
        # Each blame moves its input to the end, so the first is the oldest and the first to expire.
        while self.held:
            oldest = next(iter(self.held))
            if self.held[oldest].until_s > now_s and len(self.held) < self._most_held:
                return
            self._forget(oldest)

    def _forget(self, key: bytes) -> None:
        held = self.held.pop(key, None)
        if held is not None:
            self._sizes[held.size_bytes] -= 1
            if not self._sizes[held.size_bytes]:
                del self._sizes[held.size_bytes]


def input_of(api: ApiDescription, headers: Mapping[str, str], query: str) -> str:
    """Return what makes an input beside its body: its api, and all that its handler may see.

    Otherwise one caller's header that ends workers would have everybody's request refused.
    """
    if not api.sees_heads:
        return api.name
    seen = {name: value for name, value in sorted(headers.items()) if name not in _OF_NO_MATTER}
    return json.dumps([api.name, seen, query])


def _digest(api: str, body: Body) -> bytes:
    digest = hashlib.blake2b(api.encode(), digest_size=_DIGEST_BYTES)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()
