"""What a call of a handler costs, learned from calls: the line behind every prediction.

Pure. Another machine, or another state of the same one, has another line: what is old weighs less
with every call, so that a curve learned elsewhere is a beginning and no more.
"""

from __future__ import annotations

from math import isfinite

from msgspec import Struct

# Estimates forget with this half-life, counted in batches: a model's cost drifts with its input.
_HALF_LIFE_BATCHES = 64
_DECAY = 0.5 ** (1 / _HALF_LIFE_BATCHES)
_VERY_MANY = 2**31
# A curve that was learned elsewhere counts like this many batches.
_BEGINNING = 8.0


class CostCurve(Struct):
    """What one call of a handler costs: `seconds ≈ fixed + per_row · rows`.

    A weighted least-squares line through past batches, newer ones weighing more. Both parts are
    kept non-negative: a call never gets cheaper by adding rows.

    Attributes:
        weight: of all batches together; the rest are weighted sums over them.
        rows: of rows; `rows_rows` of their squares.
        seconds: of seconds; `rows_seconds` of their products with rows.
    """

    weight: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    rows_rows: float = 0.0
    rows_seconds: float = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from one call."""
        self.weight = self.weight * _DECAY + 1.0
        self.rows = self.rows * _DECAY + rows
        self.seconds = self.seconds * _DECAY + seconds
        self.rows_rows = self.rows_rows * _DECAY + rows * rows
        self.rows_seconds = self.rows_seconds * _DECAY + rows * seconds

    @property
    def is_known(self) -> bool:
        """Whether anything was observed."""
        return self.weight > 0.0

    @property
    def is_sound(self) -> bool:
        """Whether the sums can be those of calls: what comes from a file may be anything."""
        sums = (self.weight, self.rows, self.seconds, self.rows_rows, self.rows_seconds)
        return all(isfinite(value) and value >= 0.0 for value in sums) and self.rows > 0.0

    def line(self) -> tuple[float, float]:
        """Return `(fixed, per_row)` in seconds."""
        if not self.is_known:
            return 0.0, 0.0
        mean_rows = self.rows / self.weight
        mean_s = self.seconds / self.weight
        variance = self.rows_rows / self.weight - mean_rows * mean_rows
        covariance = self.rows_seconds / self.weight - mean_rows * mean_s
        # All batches of one size say nothing of the slope: the whole cost is then fixed.
        slope = covariance / variance if variance > 1e-9 * (1.0 + mean_rows * mean_rows) else 0.0
        slope = min(max(slope, 0.0), mean_s / mean_rows)
        return mean_s - slope * mean_rows, slope

    def predicted_s(self, rows: float) -> float:
        """Predict one call of this many rows; 0 while nothing is known."""
        fixed, per_row = self.line()
        return fixed + per_row * rows

    def rows_within(self, limit_s: float) -> int:
        """Return the most rows of a call that takes at most this; very many when all do."""
        fixed, per_row = self.line()
        if fixed + per_row > limit_s:
            return 0
        return int((limit_s - fixed) / per_row) if per_row > 0.0 else _VERY_MANY

    def as_beginning(self) -> CostCurve:
        """Return the same line with little weight: what is measured here soon outweighs it."""
        if self.weight <= _BEGINNING:
            return self
        part = _BEGINNING / self.weight
        return CostCurve(
            self.weight * part,
            self.rows * part,
            self.seconds * part,
            self.rows_rows * part,
            self.rows_seconds * part,
        )
