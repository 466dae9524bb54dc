"""Who runs on which core: a load that takes time from the server would measure itself.

On a machine with two cores or more the server has one and the load another; with one core, or
without `taskset`, they share and the figures say so by themselves (see `bare_server`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

_CORES = sorted(os.sched_getaffinity(0))
APART = len(_CORES) > 1 and shutil.which("taskset") is not None


def server_prefix() -> list[str]:
    """Return what is put before a command to run it on the server's core."""
    return ["taskset", "-c", str(_CORES[0])] if APART else []


def load_prefix() -> list[str]:
    """Return what is put before a command to run it on the load's core, after who measures."""
    return ["nice", "-n", "15", *(["taskset", "-c", str(_CORES[1])] if APART else [])]


@contextmanager
def on_load_core() -> Iterator[None]:
    """Keep this thread on the load's core."""
    if APART:
        os.sched_setaffinity(0, {_CORES[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, _CORES)
