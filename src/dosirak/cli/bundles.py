"""`dosirak bundles`: what is sealed in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dosirak.bundles import Bundle
from dosirak.bundles.saved import SHELF
from dosirak.cli import render
from dosirak.cli.references import completes
from dosirak.cli.render import Column
from dosirak.cli.stored import Noun, commands

_COLUMNS = (
    Column("reference", "BUNDLE"),
    Column("service", "SERVICE"),
    Column("models", "MODELS", ", ".join),
    Column("size_bytes", "SIZE", render.size),
    Column("created_at", "SEALED", render.moment),
)
_NONE = "No bundles. Seal one with `dosirak build`, or read one with `dosirak bundles import PATH`."


def bundle_row(bundle: Bundle) -> dict[str, Any]:
    """Return what the commands print of a bundle."""
    return {
        "reference": str(bundle.reference),
        "name": bundle.name,
        "version": bundle.version,
        "id": bundle.id,
        "service": bundle.service,
        "front_end": bundle.front_end,
        "models": [str(reference) for reference in bundle.models],
        "size_bytes": bundle.size_bytes,
        "created_at": bundle.created_at,
        "labels": dict(bundle.labels),
        "metadata": dict(bundle.metadata),
        "python": bundle.python,
        "requirements": list(bundle.requirements),
        "provenance": dict(bundle.provenance),
    }


command = commands(
    Noun(SHELF, "bundle", _COLUMNS, _NONE, bundle_row, bundle_row),
    summary="List, show, move and delete sealed bundles.",
)


@command.command("checkout")
@click.argument("reference", shell_complete=completes("bundles"))
@click.argument("directory", type=click.Path(path_type=Path))
def check_out_bundle(reference: str, directory: Path) -> None:
    """Copy a bundle into a new DIRECTORY, to look at or to serve from there."""
    bundle = SHELF.get(reference)
    with render.progress(f"Copying {bundle.reference}"):
        written = bundle.checkout(directory)
    render.line(str(written))
