from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from dosirak.errors import InvalidService, MissingDependency, NotFound
from dosirak.spec import loading
from dosirak.spec.loading import import_target

SERVICE = """
import dosirak

@dosirak.service
class {name}:
    @dosirak.api
    def f(self, x: int) -> int:
        return x
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_a_file_with_one_service_needs_no_more_words(project: Path):
    (project / "only_one.py").write_text(SERVICE.format(name="One"))
    found = import_target("only_one.py", directory=project)
    assert found.spec.target == "only_one:One"
    assert found.root == project


def test_a_module_and_class_are_found_from_the_directory(project: Path):
    (project / "two_services.py").write_text(SERVICE.format(name="A") + SERVICE.format(name="B"))
    assert import_target("two_services:B", directory=project).spec.name == "b"


def test_a_file_inside_a_package_is_imported_by_its_full_name(project: Path):
    package = project / "outer_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("WORD = 'hi'\n")
    (package / "service.py").write_text("from .part import WORD\n" + SERVICE.format(name="P"))
    found = import_target("outer_package/service.py", directory=project)
    assert found.spec.target == "outer_package.service:P"
    assert found.root == project


def test_several_services_ask_for_a_name_and_list_them(project: Path):
    (project / "many.py").write_text(SERVICE.format(name="A") + SERVICE.format(name="B"))
    with pytest.raises(InvalidService, match="A, B"):
        import_target("many.py", directory=project)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("absent.py", NotFound, "no file"),
        ("absent_module:X", NotFound, "no module"),
        ("empty.py", InvalidService, "no service"),
        ("broken.py", InvalidService, "ZeroDivisionError.*broken.py, line 2"),
        ("garbled.py", InvalidService, "SyntaxError.*line 1"),
        (
            "needy.py",
            MissingDependency,
            "module 'nowhere_to_be_found', which is neither in",
        ),
        ("slip.py", InvalidService, "No module named 'json.nowhere'"),
        ("fine.py:Nope", NotFound, "It has: Fine"),
        ("fine.py:dosirak", InvalidService, "not a service"),
        ("not-a-name.py", InvalidService, "Rename"),
        ("", NotFound, "not a module name"),
    ],
)
def test_what_cannot_be_loaded_says_why(project: Path, text, error, says):
    (project / "empty.py").write_text("")
    (project / "broken.py").write_text("\n1 / 0\n")
    (project / "garbled.py").write_text("def (:\n")
    (project / "needy.py").write_text("import nowhere_to_be_found\n")
    (project / "slip.py").write_text("import json.nowhere\n")
    (project / "fine.py").write_text(SERVICE.format(name="Fine"))
    (project / "not-a-name.py").write_text(SERVICE.format(name="Fine"))
    with pytest.raises(error, match=says) as caught:
        import_target(text, directory=project)
    assert caught.value.remedy


def test_a_library_that_an_extra_installs_is_named_with_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    # A library that is not installed here stands for each of ours that may not be elsewhere.
    monkeypatch.setitem(loading._EXTRAS, "nowhere_to_be_found", "lightgbm")
    (project / "needy_too.py").write_text("import nowhere_to_be_found.sklearn\n")
    with pytest.raises(MissingDependency) as caught:
        import_target("needy_too.py", directory=project)
    assert caught.value.remedy == "Install it with: pip install 'dosirak[lightgbm]'"


def test_a_module_that_the_project_lost_is_never_looked_for_on_an_index(project: Path):
    (project / "aided.py").write_text("import aid_that_went\n")
    with pytest.raises(MissingDependency, match=r"neither in .* nor installed") as caught:
        import_target("aided.py", directory=project)
    assert "pip" not in caught.value.remedy
    assert "aid_that_went.py" in caught.value.remedy


@pytest.mark.parametrize("path", ["sibling_aid.py", "sibling_aid/__init__.py"])
def test_a_module_beside_the_project_is_found_and_named(project: Path, path: str):
    inner = project / "inner"
    inner.mkdir()
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text("")
    (inner / "aided_from_beside.py").write_text("import sibling_aid\n")
    with pytest.raises(MissingDependency, match=r"sibling_aid.* is outside") as caught:
        import_target("aided_from_beside.py", directory=inner)
    assert "pip" not in caught.value.remedy


def test_a_file_that_is_nearly_so_named_is_suggested(project: Path):
    (project / "servant.py").write_text("")
    with pytest.raises(NotFound) as caught:
        import_target("servnat.py", directory=project)
    assert caught.value.remedy == "Did you mean servant.py?"


def test_every_extra_that_an_error_names_exists():
    known = set(metadata.metadata("dosirak").get_all("Provides-Extra") or ())
    assert set(loading._EXTRAS.values()) <= known


def test_a_file_that_an_installed_module_hides_is_refused(project: Path):
    (project / "json.py").write_text(SERVICE.format(name="Hidden"))
    with pytest.raises(InvalidService, match="Rename the file"):
        import_target("json.py", directory=project)
