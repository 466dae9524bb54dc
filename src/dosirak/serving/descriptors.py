"""Descriptors, which every connection and worker takes: how many there may be, and none left.

A server raises its own soft limit to the hard one at its start; what runs a service's own code
keeps the limit that the server was started with, as some libraries assume a low one (`select`).
Whatever fails for lack of descriptors, memory or processes is tried again: such a lack passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import time
from dataclasses import dataclass

from dosirak.observe.logs import ROOT_LOGGER

# Fewer are soon taken by connections.
FEW_DESCRIPTORS = 1024
# More are of no use, and some systems allow a thousand times as many.
MOST_DESCRIPTORS = 1 << 20
_LACKS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})
_LOOK_EVERY_S = 0.5
_SAY_EVERY_S = 10.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


def is_lack(error: OSError) -> bool:
    """Whether the system lacks what was asked for just now, and may have it later."""
    return error.errno in _LACKS


def soft_limit() -> int:
    """Return how many descriptors this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> int:
    """Let this process open as many descriptors as it may; warn where that is few.

    Returns:
        How many it could open before.
    """
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = raised(before, most)
    if now != before:
        # A system may refuse what it calls unlimited.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))
        now = soft_limit()
    if now != resource.RLIM_INFINITY and now < FEW_DESCRIPTORS:
        _log.warning(
            "This process may open only %d files and connections at once; raise the limit "
            "(ulimit -n, LimitNOFILE) to 65536 or more.",
            now,
        )
    return before


def raised(soft: int, hard: int) -> int:
    """Return the soft limit that a server takes, given the ones it has."""
    if soft == resource.RLIM_INFINITY or soft >= MOST_DESCRIPTORS:
        return soft
    return MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)


def set_limit(pid: int, soft: int | None) -> None:
    """Give a process (0: this one) a soft limit, where the system can do that."""
    set_of = getattr(resource, "prlimit", None)
    if soft is None or set_of is None:
        return
    with contextlib.suppress(OSError, ValueError):
        _, most = set_of(pid, resource.RLIMIT_NOFILE)
        set_of(pid, resource.RLIMIT_NOFILE, (soft, most))


@dataclass(slots=True)
class Scarcity:
    """Says, from time to time, what cannot be done for lack of something."""

    _said_s: float | None = None

    def note(self, what: str, *, now_s: float | None = None) -> bool:
        """Log it unless that was done a moment ago; return whether it was."""
        now_s = time.monotonic() if now_s is None else now_s
        if self._said_s is not None and now_s - self._said_s < _SAY_EVERY_S:
            return False
        self._said_s = now_s
        _log.error("%s: raise the limit (ulimit -n, LimitNOFILE) or have fewer connections.", what)
        return True


def has_none_left() -> bool:
    """Whether this process can open nothing more at the moment."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return is_lack(error)
    return False


async def watch_descriptors() -> None:
    """Say so for as long as connections are refused because no descriptor is left.

    The event loop closes them at once and tells nobody.
    """
    scarcity = Scarcity()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if has_none_left():
            scarcity.note("No descriptor is left, and connections are refused")
