"""Options that cannot be used, or have no use, are errors where they are given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dosirak
from dosirak.errors import InvalidService
from dosirak.spec.service_spec import BatchPolicy, Resources, ServiceLevel, ServiceSpec

NO_NUMBER = [math.nan, math.inf, "fast", True, b"1", [1]]


def service(**options: Any) -> ServiceSpec:
    @dosirak.service(**options)
    class Service:
        @dosirak.api
        def f(self) -> None: ...

    return Service.spec


def api(**options: Any) -> Any:
    @dosirak.service
    class Service:
        @dosirak.api(**options)
        def f(self, x: np.ndarray) -> np.ndarray:
            return x

    return Service.spec.apis[0]


def task(**options: Any) -> Any:
    @dosirak.service
    class Service:
        @dosirak.task(**options)
        def f(self, x: int) -> int:
            return x

    return Service.spec.apis[0]


def joined(**options: Any) -> Any:
    @dosirak.joined(**options)
    def f(self: Any, x: list[int]) -> list[int]:
        return x

    return f


def refused(make: Any, option: str, value: Any, **others: Any) -> InvalidService:
    with pytest.raises(InvalidService, match=rf"\b{option}\b") as caught:
        make(**{option: value}, **others)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("p50_ms", [0, -1, *NO_NUMBER]),
        ("p95_ms", [0, -1, *NO_NUMBER]),
        ("error_rate", [-0.1, 1.1, *NO_NUMBER]),
    ],
)
def test_a_service_level_is_made_of_numbers_in_range(option: str, values: list[Any]) -> None:
    for value in values:
        error = refused(lambda **given: service(service_level=ServiceLevel(**given)), option, value)
        assert "Service" in error.message


def test_half_cannot_be_promised_later_than_nearly_all() -> None:
    with pytest.raises(InvalidService, match="p50_ms"):
        service(service_level=ServiceLevel(p50_ms=100, p95_ms=50))


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("workers", [0, 1025, 1.5, None, *NO_NUMBER]),
        ("threads", [0, -1, 1.5, None, *NO_NUMBER]),
        ("cpu", [0, -1, *NO_NUMBER]),
        ("memory_bytes", [0, 2e9, *NO_NUMBER]),
        ("gpu", [-1, 0.5, None, *NO_NUMBER]),
    ],
)
def test_resources_are_numbers_in_range(option: str, values: list[Any]) -> None:
    for value in values:
        refused(lambda **given: service(resources=Resources(**given)), option, value)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("name", [1, ["a"]]),
        ("resources", [{"workers": 2}, None]),
        ("service_level", [50, {"p95_ms": 50}]),
        ("config", [[1], {1: 2}, {"a": object()}, {"a": [math.nan]}]),
        ("labels", [["a"], {"a": 1}]),
        ("requirements", ["psycopg>=3", 1, [1], [""]]),
    ],
)
def test_a_services_options_are_of_their_types(option: str, values: list[Any]) -> None:
    for value in values:
        refused(service, option, value)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("batchable", [1, "yes"]),
        ("max_batch_size", [0, -1, 1.5, None, *NO_NUMBER]),
        ("max_latency_ms", [-1, None, *NO_NUMBER]),
        ("batch_dimension", [-1, 1.0, *NO_NUMBER]),
        ("allowed_batch_sizes", [100, "1", [0, 100], [1.5, 100], ["a"], None]),
        ("length_buckets", [8, "8", [0], ["a"], [math.nan]]),
        ("timeout_s", [0, -1, *NO_NUMBER]),
        ("idempotent", [None, 1, "no"]),
        ("name", [1, "", "a b"]),
        ("route", [1, ""]),
    ],
)
def test_an_apis_options_are_of_their_types_and_in_range(option: str, values: list[Any]) -> None:
    for value in values:
        refused(api, option, value, **({} if option == "batchable" else {"batchable": True}))


def test_what_is_filled_in_is_a_number() -> None:
    for value in ["a", None, math.nan, math.inf, [0]]:
        refused(api, "pad_value", value, batchable=True, length_buckets=(8,))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_batch_size", 8),
        ("max_latency_ms", 5),
        ("batch_dimension", 1),
        ("allowed_batch_sizes", (100,)),
        ("length_buckets", (8,)),
        ("length_buckets", np.array([8, 16])),
        ("pad_value", 1),
    ],
)
def test_options_of_batches_need_batchable(option: str, value: Any) -> None:
    assert "batchable" in refused(api, option, value).remedy


def test_a_value_to_fill_up_with_needs_lengths_to_fill_up_to() -> None:
    assert "length_buckets" in refused(api, "pad_value", 1, batchable=True).remedy


def test_the_largest_batch_has_an_allowed_size() -> None:
    with pytest.raises(InvalidService, match="100 rows"):
        api(batchable=True, allowed_batch_sizes=(1, 16))


@pytest.mark.parametrize(
    ("option", "values"),
    [("timeout_s", [0, *NO_NUMBER]), ("idempotent", [1]), ("name", [1]), ("route", [1])],
)
def test_so_are_those_of_a_task(option: str, values: list[Any]) -> None:
    for value in values:
        refused(task, option, value)


def test_so_are_those_of_joined_methods_and_dependencies() -> None:
    refused(joined, "max_batch_size", "a")
    refused(joined, "idempotent", None)
    for value in ("two", 0, 1.5, True):
        refused(lambda **given: dosirak.depends(_other, **given), "workers", value)
    refused(lambda **given: dosirak.depends(_other, **given), "url", 5)


def test_numbers_of_numpy_become_pythons_own() -> None:
    sizes: Any = np.array([16, 4])
    policy = api(batchable=True, max_batch_size=np.int64(16), allowed_batch_sizes=sizes).batch
    assert policy == BatchPolicy(max_batch_size=16, allowed_batch_sizes=(4, 16))
    assert [type(size) for size in policy.allowed_batch_sizes] == [int, int]
    level = service(service_level=ServiceLevel(p95_ms=np.float32(50.0))).service_level
    assert type(level.p95_ms) is float


@dosirak.service
def _other(x: int) -> int:
    return x
