"""`dosirak reload`: have a running server look up anew what it serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from dosirak.cli import render
from dosirak.cli.options import Seconds, output_option
from dosirak.cli.serve import read_token
from dosirak.client.administration import ask_to_reload
from dosirak.errors import InvalidConfiguration

_DEFAULT_PORT = "3000"


@click.command("reload")
@click.argument("url", required=False)
@click.option(
    "--target",
    default="",
    metavar="NAME:VERSION",
    help="Another version of what is served; what the server was started with, when not given.",
)
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the server's admin token; or set DOSIRAK_ADMIN_TOKEN.",
)
@click.option(
    "--timeout-s",
    type=Seconds(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Longest time for the new revision to become ready.",
)
@output_option
def command(
    url: str | None,
    target: str,
    admin_token_file: Path | None,
    timeout_s: float,
    output_format: render.OutputFormat,
) -> None:
    """Have a running server look up anew what it serves.

    The server at URL (http://127.0.0.1:3000, or the port in DOSIRAK_PORT) exchanges its revision
    without losing a request, or says why it does not. It must run on this machine and have been
    started with an admin token.

    \b
    dosirak reload --admin-token-file ../admin-token
    dosirak reload http://127.0.0.1:8080 --target iris:20261122-091500
    """
    token = read_token(admin_token_file, "DOSIRAK_ADMIN_TOKEN")
    if token is None:
        raise InvalidConfiguration(
            "Reloading needs the server's admin token.",
            remedy="Give it with --admin-token-file or DOSIRAK_ADMIN_TOKEN.",
        )
    at = url or f"http://127.0.0.1:{os.environ.get('DOSIRAK_PORT') or _DEFAULT_PORT}"
    with render.progress("The server prepares its next revision"):
        outcome = ask_to_reload(at, token=token, target=target, timeout_s=timeout_s)
    if output_format != "table":
        render.record(outcome, output_format)
    else:
        _tell(outcome)


def _tell(outcome: dict[str, Any]) -> None:
    revision = outcome.get("revision", "")
    if outcome.get("outcome") == "unchanged":
        render.note(f"Nothing has changed: {revision} serves on.")
        return
    changes = [str(change) for change in outcome.get("changes", ())]
    took_s = float(outcome.get("took_s", 0.0))
    render.success(f"Reloaded in {took_s:.1f} s: {outcome.get('previous', '')} → {revision}")
    for change in changes:
        render.line(change)
