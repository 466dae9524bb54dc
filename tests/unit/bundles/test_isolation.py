"""Bundles import their own modules, never stand in for others', and never mix."""

from __future__ import annotations

import gc
import importlib
import py_compile
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from dosirak.bundles.isolation import ImportScope, check_no_shadowing
from dosirak.errors import InvalidService


def write(root: Path, path: str, text: str = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def load(scope: ImportScope, name: str) -> ModuleType:
    with scope:
        return importlib.import_module(name)


@pytest.mark.parametrize(
    "path", ["lightgbm.py", "numpy/__init__.py", "json.py", "logging/__init__.py", "dosirak.py"]
)
def test_a_name_of_an_installed_or_standard_module_is_refused(tmp_path: Path, path: str) -> None:
    write(tmp_path, path, "raise SystemExit('ran')")
    with pytest.raises(InvalidService, match=path.partition("/")[0].removesuffix(".py")):
        check_no_shadowing([tmp_path])
    with pytest.raises(InvalidService):
        ImportScope([tmp_path]).open()


@pytest.mark.parametrize("path", ["numpy/core.py", "tests/__init__.py", "test/x.py"])
def test_what_could_only_stand_behind_is_let_pass_and_never_used(tmp_path: Path, path: str) -> None:
    write(tmp_path, path, "raise SystemExit('ran')")
    write(tmp_path, "service.py", "import numpy\nshape = numpy.zeros(2).shape\n")
    scope = ImportScope([tmp_path]).open()
    assert load(scope, "service").shape == (2,)
    scope.close()


def test_two_scopes_with_equal_names_do_not_mix(tmp_path: Path) -> None:
    scopes = []
    for value in ("one", "two"):
        root = tmp_path / value
        write(
            root,
            "my_service.py",
            "import my_helper\n"
            "def early(): return my_helper.VALUE\n"
            "def late():\n    from my_helper import VALUE\n    return VALUE\n"
            "def later():\n    import my_package.inner\n    return my_package.inner.VALUE\n"
            "def latest():\n    from my_package import inner\n    return inner.other()\n",
        )
        write(root, "my_helper.py", f"VALUE = {value!r}\n")
        write(root, "my_package/__init__.py")
        write(
            root,
            "my_package/inner.py",
            f"VALUE = {value!r}\ndef other():\n    from .sibling import VALUE\n    return VALUE\n",
        )
        write(root, "my_package/sibling.py", f"VALUE = {value!r}\n")
        scopes.append(ImportScope([root]).open())
    one, two = (load(scope, "my_service") for scope in scopes)
    for _ in range(2):
        assert [one.early(), one.late(), one.later(), one.latest()] == ["one"] * 4
        assert [two.early(), two.late(), two.later(), two.latest()] == ["two"] * 4
    for scope in scopes:
        scope.close()
    assert not [name for name in sys.modules if name.startswith(("my_service", "my_package"))]


def test_the_first_scopes_modules_can_be_found_by_name(tmp_path: Path) -> None:
    write(tmp_path, "my_only_service.py", "class Thing: pass\n")
    scope = ImportScope([tmp_path]).open()
    module = load(scope, "my_only_service")
    assert importlib.import_module("my_only_service") is module
    scope.close()
    assert "my_only_service" not in sys.modules


def test_an_authors_own_module_of_that_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "bundle/my_twin.py", "VALUE = 'bundle'\n")
    write(tmp_path, "own/my_twin.py", "VALUE = 'own'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    scope = ImportScope([tmp_path / "bundle"]).open()
    assert load(scope, "my_twin").VALUE == "bundle"
    own = importlib.import_module("my_twin")
    assert own.VALUE == "own"
    assert load(scope, "my_twin").VALUE == "bundle"
    assert sys.modules["my_twin"] is own
    del sys.modules["my_twin"]


def test_circular_imports_and_a_failing_module_leave_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, "my_left.py", "import my_right\nX = 1\n")
    write(tmp_path, "my_right.py", "import my_left\nY = 2\n")
    write(tmp_path, "my_broken.py", "raise ValueError('no')\n")
    scope = ImportScope([tmp_path]).open()
    assert load(scope, "my_left").my_right.Y == 2
    before = list(sys.meta_path)
    with pytest.raises(ValueError, match="no"):
        load(scope, "my_broken")
    assert sys.meta_path == before
    assert "my_broken" not in sys.modules
    scope.close()


def test_byte_code_is_neither_read_nor_written(tmp_path: Path) -> None:
    path = write(tmp_path, "my_compiled.py", "VALUE = 'evil'\n")
    compiled = py_compile.compile(
        str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert compiled
    write(tmp_path, "my_compiled.py", "VALUE = 'good'\n")
    scope = ImportScope([tmp_path]).open()
    assert load(scope, "my_compiled").VALUE == "good"
    scope.close()
    write(tmp_path, "my_other.py")
    load(ImportScope([tmp_path]).open(), "my_other")
    assert not list(tmp_path.rglob("my_other*.pyc"))
    del sys.modules["my_other"]


def test_lazy_imports_in_many_threads_agree(tmp_path: Path) -> None:
    scopes = []
    for value in range(4):
        root = tmp_path / str(value)
        write(root, "my_threaded.py", "def get():\n    import my_lazy\n    return my_lazy.VALUE\n")
        write(root, "my_lazy.py", f"VALUE = {value}\n")
        scopes.append(ImportScope([root]).open())
    modules = [load(scope, "my_threaded") for scope in scopes]
    wrong: list[tuple[int, int]] = []

    def ask(expected: int) -> None:
        for _ in range(200):
            found = modules[expected].get()
            if found != expected:
                wrong.append((expected, found))

    threads = [threading.Thread(target=ask, args=(index % 4,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for scope in scopes:
        scope.close()


def test_an_offered_module_is_found_by_name_although_nobody_imported_it(tmp_path: Path) -> None:
    write(tmp_path, "my_late_part.py", "VALUE = 1\n")
    scope = ImportScope([tmp_path]).open()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("my_late_part")
    scope.offer()
    assert importlib.import_module("my_late_part").VALUE == 1
    assert load(scope, "my_late_part") is importlib.import_module("my_late_part")
    before = len(sys.meta_path)
    scope.close()
    assert len(sys.meta_path) == before - 1
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("my_late_part")


def test_what_two_scopes_offer_is_taken_from_neither(tmp_path: Path) -> None:
    scopes = []
    for value in ("one", "two"):
        write(tmp_path / value, "my_contested.py", f"VALUE = {value!r}\n")
        scopes.append(ImportScope([tmp_path / value]).open())
        scopes[-1].offer()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("my_contested")
    scopes.pop().close()
    assert importlib.import_module("my_contested").VALUE == "one"
    scopes.pop().close()


def test_a_scope_that_is_forgotten_offers_nothing(tmp_path: Path) -> None:
    write(tmp_path, "my_forgotten.py")
    ImportScope([tmp_path]).open().offer()
    gc.collect()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("my_forgotten")
    other = ImportScope([tmp_path]).open()
    other.offer()
    importlib.import_module("my_forgotten")
    other.close()
