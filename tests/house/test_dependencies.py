"""What the sources import is what the distribution says it needs.

A module imported when a file is loaded must come from a dependency; one imported inside a function
may come from an extra (ADR 0004).
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((ROOT / "src").rglob("*.py"))
# Used where it is installed, offered to nobody: what 0.13's own files and adapters need, and what
# scikit-learn brings, which alone knows the threads that come with it.
OPTIONAL = {"joblib", "tensorflow", "threadpoolctl"}

# Imported by its name, once something has asked for the extra and found it: a class cannot wait.
BEHIND_AN_EXTRA = {"dosirak/serving/http2_connection.py"}
# A lazy door that says what to install; behind it everything needs the extra `platform`.
PLATFORM = ("dosirak/deployment/", "dosirak/targets/")


def _is_behind_an_extra(path: str) -> bool:
    return path in BEHIND_AN_EXTRA or path.startswith(PLATFORM)


def _names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


DEPENDENCIES = _names(PROJECT["dependencies"])
EXTRAS = set[str]().union(*(_names(lines) for lines in PROJECT["optional-dependencies"].values()))
PROVIDERS = packages_distributions()


def _imports(node: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each imported top-level name, and whether its import waits for a call."""
    if isinstance(node, ast.Import):
        yield from ((alias.name.partition(".")[0], inside) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.partition(".")[0], inside
    is_guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    waits = inside or is_guard or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, inside=waits)


def _is_provided(module: str, distributions: set[str]) -> bool:
    providers = {canonicalize_name(name) for name in PROVIDERS.get(module, ())}
    # Not installed here: its own name has to do.
    return bool((providers or {canonicalize_name(module)}) & distributions)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_every_import_is_declared(path: Path) -> None:
    own = set(sys.stdlib_module_names) | {"dosirak"} | OPTIONAL
    undeclared = {
        (module, "needs to be a dependency" if not waits else "needs an extra")
        for module, waits in _imports(
            ast.parse(path.read_text(encoding="utf-8")),
            inside=_is_behind_an_extra(str(path.relative_to(ROOT / "src"))),
        )
        if module not in own
        and not _is_provided(module, DEPENDENCIES | EXTRAS if waits else DEPENDENCIES)
    }
    assert undeclared == set()
