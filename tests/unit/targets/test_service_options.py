"""Which options of `serve` a deployment may set, and what is said of others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.cli.serve import command
from dosirak.errors import InvalidConfiguration
from dosirak.targets.service_options import (
    OPTIONS,
    REFUSED,
    serve_arguments,
    validate_service_options,
)


def test_every_option_of_the_command_is_allowed_or_refused_with_a_reason() -> None:
    names = {option.opts[0].removeprefix("--").replace("-", "_") for option in command.params}

    assert names - {"target"} == set(OPTIONS) | set(REFUSED)
    assert not set(OPTIONS) & set(REFUSED)


@pytest.mark.parametrize(
    "options",
    [
        {
            "fronts": 2,
            "timeout_s": 5,
            "max_body": "2GiB",
            "pin_cpus": True,
            "worker_start": "spawn",
        },
        {
            "max_body": 1024,
            "http2": False,
            "quarantine_s": 0.0,
            "task_store": "redis://cache:6379/0",
        },
        {"inference_log": "/var/log/x", "inference_log_redact": "a, b", "inference_log_rate": 0.5},
    ],
)
def test_what_is_allowed_is_what_the_command_takes(options: dict[str, Any]) -> None:
    validate_service_options(options)

    context = command.make_context("serve", ["service.py", *serve_arguments(options)])
    for name, value in options.items():
        if name == "inference_log_redact":
            assert context.params[name] == ("a", "b")
        elif name not in ("max_body", "inference_log"):
            assert context.params[name] == value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 80}, "is the platform's affair"),
        ({"drain_timeout_s": 1}, "Set drain_timeout_s of the deployment"),
        ({"colour": "red"}, "is no option"),
        ({"fronts": 0}, "a whole number from 1 to 64"),
        ({"fronts": True}, "a whole number from 1 to 64"),
        ({"timeout_s": 0}, "a number above 0"),
        ({"timeout_s": float("nan")}, "a number above 0"),
        ({"max_body": "much"}, "a size such as"),
        ({"max_body": "0"}, "a size such as"),
        ({"pin_cpus": "yes"}, "true or false"),
        ({"worker_start": "later"}, "one of auto, fork, spawn"),
        ({"task_store": "redis://:password@cache/0"}, "belongs into the secret"),
        ({"inference_log_rate": 0.5}, "needs inference_log"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=said) as refused:
        validate_service_options(options)

    assert [problem.field for problem in refused.value.fields] == [
        f"service_options.{name}" for name in options
    ]


@given(
    st.dictionaries(
        st.sampled_from([*OPTIONS, *REFUSED, "x"]),
        st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.booleans()),
        max_size=4,
    )
)
def test_whatever_is_asked_is_accepted_or_refused_in_words(options: dict[str, Any]) -> None:
    try:
        validate_service_options(options)
    except InvalidConfiguration as error:
        assert error.fields
    else:
        assert all(argument.startswith("--") for argument in serve_arguments(options))
