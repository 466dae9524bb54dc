from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosirak.client.methods import OWN_NAMES, method_names

names = st.sampled_from(sorted(OWN_NAMES)) | st.sampled_from(["api_call", "_x", "predict"])


def test_only_names_that_clash_are_prefixed() -> None:
    assert method_names(["predict", "call", "_hidden"]) == {
        "predict": "predict",
        "api_call": "call",
        "api__hidden": "_hidden",
    }


def test_a_prefixed_name_does_not_hide_an_api_of_that_name() -> None:
    assert method_names(["call", "api_call"]) == {"api_call": "api_call", "api_api_call": "call"}


@given(st.sets(names | st.text(min_size=1, max_size=8)))
def test_every_api_has_one_method_whose_name_is_free(apis: set[str]) -> None:
    methods = method_names(apis)
    assert sorted(methods.values()) == sorted(apis)
    assert not set(methods) & OWN_NAMES
    assert not any(name.startswith("_") for name in methods)
