"""Where the services below one run, in words, and what the environment gets wrong."""

from __future__ import annotations

import dosirak
from dosirak.serving.places import placed_by, places_of, unknown_variables


@dosirak.service
class Deep:
    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service
class Middle:
    deep = dosirak.depends(Deep)

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service
class Top:
    middle = dosirak.depends(Middle, workers=2)

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


def test_a_place_is_said_for_each_service_below() -> None:
    assert places_of(Top.spec) == {
        "middle": "in 2 workers of its own",
        "deep": "in the worker of its caller",
    }


def test_what_is_below_a_service_elsewhere_is_there_too_and_no_credential_is_said() -> None:
    given = {"DOSIRAK_DEPENDS_MIDDLE": "http://me:secret@there:3000/v1"}
    there = "at http://there:3000/v1"
    assert places_of(placed_by(Top.spec, given)) == {"middle": there, "deep": there}


def test_a_variable_that_names_no_service_is_found() -> None:
    given = {
        "DOSIRAK_DEPENDS_MIDDLE": "",
        "DOSIRAK_DEPENDS_MIDDLE_TOKEN": "x",
        "DOSIRAK_DEPENDS_MIDLE": "",
        "DOSIRAK_PORT": "1",
    }
    assert unknown_variables(("middle", "deep"), given) == ["DOSIRAK_DEPENDS_MIDLE"]
