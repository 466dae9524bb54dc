"""Which modules a service imports, read from its source without running it.

    entry files → walk the project's own modules → ImportScan(local, external)

Every import counts wherever it stands, also inside functions and through a literal
`import_module("name")`; those under `if TYPE_CHECKING` do not. Pure but for reading the files.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dosirak.errors import InvalidService

_IMPORT_FAILURES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


@dataclass(frozen=True, slots=True)
class ExternalImport:
    """A module that is not the project's own.

    Attributes:
        name: its dotted name; the last part may be an attribute (`from a import b` gives `a.b`).
        place: the first `file:line` that imports it.
        optional: every import of it stands under `try … except ImportError`.
    """

    name: str
    place: str
    optional: bool

    @property
    def top_level(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]


@dataclass(slots=True)
class ImportScan:
    """What was found: the project's own modules by name, and the others."""

    local: dict[str, Path] = field(default_factory=dict[str, Path])
    external: dict[str, ExternalImport] = field(default_factory=dict[str, ExternalImport])


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    line: int
    optional: bool


class LocalModules:
    """Finds the project's own modules below its import roots."""

    def __init__(self, roots: Iterable[Path], is_foreign: Callable[[str], bool]) -> None:
        self._roots = tuple(roots)
        # A directory without __init__.py never hides an installed package of the same name.
        self._is_foreign = is_foreign

    def find(self, name: str) -> Path | None:
        """Return the file of a module, or the directory of a namespace package."""
        relative = Path(*name.split("."))
        for root in self._roots:
            for candidate in (
                root / relative / "__init__.py",
                (root / relative).with_suffix(".py"),
            ):
                if candidate.is_file():
                    return candidate
        for root in self._roots:
            if self._is_namespace(root / relative, name):
                return root / relative
        return None

    def _is_namespace(self, directory: Path, name: str) -> bool:
        if not directory.is_dir() or self._is_foreign(name.partition(".")[0]):
            return False
        return next(directory.rglob("*.py"), None) is not None


def scan_imports(modules: Iterable[str], found_locally: LocalModules) -> ImportScan:
    """Follow the imports of `modules` through the project.

    Raises:
        InvalidService: a module of the project is not valid Python (the author's fault).
    """
    scan = ImportScan()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = found_locally.find(name)
        if path is None or name in scan.local:
            continue
        scan.local[name] = path
        waiting.extend(_parents(name))
        if path.is_file():
            waiting.extend(_follow(name, path, found_locally, scan))
    return scan


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _follow(name: str, path: Path, found_locally: LocalModules, scan: ImportScan) -> Iterator[str]:
    for found in imports_of(path, name, is_package=path.name == "__init__.py"):
        if found_locally.find(found.name.partition(".")[0]) is not None:
            yield found.name
            yield from _parents(found.name)
            continue
        known = scan.external.get(found.name)
        optional = found.optional and (known is None or known.optional)
        place = known.place if known else f"{path.name}:{found.line}"
        scan.external[found.name] = ExternalImport(found.name, place, optional)


def imports_of(path: Path, module: str, *, is_package: bool) -> Iterator[_Found]:
    """Yield the absolute names that one file imports.

    Raises:
        InvalidService: the file is not valid Python (the author's fault).
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise InvalidService(
            f"{path.name} is not valid Python: {error}.", remedy="Correct the file."
        ) from error
    package = module if is_package else module.rpartition(".")[0]
    visitor = _Visitor(package)
    visitor.visit(tree)
    return iter(visitor.found)


class _Visitor(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.found: list[_Found] = []
        self._package = package
        self._guards = 0

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._absolute(node.module or "", node.level)
        if base is None:
            return
        self._add(base, node.lineno)
        for alias in node.names:
            if alias.name != "*":
                # A submodule or an attribute: only the file system or the distribution can tell.
                self._add(f"{base}.{alias.name}", node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        name = _imported_by_call(node)
        if name is not None:
            level = len(name) - len(name.lstrip("."))
            absolute = self._absolute(name.lstrip("."), level)
            if absolute:
                self._add(absolute, node.lineno)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if _is_type_checking(node.test):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        guarded = any(_catches_import_errors(handler) for handler in node.handlers)
        self._guards += guarded
        for statement in node.body:
            self.visit(statement)
        self._guards -= guarded
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def _add(self, name: str, line: int) -> None:
        if name:
            self.found.append(_Found(name, line, self._guards > 0))

    def _absolute(self, name: str, level: int) -> str | None:
        if level == 0:
            return name
        parts = self._package.split(".") if self._package else []
        if level - 1 > len(parts) or not parts:
            return None
        base = parts[: len(parts) - (level - 1)]
        return ".".join([*base, name] if name else base)


def _imported_by_call(node: ast.Call) -> str | None:
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(getattr(kind, "id", "") in _IMPORT_FAILURES for kind in kinds)
