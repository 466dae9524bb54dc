"""Sealing a service that was defined in the script that is running.

A bundle imports its module. Importing a script would train, pack and seal all over again, so when
its work is not under `if __name__ == "__main__":`, only the statements that the service needs
travel: its own, and those that bind a name which one of them uses. The others become blank lines,
so that line numbers in tracebacks stay true. Pure.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator

from dosirak.errors import InvalidService


def importable_source(source: str, attribute: str, *, file_name: str) -> str:
    """Return the source of a script such that importing it only defines what `attribute` needs.

    Raises:
        InvalidService: the script does not define `attribute` at its top level (the author's
            fault).
    """
    statements = ast.parse(source).body
    bound = [frozenset(_bound_names(statement)) for statement in statements]
    if not any(attribute in names for names in bound):
        raise InvalidService(
            f"{file_name} does not define {attribute!r} at its top level.",
            remedy="Define the service's class at the top level of a module.",
        )
    if any(_is_main_guard(statement) for statement in statements):
        return source
    kept = _closure(statements, bound, attribute)
    dropped = [statement for index, statement in enumerate(statements) if index not in kept]
    return _blank(source, dropped)


def dropped_lines(before: str, after: str) -> tuple[int, ...]:
    """Return the numbers of the lines that `importable_source` left out."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=True)
    return tuple(number for number, (old, new) in enumerate(pairs, start=1) if old != new)


def _closure(
    statements: list[ast.stmt], bound: list[frozenset[str]], attribute: str
) -> frozenset[int]:
    kept: set[int] = {0} if statements and _is_docstring(statements[0]) else set()
    kept |= {index for index, found in enumerate(statements) if _is_needed_anyhow(found)}
    wanted, known = {attribute}, set[str]()
    while wanted:
        name = wanted.pop()
        known.add(name)
        for index, names in enumerate(bound):
            if name in names and index not in kept:
                kept.add(index)
                wanted |= set(_used_names(statements[index])) - known
    return frozenset(kept)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_needed_anyhow(statement: ast.stmt) -> bool:
    """Whether a statement is an import whose names cannot be seen: of the future, or of all."""
    return isinstance(statement, ast.ImportFrom) and (
        statement.module == "__future__" or any(alias.name == "*" for alias in statement.names)
    )


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names of the module that a top-level statement defines or changes."""
    table = symtable.symtable(ast.unparse(statement), "<statement>", "exec")
    yield from (symbol.get_name() for symbol in table.get_symbols() if _binds(symbol))
    # `settings["a"] = 1` and `names.append(x)` change what a name stands for; only assignments do
    # so without calling, and a call is work that must not be done twice.
    if isinstance(statement, ast.Assign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from _changed_names(targets)


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _changed_names(targets: Iterable[ast.expr]) -> Iterator[str]:
    for target in targets:
        base = target
        while isinstance(base, ast.Attribute | ast.Subscript):
            base = base.value
        if isinstance(base, ast.Name):
            yield base.id


def _used_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names of the module that a statement reads; a function's own names are not."""
    yield from _read_names(symtable.symtable(ast.unparse(statement), "<statement>", "exec"))
    for node in ast.walk(statement):
        for annotation in _annotations(node):
            # A quoted annotation names what it uses.
            yield from _names_in_texts(annotation)


def _read_names(table: symtable.SymbolTable) -> Iterator[str]:
    of_module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (of_module or symbol.is_global()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _read_names(inner)


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for name in ("annotation", "returns"):
        if isinstance(found := getattr(node, name, None), ast.expr):
            yield found


def _names_in_texts(annotation: ast.expr) -> Iterator[str]:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _names_in_text(node.value)


def _names_in_text(text: str) -> Iterator[str]:
    try:
        expression = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return
    yield from (node.id for node in ast.walk(expression) if isinstance(node, ast.Name))


def _blank(source: str, statements: Iterable[ast.stmt]) -> str:
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for statement in reversed(list(statements)):  # right to left, so that offsets stay true
        first, last = _first_line(statement), statement.end_lineno or statement.lineno
        for number in range(first, last + 1):
            start = statement.col_offset if number == first else 0
            end = statement.end_col_offset if number == last else None
            lines[number - 1] = _blank_span(lines[number - 1], start, end)
    return b"".join(lines).decode()


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _blank_span(line: bytes, start: int, end: int | None) -> bytes:
    body = line.rstrip(b"\r\n")
    before, after = body[:start], body[len(body) if end is None else end :]
    if after.strip()[:1] == b"#":
        after = b""
    # Before the semicolon of another statement on the line something must stand.
    filler = b"0" if after.strip()[:1] == b";" else b""
    return (before + filler + after).rstrip() + line[len(body) :]
