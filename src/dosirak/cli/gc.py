"""`dosirak gc`: give back the space of what nothing refers to."""

from __future__ import annotations

import dataclasses

import click

from dosirak.cli import render
from dosirak.cli.options import output_option
from dosirak.cli.render import OutputFormat
from dosirak.store import default_store


@click.command("gc")
@output_option
def command(output_format: OutputFormat) -> None:
    """Free the space of what nothing refers to any more.

    Never touches a saved model or bundle, nor what a running server holds open.
    """
    with render.progress("Collecting"):
        collected = default_store().collect_garbage()
    render.record(dataclasses.asdict(collected), output_format)
