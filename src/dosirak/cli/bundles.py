"""`dosirak bundles`: what is sealed in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dosirak import bundles
from dosirak.bundles import Bundle
from dosirak.cli import render
from dosirak.cli.options import confirm, output_option, yes_option
from dosirak.cli.references import all_option, completes, versions_named
from dosirak.cli.render import Column, OutputFormat

_COLUMNS = (
    Column("reference", "BUNDLE"),
    Column("service", "SERVICE"),
    Column("models", "MODELS", ", ".join),
    Column("size_bytes", "SIZE", render.size),
    Column("created_at", "SEALED", render.moment),
)
_NONE = "No bundles. Seal one with `dosirak build`, or read one with `dosirak bundles import PATH`."


@click.group("bundles")
def command() -> None:
    """List, show, move and delete sealed bundles."""


@command.command("list")
@click.argument("name", required=False, shell_complete=completes("bundles"))
@output_option
def list_bundles(name: str | None, output_format: OutputFormat) -> None:
    """List the bundles in the store, or the versions of NAME."""
    found = bundles.list(name)
    render.records([bundle_row(bundle) for bundle in found], _COLUMNS, output_format, empty=_NONE)


@command.command("get")
@click.argument("reference", shell_complete=completes("bundles"))
@output_option
def get_bundle(reference: str, output_format: OutputFormat) -> None:
    """Show one bundle: NAME is the latest version, NAME:VERSION that one."""
    render.record(bundle_row(bundles.get(reference)), output_format)


@command.command("delete")
@click.argument("references", nargs=-1, required=True, shell_complete=completes("bundles"))
@all_option
@yes_option
def delete_bundles(references: tuple[str, ...], every: bool, yes: bool) -> None:
    """Delete bundles by NAME:VERSION. `dosirak gc` frees the space that nothing else uses."""
    found = versions_named(references, every=every, get=bundles.get, list_all=bundles.list)
    confirm(f"Delete {', '.join(map(str, found))}?", yes=yes)
    for reference in found:
        bundles.delete(reference)
        render.success(f"Deleted {reference}.")


@command.command("export")
@click.argument("reference", shell_complete=completes("bundles"))
@click.argument("path", type=click.Path(path_type=Path))
def export_bundle(reference: str, path: Path) -> None:
    """Write one bundle, with the models it needs, into an archive at PATH."""
    with render.progress(f"Exporting {reference}"):
        written = bundles.export(reference, path)
    render.line(str(written))


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
def import_bundle(path: Path, output_format: OutputFormat) -> None:
    """Read a bundle from an archive. Nothing in it is run; what it claims is verified."""
    with render.progress(f"Importing {path.name}"):
        bundle = bundles.import_(path)
    render.record(bundle_row(bundle), output_format)


@command.command("verify")
@click.argument("reference", shell_complete=completes("bundles"))
def verify_bundle(reference: str) -> None:
    """Read every byte of a bundle and its models again and compare them with their digests."""
    bundle = bundles.get(reference)
    with render.progress(f"Verifying {bundle.reference}"):
        bundle.verify()
    render.success(f"{bundle.reference} is what it was when it was sealed.")


@command.command("checkout")
@click.argument("reference", shell_complete=completes("bundles"))
@click.argument("directory", type=click.Path(path_type=Path))
def check_out_bundle(reference: str, directory: Path) -> None:
    """Copy a bundle into a new DIRECTORY, to look at or to serve from there."""
    bundle = bundles.get(reference)
    with render.progress(f"Copying {bundle.reference}"):
        written = bundle.checkout(directory)
    render.line(str(written))


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
