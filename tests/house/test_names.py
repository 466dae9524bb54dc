"""How files are named and opened, and what modules export."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

import dosirak

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FILES = sorted(SOURCE.rglob("*.py"))
EVASIVE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "base"}


def _relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def _module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    words = {
        _relative(path): {*path.stem.lower().split("_"), *path.relative_to(SOURCE).parts[:-1]}
        for path in FILES
    }
    assert {name: found & EVASIVE for name, found in words.items() if found & EVASIVE} == {}


@pytest.mark.parametrize("path", FILES, ids=_relative)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def _assigned_names(tree: ast.Module) -> set[str]:
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


WITH_EXPORTS = [
    path
    for path in FILES
    if "__all__" in _assigned_names(ast.parse(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("path", WITH_EXPORTS, ids=_relative)
def test_an_export_list_names_what_is_there_once(path: Path) -> None:
    module = importlib.import_module(_module_name(path))
    exported = list(module.__all__)
    assert len(exported) == len(set(exported))
    assert [name for name in exported if not hasattr(module, name)] == []


def test_the_root_offers_the_same_names_to_programs_and_to_type_checkers() -> None:
    tree = ast.parse((SOURCE / "dosirak" / "__init__.py").read_text(encoding="utf-8"))
    seen_by_type_checkers = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.If)
        for imported in node.body
        if isinstance(imported, ast.ImportFrom)
        for alias in imported.names
    }
    assert set(dosirak.__all__) - {"__version__"} == seen_by_type_checkers
    assert set(dir(dosirak)) == set(dosirak.__all__)


@pytest.mark.parametrize("name", dosirak.__all__)
def test_every_name_of_the_root_is_found(name: str) -> None:
    assert getattr(dosirak, name) is not None


def test_a_folder_never_hides_another_thing_of_its_name_at_the_root() -> None:
    folders = {path.parent.name for path in (SOURCE / "dosirak").glob("*/__init__.py")}
    for name in folders & set(dosirak.__all__):
        assert getattr(dosirak, name) is importlib.import_module(f"dosirak.{name}")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lunch'"):
        _ = dosirak.lunch


def test_the_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert dosirak.__version__ == project["version"]
