"""`dosirak completion`: the script that makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from dosirak.cli import app, render


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   eval "$(dosirak completion bash)"
    zsh    eval "$(dosirak completion zsh)"
    fish   dosirak completion fish | source
    """
    completion = get_completion_class(shell)
    assert completion is not None  # the choice above names only shells that click knows
    render.line(completion(app.command, {}, "dosirak", "_DOSIRAK_COMPLETE").source())
