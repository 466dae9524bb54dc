"""Tables, JSON and YAML as plain text, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml

FORMATS = ("json", "yaml", "table", "wide")

_AGES = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def output_option(default: str | None) -> Any:
    """Return the `-o` option."""
    return click.option(
        "-o", "--output", "output", type=click.Choice(FORMATS), default=default, show_default=True
    )


def print_value(value: Any, output: str) -> None:
    """Print a value as JSON or YAML."""
    if output == "yaml":
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(value, indent=2))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest value."""
    lines = [list(headers), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def age(created_at: str) -> str:
    """Return how long ago a time of bentoml.yml was, in its largest unit."""
    try:
        created = datetime.fromisoformat(created_at).replace(tzinfo=UTC)
    except ValueError:
        return created_at
    seconds = max(0, int((datetime.now(UTC) - created).total_seconds()))
    size, unit = next(((size, unit) for size, unit in _AGES if seconds >= size), (1, "second"))
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'}"
