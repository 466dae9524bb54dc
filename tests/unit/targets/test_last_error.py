"""What people are told of a replica that ended by itself, out of what it printed last."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.targets.last_error import last_error

RAISED = "Making 'summarization' raised RuntimeError: model file is missing."
LOGGED = json.dumps(
    {"time": "t", "level": "error", "message": RAISED, "traceback": "Traceback\n" * 100}
)
ASKED = json.dumps({"time": "t", "event": "request", "path": "/f", "error": "service_error"})
NOTED = json.dumps({"time": "t", "level": "info", "message": "The worker is started again."})


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (LOGGED, RAISED),
        (f"{LOGGED}\n{ASKED}\n{NOTED}\nhello", RAISED),
        (f"{LOGGED}\nerror: It is too late.\n  Look at the clock.\n", "It is too late."),
        (
            "Traceback (most recent call last):\n  File \"x.py\", line 1\nkeras.a.BadError: two\n",
            "keras.a.BadError: two.",
        ),
        (f"{NOTED}\nall is well: no Error here\n{{broken\n[]\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_it_is_the_message_of_the_last_error(output: str, told: str) -> None:
    assert last_error(output) == told


@given(st.text(max_size=1000), st.booleans())
def test_it_is_one_short_line_whatever_was_printed(text: str, as_json: bool) -> None:
    printed = json.dumps({"level": "error", "message": text}) if as_json else f"error: {text}"
    told = last_error(printed)
    assert len(told) <= 300
    assert len(told.splitlines()) <= 1
