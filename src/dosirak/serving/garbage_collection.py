"""Python's cyclic garbage collector in a process that serves.

By default it looks at everything alive again and again: with a model and its libraries loaded, one
full look takes tens of milliseconds, and every request waits for it. What was loaded lives as long
as the process, so it is set aside for good; what requests leave behind is nearly all freed without
the collector, so the young are looked at rarely.
"""

from __future__ import annotations

import gc


def settle(young_objects: int) -> None:
    """Set aside what is loaded, and collect when this many objects were made and not freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(young_objects, 20, 20)
