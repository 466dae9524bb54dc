"""Inputs that have ended two workers: the same one again is refused without running.

A caller that is told that its worker was lost tries again, and its input would end two more
workers each time. Inputs are remembered by a digest of the api and the body, few of them and not
for long: a new version of the service may bear what the last one did not, and two workers that were
ended from outside may have had the same innocent input.
"""

from __future__ import annotations

import hashlib
import time

from dosirak.errors import QuarantinedInput
from dosirak.payload.wire import Body

KEPT_S = 60.0
MOST_KEPT = 256


class Quarantine:
    """The inputs that are not run for now.

    Args:
        kept_s: for how long.
    """

    __slots__ = ("_kept_s", "_until_s")

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._until_s: dict[bytes, float] = {}

    def add(self, api: str, body: Body) -> None:
        """Do not run this input for a while."""
        while len(self._until_s) >= MOST_KEPT:
            del self._until_s[next(iter(self._until_s))]
        self._until_s[_digest(api, body)] = time.monotonic() + self._kept_s

    def refuse(self, api: str, body: Body) -> None:
        """Refuse an input that is kept here.

        Raises:
            QuarantinedInput: it is (the caller's fault, or the model's).
        """
        # Nearly always there is none, and a digest is not worth its time.
        if not self._until_s:
            return
        digest = _digest(api, body)
        until_s = self._until_s.get(digest)
        if until_s is None:
            return
        if until_s <= time.monotonic():
            del self._until_s[digest]
            return
        raise QuarantinedInput(
            f"The same input has just ended two workers of {api!r} and is not run again for now.",
            remedy="Correct the input, or the service.",
        )


def _digest(api: str, body: Body) -> bytes:
    found = hashlib.blake2b(api.encode() + b"\0", digest_size=16)
    found.update(body)
    return found.digest()
