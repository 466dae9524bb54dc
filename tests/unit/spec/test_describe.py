from __future__ import annotations

from collections.abc import Iterator

import pytest

import dosirak
from dosirak.authoring import ClassService, FunctionService
from dosirak.errors import InvalidService, UnsupportedHint
from dosirak.payload.wire import WireRequest
from dosirak.spec.describe import ServiceOptions, describe_class, describe_function
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


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bad_route, "absolute path"),
        (reserved_route, "answered by every server"),
        (asset_route, "answered by every server"),
        (pattern_route, "absolute path"),
        (repeated_route, "Two apis"),
        (no_api, "no api"),
        (hungry_constructor, "threshold"),
        (streaming_task, "generator"),
        (batchable_without_rows, "no parameters"),
        (endless_batch, "out of range"),
    ],
)
def test_a_definition_that_cannot_be_served_fails_when_it_is_read(make, says):
    with pytest.raises(InvalidService, match=says) as caught:
        describe(make())
    assert caught.value.remedy


def test_an_unsupported_hint_names_the_method_the_parameter_and_a_remedy():
    class Service:
        @dosirak.api
        def f(self, callback: type) -> None: ...

    with pytest.raises(UnsupportedHint) as caught:
        describe(Service)
    assert "callback" in str(caught.value)
    assert "Service.f" in str(caught.value)
    assert caught.value.remedy
