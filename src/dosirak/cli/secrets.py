"""`dosirak secrets`: values that deployments get as variables, and nobody is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dosirak import deployment
from dosirak.cli import render
from dosirak.cli.options import confirm, output_option, yes_option
from dosirak.cli.render import Column, OutputFormat
from dosirak.errors import InvalidConfiguration

_COLUMNS = (
    Column("name", "NAME"),
    Column("created_at", "MADE", render.moment),
    Column("updated_at", "SET", render.moment),
)
_NONE = "No secrets. Keep one with `dosirak secrets set NAME`."
_MAX_BYTES = 65536


@click.group("secrets")
def command() -> None:
    """Keep secrets for deployments.

    A deployment that names one (`--secret NAME`, or `secrets:` in its file) gets its value as a
    variable of the same name.
    """


@command.command("set")
@click.argument("name")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the value; the input, or a question on a terminal, when not given.",
)
def set_secret(name: str, path: Path | None) -> None:
    """Set a secret. Its value is never an argument, where other users could see it.

    \b
    dosirak secrets set API_KEY < key.txt
    """
    value = _value(name, path)
    with deployment.connect() as client:
        client.ask("PUT", f"/secrets/{name}", {"value": value})
    render.success(f"Kept {name}. New replicas get it.")
    render.note("`dosirak deployment restart NAME` gives it to those that run.")


@command.command("list")
@output_option
def list_secrets(output_format: OutputFormat) -> None:
    """List the secrets, without their values."""
    with deployment.connect(start=False) as client:
        rows = client.ask("GET", "/secrets")
    render.records(rows, _COLUMNS, output_format, empty=_NONE)


@command.command("delete")
@click.argument("name")
@yes_option
def delete_secret(name: str, yes: bool) -> None:
    """Delete a secret; replicas that run keep what they were started with."""
    confirm(f"Delete the secret {name}?", yes=yes)
    with deployment.connect() as client:
        client.ask("DELETE", f"/secrets/{name}")
    render.success(f"Deleted {name}.")


def _value(name: str, path: Path | None) -> str:
    if path is not None:
        text = path.read_text(encoding="utf-8")
    elif sys.stdin.isatty():
        text = str(click.prompt(f"Value of {name}", hide_input=True, err=True))
    else:
        text = sys.stdin.read(_MAX_BYTES + 2)
    # The newline that an editor or `echo` puts at the end is not meant.
    value = text.removesuffix("\n").removesuffix("\r")
    if not value or len(value.encode()) > _MAX_BYTES:
        raise InvalidConfiguration(
            f"The value of {name} is {'empty' if not value else 'larger than 64 KiB'}.",
            remedy="Give it on standard input, or in a file with --file.",
        )
    return value
