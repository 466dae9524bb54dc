"""`dosirak models`: what is saved in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dosirak import models
from dosirak.cli import render
from dosirak.cli.options import confirm, output_option, yes_option
from dosirak.cli.references import all_option, completes, versions_named
from dosirak.cli.render import Column, OutputFormat
from dosirak.models import Model
from dosirak.store import default_store

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


@click.group("models")
def command() -> None:
    """List, show, move and delete saved models."""


@command.command("list")
@click.argument("name", required=False, shell_complete=completes("models"))
@output_option
def list_models(name: str | None, output_format: OutputFormat) -> None:
    """List the models in the store, or the versions of NAME."""
    found = models.list(name)
    render.records([_row(model) for model in found], _COLUMNS, output_format, empty=_NONE)


@command.command("get")
@click.argument("reference", shell_complete=completes("models"))
@output_option
def get_model(reference: str, output_format: OutputFormat) -> None:
    """Show one model: NAME is the latest version, NAME:VERSION that one."""
    render.record(_details(models.get(reference)), output_format)


@command.command("delete")
@click.argument("references", nargs=-1, required=True, shell_complete=completes("models"))
@all_option
@yes_option
def delete_models(references: tuple[str, ...], every: bool, yes: bool) -> None:
    """Delete models by NAME:VERSION. `dosirak gc` frees the space that nothing else uses."""
    found = versions_named(references, every=every, get=models.get, list_all=models.list)
    confirm(f"Delete {', '.join(map(str, found))}?", yes=yes)
    for reference in found:
        models.delete(reference)
        render.success(f"Deleted {reference}.")


@command.command("export")
@click.argument("reference", shell_complete=completes("models"))
@click.argument("path", type=click.Path(path_type=Path))
def export_model(reference: str, path: Path) -> None:
    """Write one model into an archive at PATH."""
    with render.progress(f"Exporting {reference}"):
        written = models.export(reference, path)
    render.line(str(written))


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
def import_model(path: Path, output_format: OutputFormat) -> None:
    """Read a model from an archive. Nothing in it is run; what it claims is verified."""
    with render.progress(f"Importing {path.name}"):
        model = models.import_(path)
    render.record(_details(model), output_format)


@command.command("verify")
@click.argument("reference", shell_complete=completes("models"))
def verify_model(reference: str) -> None:
    """Read every byte of a model again and compare it with its digest."""
    store = default_store()
    entry = store.resolve("models", reference)
    with render.progress(f"Verifying {entry.reference}"):
        store.verify(entry.digest)
    render.success(f"{entry.reference} is what it was when it was stored.")


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
