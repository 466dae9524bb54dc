"""A service that tells which process imported it, and that can be unsafe to fork."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

# And with it pyarrow, whose allocator has a thread: what most services import is forked.
import pandas  # noqa: F401

import dosirak

IMPORTED_BY = os.getpid()
with (Path(os.environ["DOSIRAK_HOME"]) / "imports").open("a") as notes:
    notes.write(f"{IMPORTED_BY}\n")
if os.environ.get("UNSAFE"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
while os.environ.get("HANG"):
    pass


@dosirak.service(resources=dosirak.Resources(workers=2))
class Forked:
    """Tells of its process."""

    @dosirak.api
    def origin(self) -> dict[str, int]:
        """Return this process, its parent and the one that imported this file."""
        return {"pid": os.getpid(), "parent": os.getppid(), "imported_by": IMPORTED_BY}

    @dosirak.api
    def variable(self, name: str) -> str | None:
        """Return a variable of the environment."""
        return os.environ.get(name)

    @dosirak.api
    def cpus(self) -> list[int]:
        """Return where this process may run."""
        return sorted(os.sched_getaffinity(0))

    @dosirak.api
    def hold(self) -> bool:
        """Hold the interpreter's lock for ever."""
        return re.fullmatch(r"(a+)+b", "a" * 100) is not None
