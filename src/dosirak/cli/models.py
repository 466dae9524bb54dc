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
    }


command = commands(
    Noun(SHELF, "model", _COLUMNS, _NONE, _row, _details),
    summary="List, show, move and delete saved models.",
)
