"""Inputs that ended workers are refused, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import QuarantinedInput
from dosirak.serving.quarantine import MOST_KEPT, Quarantine

INPUTS = st.tuples(st.sampled_from(["a", "ab", "b"]), st.binary(max_size=4))


@given(st.lists(INPUTS, max_size=50), st.lists(INPUTS, max_size=50))
def test_what_was_added_is_refused_and_nothing_else(added, asked):
    quarantine = Quarantine()
    for api, body in added:
        quarantine.add(api, body)
    for api, body in asked:
        if (api, body) in added:
            with pytest.raises(QuarantinedInput):
                quarantine.refuse(api, memoryview(body))
        else:
            quarantine.refuse(api, body)


def test_after_a_while_an_input_is_run_again():
    quarantine = Quarantine(kept_s=0.0)
    quarantine.add("a", b"x")
    quarantine.refuse("a", b"x")


def test_many_inputs_push_out_the_oldest():
    quarantine = Quarantine()
    for number in range(MOST_KEPT + 1):
        quarantine.add("a", b"%d" % number)
    quarantine.refuse("a", b"0")
    with pytest.raises(QuarantinedInput):
        quarantine.refuse("a", b"1")
