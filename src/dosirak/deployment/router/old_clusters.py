"""Clusters that no table wants any more, and when they may go.

Not before the routes that led to them are gone from the thread that serves, a moment has passed in
which a repetition may still mean them, and the last of their requests has ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from dosirak.deployment.router.admin import Admin, RouterSilent
from dosirak.deployment.router.resources import Resource

_LINGER_S = 5.0


class OldClusters:
    """Those of one Envoy.

    Args:
        admin: says what is under way.
        linger_s: how long they stay at least.
    """

    def __init__(self, admin: Admin, *, linger_s: float = _LINGER_S) -> None:
        self._admin = admin
        self._linger_s = linger_s
        self._left_at_s: dict[str, float] = {}

    def note(self, held: Iterable[str], wanted: Iterable[str]) -> None:
        """Take note that routes lead to `wanted` alone from now on."""
        now_s = time.monotonic()
        left = set(held) - set(wanted)
        self._left_at_s = {name: self._left_at_s.get(name, now_s) for name in left}

    def without_idle(self, held: Mapping[str, Resource]) -> dict[str, Resource]:
        """Return what is to be held on, from what is; nothing goes while Envoy is silent."""
        since_s = time.monotonic() - self._linger_s
        old = {name for name, at_s in self._left_at_s.items() if at_s <= since_s} & held.keys()
        idle = old - self._busy() if old else old
        return {name: cluster for name, cluster in held.items() if name not in idle}

    def _busy(self) -> set[str]:
        try:
            return {host.cluster for host in self._admin.hosts() if host.requests_active}
        except RouterSilent:
            return set(self._left_at_s)
