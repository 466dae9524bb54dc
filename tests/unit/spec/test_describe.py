from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import dosirak
from dosirak.authoring import ClassService, FunctionService
from dosirak.errors import InvalidService, UnsupportedHint
from dosirak.payload.wire import WireRequest
from dosirak.spec.describe import describe_class, describe_function
from dosirak.spec.options import ServiceOptions
from dosirak.spec.service_spec import BatchPolicy

PLAIN = ServiceOptions()


def describe(author_class: type):
    return describe_class(author_class, PLAIN)


class Greeter:
    """Says hello."""

    model = dosirak.model("names:1")

    def __init__(self) -> None:
        self.seen_model = self.model

    @dosirak.on_start
    def warm(self) -> None: ...

    @dosirak.api
    def greet(self, name: str, times: int = 1) -> str:
        """Greet somebody."""
        return "hello " * times + name

    @dosirak.api(batchable=True, max_batch_size=8, max_latency_ms=5, route="/v1/lengths")
    def lengths(self, words: list[str]) -> list[int]:
        return [len(word) for word in words]

    @dosirak.api
    async def count(self, context: dosirak.Context, upto: int) -> int:
        return upto

    @dosirak.api
    def stream(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @dosirak.task(timeout_s=60)
    def train(self, rounds: int) -> dict[str, float]:
        return {"loss": 1 / rounds}

    def helper(self) -> None: ...


def test_the_spec_says_what_the_author_wrote():
    spec = describe(Greeter)
    assert spec.name == "greeter"
    assert spec.doc == "Says hello."
    assert spec.target == f"{__name__}:Greeter"
    assert [api.name for api in spec.apis] == ["greet", "lengths", "count", "stream", "train"]
    assert spec.hooks.start == ("warm",)
    assert [(need.attribute, str(need.reference)) for need in spec.models] == [("model", "names:1")]


def test_a_hook_may_take_the_context_and_nothing_else():
    class Hooked:
        @dosirak.on_start
        def plain(self) -> None: ...

        @dosirak.on_start
        @dosirak.on_stop
        async def telling(self, about: dosirak.Context, quietly: bool = True) -> None: ...

        @dosirak.on_ready
        @staticmethod
        def still(context: dosirak.Context | None = None) -> None: ...

        @dosirak.api
        def greet(self) -> str:
            return "hello"

    hooks = describe(Hooked).hooks
    assert (hooks.start, hooks.stop) == (("plain", "telling"), ("telling",))
    assert hooks.context_parameters == {"telling": "about", "still": "context"}


def test_a_hook_that_takes_what_nobody_gives_is_refused():
    class Wanting:
        @dosirak.on_start
        def begin(self, path: str) -> None: ...

        @dosirak.api
        def greet(self) -> str:
            return "hello"

    with pytest.raises(InvalidService, match=r"begin is a hook and takes 'path'\. Let it take"):
        describe(Wanting)


def test_each_api_carries_its_kind_route_and_policy():
    spec = describe(Greeter)
    assert spec.api("greet").route == "/greet"
    assert spec.api("lengths").route == "/v1/lengths"
    assert spec.api("lengths").batch == BatchPolicy(8, 5, 0)
    assert spec.api("count").is_async
    assert spec.api("count").context_parameter == "context"
    assert spec.api("stream").streams
    assert spec.api("train").kind == "task"
    assert spec.api("train").timeout_s == 60


def test_models_are_in_place_before_the_constructor_runs():
    instance = describe(Greeter).create({"model": "the model"})
    assert instance.seen_model == "the model"


def test_a_handler_bound_on_an_instance_answers_decoded_arguments():
    spec = describe(Greeter)
    api = spec.api("greet")
    arguments = api.codec.decode(WireRequest(b'{"name": "ada", "times": 2}', "application/json"))
    handler = api.bind(spec.create({"model": None}))
    assert handler(*arguments.args, **arguments.kwargs) == "hello hello ada"


def test_an_instance_made_without_its_models_says_how_to_make_one():
    with pytest.raises(InvalidService, match="not loaded"):
        Greeter()


def test_an_inherited_api_is_served():
    class Child(Greeter):
        @dosirak.api
        def greet(self, name: str) -> str:
            return f"yo {name}"

    spec = describe(Child)
    assert len(spec.apis) == 5
    assert spec.api("greet").codec.decode(WireRequest(b'{"name": "x"}')).kwargs == {"name": "x"}


def test_a_plain_function_is_a_service_with_one_api():
    @dosirak.service
    def double(x: float) -> float:
        return 2 * x

    assert isinstance(double, FunctionService)
    assert double(4) == 8
    assert double.spec.name == "double"
    assert double.spec.apis[0].route == "/double"


def test_a_functions_model_is_injected_and_not_part_of_the_contract():
    def predict(x: float, clf=dosirak.model("linear:1")) -> float:  # noqa: B008
        return clf * x

    spec = describe_function(predict, PLAIN)
    api = spec.apis[0]
    assert [parameter["name"] for parameter in api.codec.describe()["parameters"]] == ["x"]
    assert api.bind(spec.create({"clf": 3}))(x=2) == 6


def test_options_reach_the_spec():
    @dosirak.service(
        name="other",
        resources=dosirak.Resources(workers=3),
        service_level=dosirak.ServiceLevel(p95_ms=200),
        config={"threshold": 0.5},
        labels={"team": "a"},
        requirements=["psycopg"],
    )
    class Any:
        @dosirak.api
        def f(self) -> None: ...

    assert isinstance(Any, ClassService)
    spec = Any.spec
    assert (spec.name, spec.resources.workers, spec.service_level.p95_ms) == ("other", 3, 200)
    assert (spec.config, spec.labels, spec.requirements) == (
        {"threshold": 0.5},
        {"team": "a"},
        ("psycopg",),
    )


def bad_route():
    class Service:
        @dosirak.api(route="no-slash")
        def f(self) -> None: ...

    return Service


def reserved_route():
    class Service:
        @dosirak.api(route="/metrics")
        def f(self) -> None: ...

    return Service


def asset_route():
    class Service:
        @dosirak.api(route="/-/page.js")
        def f(self) -> None: ...

    return Service


def pattern_route():
    class Service:
        @dosirak.api(route="/{anything}")
        def f(self) -> None: ...

    return Service


def repeated_route():
    class Service:
        @dosirak.api
        def f(self) -> None: ...

        @dosirak.api(route="/f")
        def g(self) -> None: ...

    return Service


def no_api():
    class Service:
        def f(self) -> None: ...

    return Service


def hungry_constructor():
    class Service:
        def __init__(self, threshold: float) -> None: ...

        @dosirak.api
        def f(self) -> None: ...

    return Service


def streaming_task():
    class Service:
        @dosirak.task
        def f(self) -> Iterator[int]:
            yield 1

    return Service


def batchable_without_rows():
    class Service:
        @dosirak.api(batchable=True)
        def f(self) -> list[int]:
            return []

    return Service


def endless_batch():
    class Service:
        @dosirak.api(batchable=True, max_batch_size=0)
        def f(self, x: list[int]) -> list[int]:
            return x

    return Service


def forgotten_self():
    class Service:
        @dosirak.api
        def f(c: int) -> int:
            return c

    return Service


def nothing_at_all():
    class Service:
        @dosirak.api
        def f() -> int:
            return 1

    return Service


def keyword_only():
    class Service:
        @dosirak.api
        def f(*, c: int) -> int:
            return c

    return Service


def batch_of_scalars():
    class Service:
        @dosirak.api(batchable=True)
        def f(self, c: int) -> list[int]:
            return [c]

    return Service


def batch_of_objects():
    class Service:
        @dosirak.api(batchable=True)
        def f(self, c: dict[str, list[int]], d: tuple[int, ...]) -> list[int]:
            return []

    return Service


def batch_to_a_scalar():
    class Service:
        @dosirak.api(batchable=True)
        def f(self, c: list[int]) -> int:
            return sum(c)

    return Service


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (forgotten_self, "forgotten_self.<locals>.Service.f has no 'self'"),
        (nothing_at_all, "has no 'self'"),
        (keyword_only, "has no 'self'"),
        (batch_of_scalars, "No parameter of the batchable api .*Service.f has rows"),
        (batch_of_objects, "has rows"),
        (batch_to_a_scalar, "no rows to hand out"),
        (bad_route, "absolute path"),
        (reserved_route, "answered by every server"),
        (asset_route, "answered by every server"),
        (pattern_route, "absolute path"),
        (repeated_route, "Two apis"),
        (no_api, "no api"),
        (hungry_constructor, "threshold"),
        (streaming_task, "generator"),
        (batchable_without_rows, "no parameters"),
        (endless_batch, "The max_batch_size of .* is 0"),
    ],
)
def test_a_definition_that_cannot_be_served_fails_when_it_is_read(make, says):
    with pytest.raises(InvalidService, match=says) as caught:
        describe(make())
    assert caught.value.remedy


@pytest.mark.parametrize(
    "hint",
    [
        list[int],
        list[int] | None,
        Sequence[float],
        np.ndarray,
        Annotated[np.ndarray, dosirak.Shape(None, 4)],
        np.ndarray | list[float],
        pd.DataFrame,
        pd.Series | None,
        Annotated[list[int], msgspec.Meta(max_length=3)],
        Any,
    ],
    ids=str,
)
def test_a_batch_joins_and_hands_out_whatever_has_rows(hint: object):
    class Service:
        @dosirak.api(batchable=True)
        def f(self, rows: hint, top: int = 3) -> hint:
            return rows

    # The annotations are the hint itself, not its text.
    Service.f.__annotations__.update(rows=hint, **{"return": hint})
    assert describe(Service).api("f").batch is not None


def test_an_instance_may_have_another_name():
    class Service:
        @dosirak.api
        def f(this, c: int) -> int:
            return c

    assert describe(Service).apis[0].codec.describe()["parameters"][0]["name"] == "c"


def test_an_unsupported_hint_names_the_method_the_parameter_and_a_remedy():
    class Service:
        @dosirak.api
        def f(self, callback: type) -> None: ...

    with pytest.raises(UnsupportedHint) as caught:
        describe(Service)
    assert "callback" in str(caught.value)
    assert "Service.f" in str(caught.value)
    assert caught.value.remedy
