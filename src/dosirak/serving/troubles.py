"""What goes wrong again and again, said once in a while: a full disk must not fill the log as well.

the same trouble ─▶ said ─▶ silent for a time ─▶ said again, if it is still there
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dosirak.errors import DosirakError

_SILENT_S = 10.0


class Troubles:
    """Logs each kind of trouble at most once in a time.

    Args:
        log: where to.
        silent_s: how long the same is not said again.
        clock: tells the time.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        silent_s: float = _SILENT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._silent_s = silent_s
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def say(self, what: str, error: BaseException, remedy: str = "") -> None:
        """Log a trouble, unless the same was said a moment ago.

        Args:
            what: which trouble, one of a few.
            error: what was raised; one that is not of ours is shown with where it came from.
            remedy: what the operator can do.
        """
        now_s = self._clock()
        if now_s - self._said_s.get(what, -self._silent_s) < self._silent_s:
            return
        self._said_s[what] = now_s
        # What is expected to happen says enough by itself.
        shown = None if remedy or isinstance(error, DosirakError) else error
        told = f"{str(error).rstrip('.')}. {remedy}" if remedy else str(error)
        self._log.error("%s: %s", what, told, exc_info=shown)
