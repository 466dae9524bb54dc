from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import InvalidName
from dosirak.naming import Reference, check_name, check_version, name_from_identifier


def test_a_reference_without_a_version_means_the_latest():
    assert Reference.parse("iris") == ("iris", "latest")
    assert Reference.parse("iris").is_latest


def test_a_reference_reads_back_as_it_was_written():
    assert str(Reference.parse("iris:2026.11-a_b")) == "iris:2026.11-a_b"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Iris",
        "-iris",
        "iris-",
        ".iris",
        "ir is",
        "iris/x",
        "../x",
        "a..b",
        "é",
        "a" * 129,
        "a\n",
    ],
)
def test_names_outside_the_grammar_are_refused(name: str):
    with pytest.raises(InvalidName):
        check_name(name)


@pytest.mark.parametrize("version", ["", ".", "..", "-1", "a b", "a/b", "a..b", "x" * 129, "1\n"])
def test_versions_outside_the_grammar_are_refused(version: str):
    with pytest.raises(InvalidName):
        check_version(version)


def test_latest_cannot_be_given_to_a_version():
    with pytest.raises(InvalidName, match="computed"):
        check_version("latest")


@given(st.text(max_size=20))
def test_whatever_parses_is_a_single_path_component_per_part(text: str):
    try:
        reference = Reference.parse(text)
    except InvalidName:
        return
    for part in reference:
        assert part not in ("", ".", "..")
        assert not set(part) & set("/\\:\0\n ")


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("Iris", "iris"),
        ("IrisClassifier", "iris_classifier"),
        ("HTTPModel2", "http_model2"),
        ("my_function", "my_function"),
        ("_Private", "private"),
    ],
)
def test_a_class_name_becomes_a_name_by_its_words(identifier: str, name: str):
    assert name_from_identifier(identifier) == name


@pytest.mark.parametrize(
    ("name", "near"), [("My Model", "my-model"), ("_Iris_", "iris"), ("a/b", "a-b")]
)
def test_a_bad_name_is_answered_with_one_that_is_near(name: str, near: str) -> None:
    with pytest.raises(InvalidName) as caught:
        check_name(name)
    assert f"Try {near!r}." in caught.value.remedy


def test_a_name_that_nothing_is_near_to_is_answered_with_the_rule_alone() -> None:
    with pytest.raises(InvalidName) as caught:
        check_name("../..")
    assert caught.value.remedy.startswith("Use 1 to 128")


@pytest.mark.parametrize("reference", [None, 5, b"iris", ["iris"]])
def test_a_reference_that_is_no_text_is_refused(reference: object) -> None:
    with pytest.raises(InvalidName):
        Reference.parse(reference)
