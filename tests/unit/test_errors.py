from __future__ import annotations

import copy

import pytest

import dosirak
from dosirak import errors
from dosirak.errors import DosirakError, FieldProblem


def every_error() -> list[type[DosirakError]]:
    found, waiting = [], [DosirakError]
    while waiting:
        kind = waiting.pop()
        # What other tests imported may refine an error for its own use, under the same code.
        if kind.__module__ == errors.__name__:
            found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


def test_every_code_is_used_once():
    codes = [kind.code for kind in every_error()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_an_exit_code_and_a_place_in_the_drawn_tree(kind):
    assert 400 <= kind.http_status <= 599
    assert 1 <= kind.exit_code <= 125
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert kind.code in errors.__doc__


def test_the_remedy_follows_the_message():
    error = DosirakError("It broke.", remedy="Mend it.")
    assert str(error) == "It broke. Mend it."


def test_a_copied_error_keeps_its_remedy_and_fields():
    error = errors.InvalidInput("Bad.", remedy="Good.", fields=[FieldProblem("a", "missing")])
    twin = copy.copy(error)
    assert (twin.message, twin.remedy, twin.fields) == ("Bad.", "Good.", (("a", "missing"),))


def test_a_request_id_is_shown_and_survives_copying():
    error = errors.ServiceError("It failed.", remedy="Look up the request id.")
    error.request_id = "r-1"
    assert str(copy.copy(error)) == "It failed. Look up the request id. [request r-1]"


def test_a_slip_in_a_name_of_the_package_is_one_that_python_can_correct():
    with pytest.raises(AttributeError) as caught:
        dosirak.modles  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("modles", dosirak)


def test_a_code_leads_back_to_its_own_class_and_to_no_stranger() -> None:
    class Stranger(errors.NotFound):
        pass

    for kind in (errors.DosirakError, errors.NotFound, errors.WorkerLost, errors.RemoteError):
        assert errors.error_class(kind.code) is kind
    assert errors.error_class("nobody") is None
