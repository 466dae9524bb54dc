"""`dosirak audit`: who changed what on the platform, and whether that record is whole."""

from __future__ import annotations

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.options import WholeNumber, output_option
from dosirak.cli.render import Column, OutputFormat
from dosirak.errors import CorruptContent

_COLUMNS = (
    Column("at", "WHEN", render.moment),
    Column("who", "WHO"),
    Column("action", "WHAT"),
    Column("object", "TO WHAT"),
    Column("result", "RESULT"),
)


@click.group("audit")
def command() -> None:
    """Show and verify who changed what on the platform."""


@command.command("list")
@click.option("--limit", type=WholeNumber(1, 10_000), default=100, show_default=True)
@output_option
def list_entries(limit: int, output_format: OutputFormat) -> None:
    """List the last entries, the oldest first; refused attempts are among them."""
    with deployment.connect(start=False) as client:
        rows = client.ask("GET", "/audit", query={"limit": limit})
    render.records(rows, _COLUMNS, output_format, empty="Nothing was changed yet.")


@command.command("verify")
@output_option
def verify_log(output_format: OutputFormat) -> None:
    """Read the whole log and see whether anything was changed, taken out or cut off."""
    with deployment.connect(start=False) as client, render.progress("Verifying the audit log"):
        verdict = client.ask("GET", "/audit/verify")
    if not verdict["whole"]:
        raise CorruptContent(
            f"The audit log was tampered with: {'; '.join(verdict['problems'])}",
            remedy="Compare it with a copy; from the place named on it proves nothing.",
        )
    if output_format != "table":
        render.record(verdict, output_format)
    render.success(f"The audit log is whole: {verdict['entries']} entries.")
