from __future__ import annotations

from importlib.metadata import version
from json import JSONDecoder

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
