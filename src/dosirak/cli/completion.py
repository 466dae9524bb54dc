"""`dosirak completion`: the script that makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from dosirak.cli import app, render

_CLASSES = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_CLASSES)))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   eval "$(dosirak completion bash)"
    zsh    eval "$(dosirak completion zsh)"
    fish   dosirak completion fish | source
    """
    render.line(_CLASSES[shell](app.command, {}, "dosirak", "_DOSIRAK_COMPLETE").source())
