"""The help of a command with many options, under a heading for each matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import click


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups.

    Attributes:
        groups: a heading, and the names of its options as the command's function has them; an
            option of no group is shown under "Others".
    """

    groups: ClassVar[Mapping[str, Sequence[str]]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options (click calls this)."""
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        named = {name for names in self.groups.values() for name in names}
        others = [name for name in records if name not in named]
        for heading, names in (*self.groups.items(), ("Others", others)):
            rows = [row for name in names if (row := records.get(name)) is not None]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
