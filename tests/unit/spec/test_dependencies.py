"""One service in the attribute of another: what is refused, and calls within one process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import dosirak
from dosirak.errors import DeadlineExceeded, InvalidInput, InvalidService, NotFound, ServiceError
from dosirak.spec.calling import calling_for
from dosirak.spec.context import Context
from dosirak.spec.dependencies import own_workers_below, services_below


@dosirak.service(requirements=["numpy>=2"])
class Sums:
    """Adds; every kind of handler."""

    def __init__(self) -> None:
        self.running = self.most = 0

    @dosirak.api
    def add(self, a: int, b: int = 1) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.01)
        self.running -= 1
        return a + b

    @dosirak.api
    async def add_later(self, a: int, b: int = 1) -> int:
        await asyncio.sleep(0.001)
        return a + b

    @dosirak.api
    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @dosirak.api
    async def count_later(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            await asyncio.sleep(0)
            yield number

    @dosirak.api
    def refuse(self) -> int:
        raise InvalidInput("No.", remedy="Yes.")

    @dosirak.api
    async def fail(self) -> int:
        raise ValueError("inside")

    @dosirak.api(timeout_s=0.05)
    async def never(self) -> int:
        await asyncio.sleep(60)
        return 0

    @dosirak.api
    def who(self, context: dosirak.Context) -> str:
        return context.request_id + context.headers.get("traceparent", "")


@dosirak.service
class Caller:
    sums = dosirak.depends(Sums)

    @dosirak.api
    def use(self, x: int) -> list[int]:
        return [self.sums.add(x), self.sums.add_later(a=x, b=2)]

    @dosirak.api
    def use_streams(self, upto: int) -> list[int]:
        # Calls between the items: a stream does not keep the one place.
        return [self.sums.add(item) for item in self.sums.count(upto)] + list(
            self.sums.count_later(upto)
        )

    @dosirak.api
    async def use_async(self, x: int) -> list[int]:
        calls = (self.sums.to_async.add(x), self.sums.to_async.add_later(x, b=2))
        return list(await asyncio.gather(*calls))

    @dosirak.api
    async def use_async_streams(self, upto: int) -> list[int]:
        first = [item async for item in self.sums.to_async.count(upto)]
        return first + [item async for item in self.sums.to_async.count_later(upto)]

    @dosirak.api
    def fan_out(self, n: int) -> list[int]:
        begun = [self.sums.to_future.add(number) for number in range(n)]
        return [future.result() for future in begun]


def test_every_kind_of_handler_is_called_from_sync_and_async_code() -> None:
    caller = Caller()
    assert caller.use(1) == [2, 3]
    assert caller.use_streams(3) == [1, 2, 3, 0, 1, 2]
    assert asyncio.run(caller.use_async(1)) == [2, 3]
    assert asyncio.run(caller.use_async_streams(3)) == [0, 1, 2, 0, 1, 2]
    assert caller.fan_out(3) == [1, 2, 3]


def test_no_more_sync_handlers_run_at_a_time_than_the_service_has_threads() -> None:
    @dosirak.service
    class Counting:
        sums = dosirak.depends(Sums)

        @dosirak.api
        def most(self) -> int:
            threads = [threading.Thread(target=self.sums.add, args=(1,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            futures = [self.sums.to_future.add(1) for _ in range(5)]
            assert [future.result() for future in futures] == [2] * 5
            for thread in threads:
                thread.join()
            return 1

    counting = Counting()
    link = counting.sums._call.__self__  # the instance is nobody's business but the test's
    counting.most()
    assert link._handlers["add"].__self__.most == 1


def test_an_error_arrives_as_its_class_and_any_other_as_a_service_error() -> None:
    sums = Caller().sums
    with pytest.raises(InvalidInput, match=r"No\. Yes\."):
        sums.refuse()
    with pytest.raises(ServiceError, match="'fail' of 'sums' failed") as caught:
        sums.fail()
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(DeadlineExceeded):
        sums.never()
    with pytest.raises(AttributeError, match="no api 'multiply'; it has: add, add_later"):
        _ = sums.multiply


def test_a_call_inherits_request_id_trace_and_deadline() -> None:
    sums = Caller().sums
    now_s = time.monotonic()
    headers = {"traceparent": "00-1-2-01", "authorization": "secret"}
    with calling_for(Context("r1", headers, deadline_s=now_s + 60)):
        assert sums.who() == "r100-1-2-01"
    with calling_for(Context("r1", deadline_s=now_s - 1)), pytest.raises(DeadlineExceeded):
        sums.who()
    with calling_for(Context("r1", deadline_s=now_s + 0.1)), pytest.raises(DeadlineExceeded):
        sums.never()
    assert sums.who() == ""


def test_a_unit_test_may_put_a_stand_in() -> None:
    class StandIn:
        def add(self, x: int) -> int:
            return -x

        def add_later(self, a: int, b: int) -> int:
            return a * b

    caller = Caller()
    caller.sums = StandIn()
    assert caller.use(3) == [-3, 6]


def test_a_function_may_depend_on_a_service() -> None:
    @dosirak.service
    def twice(x: int, sums=dosirak.depends(Sums)) -> int:  # noqa: B008
        return sums.add(x, b=x)

    assert twice(4) == 8
    assert [parameter["name"] for parameter in twice.spec.apis[0].describe()["parameters"]] == ["x"]


def test_services_are_listed_once_and_those_first_that_others_need() -> None:
    @dosirak.service
    class Middle:
        sums = dosirak.depends(Sums)

        @dosirak.api
        def add(self, x: int) -> int:
            return self.sums.add(x)

    @dosirak.service
    class Top:
        middle = dosirak.depends(Middle, workers=2)
        sums = dosirak.depends(Sums)

        @dosirak.api
        def add(self, x: int) -> bool:
            return self.middle.add(x) == self.sums.add(x)

    assert [spec.name for spec in services_below(Top.spec)] == ["sums", "middle"]
    assert [spec.name for spec in services_below(Top.spec, in_own_workers=False)] == ["sums"]
    assert own_workers_below(Top.spec) == {"middle": 2}
    assert Top.spec.describe()["dependencies"] == [
        {"attribute": "middle", "workers": 2, "service": "middle"},
        {"attribute": "sums", "workers": None, "service": "sums"},
    ]
    assert Top().add(1)


def test_what_is_no_service_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(InvalidService, match="which is not a service"):
        dosirak.depends(int)
    for workers in (0, -1, 5000):
        with pytest.raises(InvalidService, match="workers of"):
            dosirak.depends(Sums, workers=workers)
    assert dosirak.depends(Sums, workers="declared").workers == 1


def test_two_services_of_one_name_are_refused() -> None:
    def make(name: str):
        @dosirak.service(name=name)
        class Same:
            sums = dosirak.depends(Sums)

            @dosirak.api
            def one(self) -> int:
                return 1

        return Same

    with pytest.raises(InvalidService, match="two services 'sums'"):
        make("sums")


def test_one_service_in_two_places_is_refused() -> None:
    with pytest.raises(InvalidService, match="workers=None and with workers=2"):

        @dosirak.service
        class Both:
            one = dosirak.depends(Sums)
            two = dosirak.depends(Sums, workers=2)

            @dosirak.api
            def use(self) -> int:
                return 1


def test_of_the_services_of_a_module_the_one_above_the_others_is_meant(tmp_path: Path) -> None:
    from dosirak.spec.loading import import_target

    (tmp_path / "paired_services.py").write_text(
        "import dosirak\n\n\n@dosirak.service\ndef low(x: int) -> int:\n    return x\n\n\n"
        "@dosirak.service\ndef top(x: int, low=dosirak.depends(low)) -> int:\n"
        "    return low.low(x)\n"
    )
    assert import_target("paired_services", directory=tmp_path).spec.name == "top"


def test_modules_that_import_each_other_in_a_circle_are_refused_with_the_path(
    tmp_path: Path,
) -> None:
    from dosirak.spec.loading import import_target

    for name, other in (
        ("circle_a", "circle_b"),
        ("circle_b", "circle_c"),
        ("circle_c", "circle_a"),
    ):
        (tmp_path / f"{name}.py").write_text(
            f"import dosirak\nfrom {other} import Service as Other\n\n\n"
            f"@dosirak.service(name={name!r})\nclass Service:\n    other = dosirak.depends(Other)\n"
            "    @dosirak.api\n    def one(self) -> int:\n        return 1\n"
        )
    with pytest.raises(InvalidService, match=r"circle_a → circle_b → circle_c → circle_a"):
        import_target("circle_a:Service", directory=tmp_path)
    with pytest.raises(NotFound):
        import_target("circle_d:Service", directory=tmp_path)


def test_an_instance_made_by_hand_says_what_is_missing() -> None:
    with pytest.raises(InvalidService, match="'sums', on which this one depends, is not there"):
        Caller.author_class().use(1)
