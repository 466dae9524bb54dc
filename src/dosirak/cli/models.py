"""`dosirak models`: what is saved in the store."""

from __future__ import annotations

from typing import Any

from dosirak.cli import render
from dosirak.cli.render import Column
from dosirak.cli.stored import Noun, commands
from dosirak.models import Model
from dosirak.models.saved import SHELF

_COLUMNS = (
    Column("reference", "MODEL"),
    Column("framework", "FRAMEWORK"),
    Column("format", "FORMAT"),
    Column("size_bytes", "SIZE", render.size),
    Column("created_at", "SAVED", render.moment),
    Column("metadata", "METADATA", render.pairs),
)
_NONE = (
    "No models. Save one with dosirak.models.save(name, model); a bundle keeps its own, which"
    " `dosirak bundles get NAME` shows."
)


def _row(model: Model) -> dict[str, Any]:
    return {
        "reference": str(model.reference),
        "name": model.name,
        "version": model.version,
        "id": model.id,
        "framework": model.framework,
        "format": model.saved.format,
        "size_bytes": model.size_bytes,
        "created_at": model.created_at,
        "labels": dict(model.labels),
        "metadata": dict(model.metadata),
    }


def _details(model: Model) -> dict[str, Any]:
    return {
        **_row(model),
        "pickle": model.saved.pickle,
        "library_versions": dict(model.saved.library_versions),
        "examples": len(model.examples),
        "example_rows": sum(example.rows for example in model.examples),
        "provenance": dict(model.provenance),
    }


def _told(details: dict[str, Any]) -> dict[str, Any]:
    """Return the details for a person: golden examples in words."""
    told = dict(details)
    count, rows = told["examples"], told.pop("example_rows")
    if count:
        of_rows = f" ({rows} {'row' if rows == 1 else 'rows'})" if rows else ""
        told["examples"] = f"{count} recorded{of_rows}"
    else:
        told["examples"] = "none recorded"
    return told


command = commands(
    Noun(SHELF, "model", _COLUMNS, _NONE, _row, _details, _told),
    summary="List, show, move and delete saved models.",
)
