"""What a build says while it works: one event per step, skip, note or warning.

A build never prints. It hands each event to the caller's `report`, and the command line renders it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EventKind = Literal["step", "skip", "note", "warn"]


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One thing worth knowing about a build.

    Attributes:
        kind: `step` for progress, `skip` for a file left behind, `note` for a choice made on the
            author's behalf, `warn` for what may surprise later.
        message: one sentence.
        subject: the file, module or distribution it is about; empty when it is about the build.
    """

    kind: EventKind
    message: str
    subject: str = ""


Report = Callable[[BuildEvent], None]


def ignore(event: BuildEvent) -> None:
    """Say nothing: the report of a caller that gave none."""
