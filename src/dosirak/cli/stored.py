"""The commands that models and bundles have in common: list, get, delete, export, import, verify.

A `Noun` says what differs; `commands` makes the group, to which a noun adds verbs of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import click

from dosirak.cli import render
from dosirak.cli.options import confirm, output_option, yes_option
from dosirak.cli.references import all_option, completes, versions_named
from dosirak.cli.render import Column, OutputFormat
from dosirak.errors import CorruptContent, UsageError
from dosirak.naming import Reference
from dosirak.store import DamagedEntry, Shelf
from dosirak.store.stored import StoredT

_STATUS = Column("status", "STATUS")


@dataclass(frozen=True, slots=True)
class Noun(Generic[StoredT]):
    """One kind of stored things, as the command line shows it.

    Attributes:
        shelf: where they are.
        singular: the word for one.
        columns: what a table of them shows.
        none: what a person reads where there are none.
        row: what a list prints of one.
        details: what `get` prints of one.
        told: those details as a table tells them to a person.
    """

    shelf: Shelf[StoredT]
    singular: str
    columns: Sequence[Column]
    none: str
    row: Callable[[StoredT], dict[str, Any]]
    details: Callable[[StoredT], dict[str, Any]]
    told: Callable[[dict[str, Any]], dict[str, Any]] = dict

    def show(self, found: StoredT, output_format: OutputFormat) -> None:
        """Print one."""
        details = self.details(found)
        render.record(self.told(details) if output_format == "table" else details, output_format)


def commands(noun: Noun[Any], *, summary: str) -> click.Group:
    """Return the group of a noun, named after its kind."""
    made = (_list(noun), _get(noun), _delete(noun), _export(noun), _import(noun), _verify(noun))
    return click.Group(noun.shelf.kind, help=summary, commands=made)


def _list(noun: Noun[StoredT]) -> click.Command:
    kind = noun.shelf.kind

    @click.command("list", help=f"List the {kind} in the store, or the versions of NAME.")
    @click.argument("name", required=False, shell_complete=completes(kind))
    @output_option
    def command(name: str | None, output_format: OutputFormat) -> None:
        rows = [_listed(found, noun) for found in noun.shelf.survey(name)]
        odd = [row for row in rows if row["status"] != "ok"]
        columns = (*noun.columns, _STATUS) if odd else noun.columns
        render.records(rows, columns, output_format, empty=noun.none)
        for row in odd:
            render.warning(f"{row['reference']} is {row['status']}: {row['problem']}")

    return command


def _listed(found: StoredT | DamagedEntry, noun: Noun[StoredT]) -> dict[str, Any]:
    """Return the row of one; what cannot be read says so, and hides none of the others."""
    if isinstance(found, DamagedEntry):
        return _odd_row(found.reference, "damaged", f"{found.problem} {found.remedy}")
    try:
        return {**noun.row(found), "status": "ok"}
    except CorruptContent as error:
        return _odd_row(found.reference, "damaged", str(error))
    except UsageError as error:  # a format of a later dosirak
        return _odd_row(found.reference, "unreadable", str(error))


def _odd_row(reference: Reference, status: str, problem: str) -> dict[str, Any]:
    return {
        "reference": str(reference),
        "name": reference.name,
        "version": reference.version,
        "status": status,
        "problem": problem,
    }


def _get(noun: Noun[StoredT]) -> click.Command:
    text = f"Show one {noun.singular}: NAME is the latest version, NAME:VERSION that one."

    @click.command("get", help=text)
    @click.argument("reference", shell_complete=completes(noun.shelf.kind))
    @output_option
    def command(reference: str, output_format: OutputFormat) -> None:
        noun.show(noun.shelf.get(reference), output_format)

    return command


def _delete(noun: Noun[StoredT]) -> click.Command:
    kind = noun.shelf.kind
    text = f"Delete {kind} by NAME:VERSION. `dosirak gc` frees the space that nothing else uses."

    @click.command("delete", help=text)
    @click.argument("references", nargs=-1, required=True, shell_complete=completes(kind))
    @all_option
    @yes_option
    def command(references: tuple[str, ...], every: bool, yes: bool) -> None:
        found = versions_named(references, every=every, shelf=noun.shelf)
        confirm(f"Delete {', '.join(map(str, found))}?", yes=yes)
        for reference in found:
            noun.shelf.delete(reference)
            render.success(f"Deleted {reference}.")

    return command


def _export(noun: Noun[StoredT]) -> click.Command:
    text = f"Write one {noun.singular}, with all that it needs, into an archive at PATH."

    @click.command("export", help=text)
    @click.argument("reference", shell_complete=completes(noun.shelf.kind))
    @click.argument("path", type=click.Path(path_type=Path))
    def command(reference: str, path: Path) -> None:
        with render.progress(f"Exporting {reference}"):
            written = noun.shelf.export(reference, path)
        render.line(str(written))

    return command


def _import(noun: Noun[StoredT]) -> click.Command:
    text = (
        f"Read a {noun.singular} from an archive. Nothing in it is run; what it claims is verified."
    )

    @click.command("import", help=text)
    @click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
    @output_option
    def command(path: Path, output_format: OutputFormat) -> None:
        with render.progress(f"Importing {path.name}"):
            found = noun.shelf.import_(path)
        noun.show(found, output_format)

    return command


def _verify(noun: Noun[StoredT]) -> click.Command:
    text = f"Read every byte of a {noun.singular} again and compare it with its digest."

    @click.command("verify", help=text)
    @click.argument("reference", shell_complete=completes(noun.shelf.kind))
    def command(reference: str) -> None:
        found = noun.shelf.get(reference)
        with render.progress(f"Verifying {found.reference}"):
            found.verify()
        render.success(f"{found.reference} is what it was when it was stored.")

    return command
