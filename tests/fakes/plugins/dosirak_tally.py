"""A whole third-party framework, found by entry point: models that weigh and add up rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosirak.errors import CorruptContent, UsageError
from dosirak.models.framework import ModelMethod, SavedFormat

NAME = "tally"


class Tally:
    """Answers each row with its weighted sum; `drift` makes every answer another."""

    def __init__(self, weights: list[float], *, drift: float = 0) -> None:
        self.weights = weights
        self.drift = drift

    def predict(self, rows: Any) -> list[float]:
        self.weights[0] += self.drift
        return [sum(w * x for w, x in zip(self.weights, row, strict=True)) for row in rows]


def detect(model: object) -> bool:
    return type(model).__module__ == __name__


def save(model: Any, directory: Path, *, options: Mapping[str, Any]) -> SavedFormat:
    unknown = options.keys() - {"allow_pickle", "claims", "blocks"}
    if unknown:
        raise UsageError(f"tally has no option {sorted(unknown)}.", remedy="Leave it out.")
    (directory / "weights.json").write_text(json.dumps(model.weights))
    (directory / "notes").mkdir()
    (directory / "notes" / "about.txt").write_text("weights, in order")
    with (directory / "ballast.bin").open("wb") as file:
        for _ in range(options.get("blocks", 0)):
            file.write(bytes(1 << 16))
    return SavedFormat(
        options.get("claims", "json"),
        pickle=options.get("claims") == "pickle",
        library_versions={"tally": "1.0"},
    )


def load(directory: Path, saved: SavedFormat) -> Tally:
    try:
        return Tally(json.loads((directory / "weights.json").read_bytes()))
    except ValueError as error:
        raise CorruptContent("Not a tally.", remedy="Save it again.") from error


def methods(model: Any) -> tuple[ModelMethod, ...]:
    return (ModelMethod("predict", "rows", list[list[float]], list[float]),)


def call(model: Any, method: str, value: Any) -> Any:
    return getattr(model, method)(value.tolist() if hasattr(value, "tolist") else value)


def requirements(saved: SavedFormat) -> tuple[str, ...]:
    return tuple(f"{name}=={version}" for name, version in saved.library_versions.items())
