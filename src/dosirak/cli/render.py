"""What a person or a script reads: tables, JSON, YAML, progress and errors.

The only file that imports rich, and only inside the functions that draw with it. Colour is used on
a terminal alone and never when NO_COLOR is set; a table written into a pipe is plain columns,
unwrapped, so that `grep` and `awk` see whole values. Answers go to stdout, the rest to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, cast

import click

if TYPE_CHECKING:
    from rich.console import Console

OutputFormat = Literal["table", "json", "yaml"]
Record = Mapping[str, Any]
_WIDE = 100_000  # columns in a pipe, where nothing must be cut
_NOTHING = "–"
_ON_ONE_LINE = 5  # values of a list; more are easier to read below each other


class Column(NamedTuple):
    """One column of a table: a record's key, its heading and how its values read."""

    key: str
    heading: str
    text: Callable[[Any], str] = str


class Failure(NamedTuple):
    """An error as the command line reports it."""

    exit_code: int
    code: str
    message: str
    remedy: str = ""
    fields: tuple[tuple[str, str], ...] = ()


def records(
    rows: Sequence[Record],
    columns: Sequence[Column],
    output: OutputFormat,
    *,
    empty: str = "None.",
) -> None:
    """Print a list of records; the table shows only `columns`, the other formats everything.

    `empty` is what a person reads where a table has no rows.
    """
    if output != "table":
        _write_data([dict(row) for row in rows], output)
    elif not rows:
        note(empty)
    else:
        _write_table(rows, columns)


def record(row: Record, output: OutputFormat) -> None:
    """Print one record, a line for each of its values."""
    if output != "table":
        _write_data(dict(row), output)
        return
    pairs = [{"key": key, "value": _plain(value)} for key, value in row.items()]
    _write_table(pairs, (Column("key", ""), Column("value", "")))


def line(text: str) -> None:
    """Print one line of an answer to stdout."""
    click.echo(text)


def note(text: str) -> None:
    """Say something to the person, on stderr, so that a pipe never reads it."""
    click.echo(_styled(text, sys.stderr, dim=True), err=True)


def warning(text: str) -> None:
    """Say on stderr what may surprise later."""
    click.echo(_styled(f"warning: {text}", sys.stderr, fg="yellow"), err=True)


def success(text: str) -> None:
    """Say on stderr that something was done."""
    click.echo(f"{_styled('✓', sys.stderr, fg='green')} {text}", err=True)


def failure(found: Failure, *, as_json: bool) -> None:
    """Report an error on stderr: one line and its remedy, or one JSON object."""
    if as_json:
        click.echo(json.dumps(_failure_data(found)), err=True)
        return
    click.echo(_styled(f"error: {found.message}", sys.stderr, fg="red"), err=True)
    for field, reason in _fields_to_tell(found):
        click.echo(f"  {field or '(body)'}: {reason}", err=True)
    if found.remedy:
        click.echo(f"  {found.remedy}", err=True)


@contextmanager
def progress(title: str) -> Generator[None, None, None]:
    """Show on a terminal that long work goes on; elsewhere say nothing."""
    if not _colourful(sys.stderr):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(title):
        yield


@contextmanager
def telling(title: str) -> Generator[Callable[[str], None], None, None]:
    """Show how far long work is: on a terminal in one line, elsewhere in one for each change."""
    if not _colourful(sys.stderr):
        yield _once_each(note)
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(title)) as status:
        yield lambda text: status.update(Text(text))


def _once_each(say: Callable[[str], None]) -> Callable[[str], None]:
    said = [""]

    def once(text: str) -> None:
        if text != said[0]:
            said[0] = text
            say(text)

    return once


def size(size_bytes: int) -> str:
    """Return a number of bytes as a person reads it: `1.5 MiB`."""
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def moment(value: Any) -> str:
    """Return a time (a datetime or ISO 8601 text) in the reader's own zone, to the second."""
    when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def pairs(value: Mapping[str, Any]) -> str:
    """Return labels or metadata as `key=value, …`, what lies within as `key.inner=value`."""
    return ", ".join(f"{key}={_plain(item)}" for key, item in _flat(value))


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            inner = cast(Mapping[str, Any], item)
            yield from ((f"{key}.{within}", leaf) for within, leaf in _flat(inner))
        else:
            yield key, item


def _fields_to_tell(found: Failure) -> tuple[tuple[str, str], ...]:
    if len(found.fields) == 1:
        field, reason = found.fields[0]
        if field in found.message and reason.rstrip(".") in found.message:
            return ()  # the message has said it
    return found.fields


def _failure_data(found: Failure) -> dict[str, Any]:
    return {
        "error": found.message,
        "code": found.code,
        "remedy": found.remedy,
        "fields": [{"field": field, "reason": reason} for field, reason in found.fields],
        "exit_code": found.exit_code,
    }


def _write_data(data: Any, output: OutputFormat) -> None:
    # Through JSON in both cases, so that YAML never shows a Python type.
    text = json.dumps(data, indent=2, ensure_ascii=False, default=_json_value)
    if output == "json":
        click.echo(text)
        return
    import yaml

    click.echo(yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True), nl=False)


def _write_table(rows: Sequence[Record], columns: Sequence[Column]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    table = Table(
        box=None, pad_edge=False, header_style="bold", show_header=any(c.heading for c in columns)
    )
    for index, column in enumerate(columns):
        table.add_column(column.heading, style="cyan" if index == 0 else "", overflow="fold")
    for row in rows:
        # Text, not str: a value such as "[red]" is shown, not obeyed.
        table.add_row(*(Text(_cell(row, column)) for column in columns))
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as capture:  # rich pads the last column; a script should not see that
        console.print(table)
    click.echo("\n".join(text.rstrip() for text in capture.get().splitlines()))


def _cell(row: Record, column: Column) -> str:
    return column.text(row[column.key]) if column.key in row else _NOTHING


def _console() -> Console:
    from rich.console import Console

    if _colourful(sys.stdout):
        return Console(highlight=False)
    return Console(highlight=False, no_color=True, width=None if sys.stdout.isatty() else _WIDE)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return moment(value)
    if value is None or value in ({}, [], ()):
        return _NOTHING
    if isinstance(value, Mapping):
        return pairs(cast(Mapping[str, Any], value))
    if isinstance(value, (list, tuple)):
        items = cast(Sequence[Any], value)
        return ("\n" if len(items) > _ON_ONE_LINE else ", ").join(map(_plain, items))
    return json.dumps(value, default=_json_value)


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _styled(text: str, stream: TextIO, **style: Any) -> str:
    return click.style(text, **style) if _colourful(stream) else text


def _colourful(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()
