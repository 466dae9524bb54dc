"""Writes docs/reference: the error tree, the command line and the Python names from the code, and
the table of faults from the figures of its last run.

`--check` writes nothing and exits 1 when a page differs from what would be written.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import click

import dosirak
from dosirak import errors
from dosirak.authoring import ClassService, FunctionService
from dosirak.cli import app
from dosirak.client.task import AsyncTask, Task
from dosirak.errors import DosirakError
from dosirak.store import Shelf
from dosirak.store.stored import StoredT

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
FAULTS = ROOT / "bench" / "results" / "faults.json"
LINE_LENGTH = 96
OWN = ("self", "cls")
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
            "A client raises the class of the code that it was sent, and a `RemoteError` where it",
            "does not know the code or the answer is not dosirak's.",
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


def python_page() -> str:
    """Every public name of the root and of its modules of verbs, and what it says."""
    parts = [
        "# The Python API",
        "",
        NOTICE,
        "",
        "What a name does in full stands in its docstring: `help(dosirak.models.save)`. The errors",
        "are in [a list of their own](errors.md).",
        "",
    ]
    written: dict[int, str] = {}
    for module in (dosirak, dosirak.models, dosirak.bundles, dosirak.deployment):
        parts += [f"## {module.__name__}", "", _summary(module), ""]
        for name in module.__all__:
            parts += _entry(f"{module.__name__}.{name}", getattr(module, name), written)
    parts += [
        "## What these give you",
        "",
        "Not made by hand: a service, and a submitted task.",
        "",
    ]
    for kind in (ClassService, FunctionService, Task, AsyncTask):
        parts += [f"### {kind.__name__}", "", _summary(kind), ""]
        parts += ["```py", *_members(kind)[1:], "```", ""]
    return "\n".join(parts)


def faults_page() -> str:
    """One row for each figure of the last run of the fault suite, those missed included."""
    found = json.loads(FAULTS.read_text(encoding="utf-8"))
    about, rows = found["about"], found["rows"]
    reached = sum(row["holds"] for row in rows)
    return "\n".join(
        [
            "# Faults",
            "",
            NOTICE,
            "",
            "What is done to a server, what must then hold, and what held. Real processes, started",
            "with `dosirak serve` on the machine that also makes the load; arrivals by the clock,",
            "times from when a request was meant to be sent; a ledger where every request has one",
            "outcome. [Testing](../guides/testing.md#when-things-break) says how to run it.",
            "",
            f"Python {about['python']}, Linux {about['kernel']}, {about['machine']},",
            f"{about['cores']} cores. The last column says what share of the full counts was",
            "run, and the machine's load average: times are those of a busy machine. Where *a bare",
            "server beside it* is named, that is one on the same core that answers at once and",
            "does nothing: what its callers wait is the machine's part and the load generator's.",
            "Outcomes: *right*, *refused* (429 or 503), *told* (another error, with its code),",
            "*left* (the client went away), *lost*, *swapped*, *wrong*.",
            "",
            f"{reached} of {len(rows)} figures reached.",
            "",
            "| fault | what is done | must | reached | | share; load |",
            "|---|---|---|---|---|---|",
            *(_fault_row(row) for row in rows),
            "",
        ]
    )


def _fault_row(row: dict[str, Any]) -> str:
    mark = "yes" if row["holds"] else "**no**"
    at = f"{row['share_of_full_counts']:g}; {row['load_average']:g}"
    cells = (row["fault"], row["done"], row["must"], row["reached"], mark, at)
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


PAGES = {
    "errors.md": errors_page,
    "cli.md": cli_page,
    "python.md": python_page,
    "faults.md": faults_page,
}


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
    context = click.Context(
        command, parent, info_name=name, terminal_width=80, **command.context_settings
    )
    yield context.command_path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from _helps(found, context, below)


def _entry(path: str, value: Any, written: dict[int, str]) -> list[str]:
    if inspect.ismodule(value) or not (inspect.isclass(value) or inspect.isroutine(value)):
        return []  # a module has its own part; __version__ and aliases say nothing by themselves
    if id(value) in written:
        return [f"### {path}", "", f"The same as `{written[id(value)]}`.", ""]
    written[id(value)] = path
    head = [f"### {path}", "", _summary(value), ""]
    if inspect.isclass(value) and issubclass(value, Warning):
        return head
    members = _members(value) if inspect.isclass(value) else []
    return [*head, "```py", *_signature(path, value), *members, "```", ""]


def _members(kind: type) -> list[str]:
    """One line or more for each public member that says what it is."""
    lines: list[str] = []
    for name, member in inspect.getmembers(kind):
        stated = inspect.getattr_static(kind, name)
        if name.startswith("_") or not inspect.getdoc(member):
            continue
        if isinstance(stated, property | cached_property):
            getter = stated.fget if isinstance(stated, property) else stated.func
            returned = inspect.signature(getter).return_annotation if getter else ""
            lines += ["", f".{name}: {returned}", f"    # {_summary(stated)}"]
        elif inspect.isroutine(member):
            lines += ["", *_signature(f".{name}", member), f"    # {_summary(member)}"]
    return lines


def _signature(path: str, value: Any) -> list[str]:
    """The signature on one line, or with a line for each parameter."""
    signature = inspect.signature(value)
    parts = list(_parts([p for p in signature.parameters.values() if p.name not in OWN]))
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    returned = "" if inspect.isclass(value) else f" -> {_words(signature.return_annotation)}"
    if inspect.ismethod(value) and isinstance(value.__self__, Shelf):
        returned = returned.replace(StoredT.__name__, value.__self__.view.__name__)
    line = f"{prefix}{path}({', '.join(parts)}){returned}"
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{prefix}{path}(", *(f"    {part}," for part in parts), f"){returned}"]


def _parts(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """The parameters as in a definition, with the lone `*` and `/`."""
    kinds = [one.kind for one in parameters]
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    for number, one in enumerate(parameters):
        before, after = kinds[:number], kinds[number + 1 :]
        if one.kind is one.KEYWORD_ONLY and not {one.KEYWORD_ONLY, one.VAR_POSITIONAL} & {*before}:
            yield "*"
        yield f"{stars.get(one.kind, '')}{one.name}: {_words(one.annotation)}{_default(one)}"
        if one.kind is one.POSITIONAL_ONLY and one.POSITIONAL_ONLY not in after:
            yield "/"


def _words(annotation: Any) -> str:
    """As the author wrote it: our modules do not evaluate annotations."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return ""
    if isinstance(default, str | int | float | tuple | None):
        return f" = {default!r}"
    public = type(default).__module__.startswith("dosirak")
    return f" = {type(default).__name__}()" if public else " = …"


def _summary(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


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
