"""`dosirak gc`: give back the space of what nothing refers to."""

from __future__ import annotations

import click

from dosirak.cli import render
from dosirak.cli.options import output_option
from dosirak.cli.render import OutputFormat
from dosirak.settings import Settings
from dosirak.store import Store


@click.command("gc")
@output_option
@click.pass_obj
def command(settings: Settings, output_format: OutputFormat) -> None:
    """Free the space of what nothing refers to any more.

    Never touches a saved model or bundle, nor what a running server holds.
    """
    with render.progress("Collecting"):
        report = Store(settings.home).collect_garbage()
    render.record(
        {"files": report.files, "size_bytes": report.size_bytes}, output_format
    )
