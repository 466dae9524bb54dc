"""Build configuration: every key by name, every value kept inside the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosirak.bundles.project import configuration_from, find_project, read_configuration
from dosirak.errors import InvalidConfiguration, InvalidName


def test_a_project_without_configuration_has_the_default(tmp_path: Path) -> None:
    configuration = read_configuration(tmp_path)
    assert configuration.service is None
    assert configuration.include is None


def test_pyproject_is_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dosirak]\nservice = "service:Iris"\nlabels = {team = "flowers"}\n'
        'requirements = ["psycopg>=3"]\n'
    )
    configuration = read_configuration(tmp_path)
    assert configuration.service == "service:Iris"
    assert configuration.labels == {"team": "flowers"}
    assert configuration.requirements == ("psycopg>=3",)


def test_own_file_wins_over_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dosirak]\nname = "one"\n')
    (tmp_path / "dosirak.toml").write_text('name = "two"\n')
    assert read_configuration(tmp_path).name == "two"


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "dosirak.toml").write_text('requirments = ["numpy"]\n')
    with pytest.raises(InvalidConfiguration, match="unknown key 'requirments'") as caught:
        read_configuration(tmp_path)
    assert "'requirements'" in caught.value.remedy


def test_wrong_kind_of_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "dosirak.toml").write_text("include = 3\n")
    with pytest.raises(InvalidConfiguration, match="include"):
        read_configuration(tmp_path)


def test_broken_toml_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.dosirak\n")
    with pytest.raises(InvalidConfiguration, match="not valid TOML"):
        read_configuration(tmp_path)


OUTSIDE = [
    "/etc/passwd:X",
    "../service.py",
    "a/../../b.py",
    "~/service.py",
    "$HOME/service.py",
    "a/$HOME/b.py",
    "file:///service.py",
    "C:\\service.py",
    "C:/service.py",
    "\\\\host\\share.py",
    "..\\service.py",
]


@pytest.mark.parametrize("value", OUTSIDE)
def test_service_out_of_the_project_is_refused(value: str) -> None:
    with pytest.raises(InvalidConfiguration, match="points out of the project"):
        configuration_from({"service": value}, where="dosirak.toml")


@pytest.mark.parametrize("key", ["include", "exclude"])
@pytest.mark.parametrize("value", ["../x", "!../x", "//etc/x", "~/x", "${HOME}/x", "file:///x"])
def test_pattern_out_of_the_project_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidConfiguration, match="points out of the project"):
        configuration_from({key: [value]}, where="dosirak.toml")


def test_anchored_pattern_is_a_pattern() -> None:
    configuration = configuration_from({"exclude": ["/data", "!/data/keep"]}, where="here")
    assert configuration.exclude == ("/data", "!/data/keep")


@pytest.mark.parametrize(
    "requirement", ["x @ file:///tmp/x", "x @ http://host/x.whl", "not a req!"]
)
def test_requirement_that_others_cannot_install_is_refused(requirement: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"requirement|reach"):
        configuration_from({"requirements": [requirement]}, where="here")


def test_name_follows_the_grammar() -> None:
    with pytest.raises(InvalidName):
        configuration_from({"name": "No Name"}, where="here")


@pytest.mark.parametrize("python", ["3.11", ">=3.11,<3.14"])
def test_python_is_a_version_or_specifiers(python: str) -> None:
    assert configuration_from({"python": python}, where="here").python == python


def test_other_python_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="not a Python version"):
        configuration_from({"python": "eleven"}, where="here")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.lists(st.text()))))
def test_any_table_is_a_configuration_or_a_clear_error(table: dict[str, object]) -> None:
    try:
        configuration_from(table, where="here")
    except (InvalidConfiguration, InvalidName) as error:
        assert error.remedy


def test_nearest_marked_directory_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "dosirak.toml").touch()
    assert find_project(inner) == tmp_path / "a"
