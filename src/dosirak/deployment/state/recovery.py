"""Opening the state at the start of the control plane, restoring it first if it is damaged.

Serving does not wait for this: replicas and router go on with what they have.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.backups import Recovery, recover
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.errors import CorruptContent


def open_or_recover(
    paths: PlatformPaths,
    url: str | None = None,
    *,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.time,
) -> tuple[PlatformState, Recovery | None]:
    """Open the state (see `open_state`); set a damaged embedded database aside and restore it.

    Args:
        paths: where the embedded database is.
        url: a PostgreSQL database instead; nothing is restored there.
        say: told what was restored, and from when.
        clock: the wall clock.

    Raises:
        CorruptContent: it is damaged and there is no sound backup; nothing has been moved.
    """
    try:
        return open_state(paths, url, clock=clock), None
    except CorruptContent:
        if url is not None:
            raise
    recovery = recover(paths, clock())
    if recovery is not None:
        say(str(recovery))
    return open_state(paths, url, clock=clock), recovery
