"""`serve` and `serve-gunicorn`: a saved service on the ordinary dosirak server, port 5000."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from dosirak.compat.bentoml_classic.bundle.repository import Repository, resolve

_OPTIONS = (
    click.argument("bento"),
    click.option(
        "-p",
        "--port",
        type=click.IntRange(0, 65535),
        default=5000,
        show_default=True,
        envvar="BENTOML_PORT",
        help="0 takes a free one.",
    ),
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        envvar="BENTOML_HOST",
        help="The address to listen on; one that others can reach needs a token.",
    ),
    click.option(
        "--token",
        envvar="DOSIRAK_TOKEN",
        help="What callers must send as 'Authorization: Bearer TOKEN'.",
    ),
    click.option(
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        help="A name, besides HOST, by which clients call the server.",
    ),
)


def _serve_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command()
@_serve_options
def serve(bento: str, **options: Any) -> None:
    """Serve the saved service NAME:VERSION, or a directory, with one worker."""
    _serve(bento, workers=1, **options)


@click.command("serve-gunicorn")
@_serve_options
@click.option(
    "-w",
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    envvar="BENTOML_GUNICORN_WORKERS",
    help="Processes that load the service.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Longest time for one request, in seconds.",
)
def serve_gunicorn(bento: str, **options: Any) -> None:
    """Serve the saved service NAME:VERSION, or a directory, with several workers."""
    _serve(bento, **options)


def _serve(bento: str, **options: Any) -> None:
    # The web server loads only here: every other command starts without it.
    from dosirak.serving import serve as server  # noqa: PLC0415

    def report(event: object) -> None:
        if isinstance(event, server.Serving):
            click.echo(f"Serving {bento} at {event.url}", err=True)

    description = resolve(bento, Repository.from_environment())
    sys.exit(server.serve(str(description.directory), report=report, **options))
