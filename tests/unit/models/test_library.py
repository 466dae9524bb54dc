from __future__ import annotations

from importlib.metadata import version
from json import JSONDecoder
from pathlib import Path

import pytest

from dosirak.errors import MissingDependency
from dosirak.models.library import (
    import_library,
    imported_object,
    library_versions,
    lineage,
    optional_library,
    pins,
)


def test_a_missing_library_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingDependency) as caught:
        import_library("no_such_library.part", extra="sklearn")
    assert caught.value.remedy == "Install it with: pip install 'dosirak[sklearn]'"
    assert "no_such_library" in caught.value.message
    assert optional_library("no_such_library") is None
    assert optional_library("json") is not None


def test_versions_of_what_is_installed_and_nothing_else() -> None:
    assert library_versions(["pytest", "no-such-distribution"]) == {"pytest": version("pytest")}


def test_pins_leave_out_local_labels() -> None:
    assert pins({"torch": "2.13.0+cpu", "numpy": "2.4.6"}) == ("numpy==2.4.6", "torch==2.13.0")


def test_lineage_is_read_from_the_class_without_an_import() -> None:
    assert lineage(JSONDecoder()) == {"json.JSONDecoder", "builtins.object"}


@pytest.mark.parametrize("name", ["", ":", "json", "json:", "json:no.such", "no_such:x", "..:x"])
def test_a_name_that_leads_nowhere_is_none(name: str) -> None:
    assert imported_object(name) is None


def test_a_nested_name_is_followed() -> None:
    assert imported_object("json:JSONDecoder.decode") is not None


@pytest.fixture
def boost_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is installed under another name than its own."""
    information = tmp_path / "my_boost_cpu-3.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-boost-cpu\nVersion: 3.2")
    (information / "RECORD").write_text("my_boost/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("boost_cpu")
def test_a_library_under_another_name_is_recorded_as_it_is_installed() -> None:
    assert library_versions(["my-boost", "pytest"]) == {
        "my-boost-cpu": "3.2",
        "pytest": version("pytest"),
    }
