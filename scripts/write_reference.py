"""Writes docs/reference from the code: the error tree and the command line.

`--check` writes nothing and exits 1 when a page differs from what would be written.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dosirak import errors
from dosirak.cli import app
from dosirak.errors import DosirakError

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTICE = "<!-- Written by scripts/write_reference.py (`make docs`); do not edit. -->"


def errors_page() -> str:
    """One row for each error class, in the order of the tree, and the tree itself."""
    tree = inspect.cleandoc(errors.__doc__ or "")
    rows = [
        f"| `{'· ' * depth}{kind.__name__}` | `{kind.code}` | {kind.http_status} "
        f"| {kind.exit_code} | {_first_sentence(kind)} |"
        for kind, depth in _walk(DosirakError, 0)
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            NOTICE,
            "",
            "Every error that dosirak raises on purpose is one of these classes of",
            "`dosirak.errors`. Catch a branch of the tree to catch everything below it. Over HTTP",
            "the `code` stands in the JSON body; the command line ends with the exit code.",
            "",
            "| class | code | HTTP | exit | when |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Exit code 0 is success, 1 an error that nobody foresaw (the line printed says where",
            "the traceback is), 130 an interrupt (Ctrl-C), 141 a closed pipe.",
            "",
            "## The tree",
            "",
            "```text",
            tree,
            "```",
            "",
        ]
    )


def cli_page() -> str:
    """The help of every command, as a terminal of 80 columns shows it."""
    parts = ["# The command line", "", NOTICE, ""]
    for path, text in _helps(app.command, None, "dosirak"):
        parts += [f"{'#' * (path.count(' ') + 2)} {path}", "", "```text", text, "```", ""]
    return "\n".join(parts)


PAGES = {"errors.md": errors_page, "cli.md": cli_page}


def _walk(kind: type[DosirakError], depth: int) -> Iterator[tuple[type[DosirakError], int]]:
    yield kind, depth
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _walk(below, depth + 1)


def _first_sentence(kind: type[DosirakError]) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _helps(
    command: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[str, str]]:
    context = click.Context(command, parent, info_name=name, terminal_width=80)
    yield context.command_path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from _helps(found, context, below)


def main() -> int:
    """Write or check the pages."""
    stale: list[str] = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"docs/reference is stale: {', '.join(stale)}. Run: make docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
