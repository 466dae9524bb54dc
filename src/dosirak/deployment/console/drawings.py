"""The small charts that pages hold as SVG: points for a line, parts of a bar. Pure.

Only numbers come out, so nothing that a person has named can reach the markup; and as attributes,
because the content policy allows no inline style.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dosirak.deployment.views import TrafficShare

SPARK_WIDTH, SPARK_HEIGHT = 96, 24
_INSET = 2.0


@dataclass(frozen=True, slots=True)
class BarPart:
    """One revision's part of a bar of 100.

    Attributes:
        shade: which of the colours, by the order of the revisions.
    """

    revision: int
    x: int
    width: int
    shade: int


def spark_points(rates: Sequence[float], slots: int) -> str:
    """Return the points of a line, newest at the right edge; nothing when nothing went through."""
    known = list(rates)[-slots:]
    if len(known) < 2 or not any(known):
        return ""
    top = max(known)
    step = SPARK_WIDTH / (slots - 1)
    begin = SPARK_WIDTH - step * (len(known) - 1)
    height = SPARK_HEIGHT - 2 * _INSET
    return " ".join(
        f"{begin + step * index:.1f},{_INSET + height * (1 - value / top):.1f}"
        for index, value in enumerate(known)
    )


def bar_parts(shares: Iterable[TrafficShare]) -> list[BarPart]:
    """Lay shares out side by side, the older revision first."""
    parts: list[BarPart] = []
    x = 0
    for index, share in enumerate(sorted(shares, key=lambda one: one.revision)):
        parts.append(BarPart(share.revision, x, share.weight_percent, min(index, 1)))
        x += share.weight_percent
    return parts
