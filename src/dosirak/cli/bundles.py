"""`dosirak bundles`: what is sealed in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dosirak.bundles import Bundle
from dosirak.bundles.environment import REQUIREMENTS_FILE
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
_LARGEST_FILES = 3
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


def bundle_details(bundle: Bundle) -> dict[str, Any]:
    """Return what the commands print of one bundle: its row and what is long."""
    return {
        **bundle_row(bundle),
        "direct_requirements": direct_requirements(bundle),
        "files": [{"path": file.path, "size_bytes": file.size_bytes} for file in bundle.files],
    }


def direct_requirements(bundle: Bundle) -> list[str]:
    """Return what the service itself needs: its text stands first, then what that needs in turn.

    Raises:
        CorruptContent: the file is damaged.
    """
    lines = bundle.read(REQUIREMENTS_FILE).decode().splitlines()
    return lines[: lines.index("")] if "" in lines else lines


def bundle_told(details: dict[str, Any]) -> dict[str, Any]:
    """Return the details for a person: how many, and the ones that matter."""
    told = dict(details)
    direct = told.pop("direct_requirements")
    indirect = len(told["requirements"]) - len(direct)
    in_turn = [f"and {indirect} that those need (-o json lists them)"] if indirect > 0 else []
    told["requirements"] = [*direct, *in_turn]
    told["files"] = _files_told(told["files"])
    return told


def _files_told(files: list[dict[str, Any]]) -> str:
    total = sum(file["size_bytes"] for file in files)
    largest = sorted(files, key=lambda file: (-file["size_bytes"], file["path"]))[:_LARGEST_FILES]
    named = ", ".join(f"{file['path']} {render.size(file['size_bytes'])}" for file in largest)
    plural = "file" if len(files) == 1 else "files"
    return f"{len(files)} {plural}, {render.size(total)}; the largest: {named}"


command = commands(
    Noun(SHELF, "bundle", _COLUMNS, _NONE, bundle_row, bundle_details, told=bundle_told),
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
