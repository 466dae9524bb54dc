"""Draw the figures of a run: `plot.py RESULTS.json OUTPUT.svg`, by run.py, where matplotlib is."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt

COLOURS = {"dosirak": "#0a6e5c", "prototype": "#9fb8b2"}
OTHERS = ("#d08a2e", "#4a6fa5", "#a05195", "#7a7a7a", "#b04a3a")
KINDS = (("rate", "requests a second (more is better)"), ("p99_ms", "p99, ms (less is better)"))


def main() -> None:
    results, output = map(Path, sys.argv[1:])
    # Without the salt the same figures would be another file each time.
    plt.rcParams.update({"svg.hashsalt": "versus", "svg.fonttype": "none"})
    rounds = json.loads(results.read_text())["rounds"]
    names = list(dict.fromkeys(name for systems in rounds.values() for name in systems))
    others = iter(OTHERS)
    colours = {name: COLOURS.get(name) or next(others, "#bbbbbb") for name in names}
    figure, axes = plt.subplots(
        len(rounds), len(KINDS), figsize=(11, 0.5 + 1.6 * len(rounds)), squeeze=False
    )
    for row, (label, systems) in zip(axes, rounds.items(), strict=True):
        for axis, (kind, title) in zip(row, KINDS, strict=True):
            draw(axis, kind, systems, colours)
            if axis in axes[0]:
                axis.set_title(title, fontsize=10)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})


def draw(axis, kind: str, systems: dict[str, list[dict[str, float]]], colours) -> None:
    """Draw a bar for each system: the median, and a line from the least to the most."""
    shown = {name: [run[kind] for run in runs] for name, runs in systems.items() if runs}
    for at, (name, values) in enumerate(shown.items()):
        middle = statistics.median(values)
        axis.barh(at, middle, color=colours[name])
        axis.plot([min(values), max(values)], [at, at], color="black", linewidth=1)
        axis.annotate(f" {middle:,.0f}" if middle >= 100 else f" {middle:.1f}",
                      (max(values), at), va="center", fontsize=7)  # fmt: skip
    axis.set_yticks(range(len(shown)), list(shown), fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    main()
