"""The command `dosirak` and the table of its subcommands.

Each subcommand lives in a module of its own that is imported when the command runs, so that
`dosirak --help` and completion cost little more than Python itself. The table repeats each
command's summary for that reason; a test holds the two equal.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple, cast

import click
from click.shell_completion import CompletionItem

from dosirak import __version__


class LazyCommand(NamedTuple):
    """Where a command lives (the attribute is always `command`) and what it does."""

    module: str
    summary: str


COMMANDS = {
    "audit": LazyCommand("dosirak.cli.audit", "Show and verify who changed what on the platform."),
    "build": LazyCommand("dosirak.cli.build", "Seal a project into a bundle."),
    "bundles": LazyCommand("dosirak.cli.bundles", "List, show, move and delete sealed bundles."),
    "completion": LazyCommand("dosirak.cli.completion", "Print the completion script of a shell."),
    "deploy": LazyCommand("dosirak.cli.deploy", "Deploy a bundle or a project under a name."),
    "deployment": LazyCommand(
        "dosirak.cli.deployment", "Look at deployments and change them: update, scale, roll back."
    ),
    "doctor": LazyCommand("dosirak.cli.doctor", "Show what is installed and what a service needs."),
    "gc": LazyCommand("dosirak.cli.gc", "Free the space of what nothing refers to any more."),
    "models": LazyCommand("dosirak.cli.models", "List, show, move and delete saved models."),
    "platform": LazyCommand("dosirak.cli.platform", "Start, stop and look at the control plane."),
    "reload": LazyCommand(
        "dosirak.cli.reload", "Have a running server look up anew what it serves."
    ),
    "run": LazyCommand("dosirak.cli.run", "Call one api of a service here, without a server."),
    "secrets": LazyCommand("dosirak.cli.secrets", "Keep secrets for deployments."),
    "serve": LazyCommand("dosirak.cli.serve", "Serve a service over HTTP."),
    "tokens": LazyCommand("dosirak.cli.tokens", "Create and revoke tokens of the platform."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' summaries and imports a command only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        return cast(click.Command, import_module(found.module).command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; say which one a slip of the fingers was near to."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            sentence = f"{error.message} Did you mean {near[0]!r}?"
            raise click.UsageError(sentence, ctx=error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in sorted(COMMANDS)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name from the table, importing none."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=COMMANDS[name].summary)
            for name in sorted(COMMANDS)
            if name.startswith(incomplete)
        ]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def command() -> None:
    """Pack a trained model once; serve it, ship it, score tables with it.

    A TARGET is whatever can be served: module:Class, a file, a project's directory, a sealed bundle
    (iris or iris:VERSION) or a bare model from the store.
    """
