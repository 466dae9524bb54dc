"""The classic command line: `bentoml`, `python -m bentoml`, and one service's own command.

    arguments → Repository | loading | serving → lines of text

Errors raised on purpose become one line on standard error and the exit code of their kind.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from dosirak.compat.bentoml_classic.cli.calling import info, open_api_spec, run
from dosirak.compat.bentoml_classic.cli.saved import delete, get, list_saved
from dosirak.compat.bentoml_classic.cli.server import serve, serve_gunicorn
from dosirak.compat.bentoml_classic.version import CLASSIC_VERSION
from dosirak.errors import DosirakError

# Commands of 0.13 that the compatibility page lists as left out.
_LEFT_OUT = frozenset(
    [
        "azure-functions",
        "containerize",
        "ec2",
        "install-completion",
        "lambda",
        "pull",
        "push",
        "retrieve",
        "sagemaker",
        "yatai-service-start",
    ]
)


# Of BentoML 1, for this platform; imported when they run.
_CLOUD = "dosirak.compat.bentoml_cloud.cli"
_ELSEWHERE = {"deploy": "deploy", "deployment": "deployment_group"}


class _Group(click.Group):
    """Says what went wrong in one line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; say of one that 0.13 had that it is not here."""
        if args[0] in _LEFT_OUT:
            ctx.fail(f"The command {args[0]!r} of BentoML 0.13 is not part of dosirak.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except DosirakError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)


class _Door(_Group):
    """The whole command line: the classic commands, and those that deploy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command; import one that is elsewhere."""
        if cmd_name in _ELSEWHERE:
            found: click.Command = getattr(import_module(_CLOUD), _ELSEWHERE[cmd_name])
            return found
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Door)
@click.version_option(CLASSIC_VERSION, prog_name="bentoml")
def command() -> None:
    """Save, find, call, serve and deploy BentoML services with dosirak."""


_OF_ONE_SERVICE = (run, info, open_api_spec, serve, serve_gunicorn)

for _command in (list_saved, get, delete, *_OF_ONE_SERVICE):
    command.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the classic command line and exit."""
    command.main(list(arguments) if arguments is not None else None, prog_name="bentoml")
    sys.exit(0)


class _BoundGroup(_Group):
    """Commands that all work on the one service they belong to."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.name, help=f"The service {directory.name}.")
        self._directory = str(directory)
        for bound in _OF_ONE_SERVICE:
            self.add_command(bound)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Put the service before the command's own arguments."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found, rest if "--help" in rest else [self._directory, *rest]


def service_command(directory: Path) -> click.Command:
    """Return the command line of one installed service."""
    return _BoundGroup(directory)
