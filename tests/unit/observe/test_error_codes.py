"""Which error an answer holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import InvalidInput
from dosirak.observe.error_codes import code_in
from dosirak.payload.codec import error_response


def test_an_error_of_the_tree_is_counted_by_its_code():
    answer = error_response(InvalidInput("No.", remedy="Stop."), request_id="r")
    assert code_in(answer.status, answer.body) == "invalid_input"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"code": "mine"}', b'{"code": 1}', b"\xff", b"{"])
def test_anything_else_by_its_status(body):
    assert code_in(404, body) == "http_404"


@given(st.binary(max_size=80) | st.text().map(lambda text: f'{{"code": "{text}"}}'.encode()))
def test_no_answer_makes_more_labels(body):
    code = code_in(500, memoryview(body))
    assert code == "http_500" or code.isidentifier()
