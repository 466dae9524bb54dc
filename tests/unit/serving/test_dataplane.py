"""One instance, called without a transport."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

import dosirak
from dosirak.errors import ApiNotFound, NotFound, ServiceError
from dosirak.models import Model
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving.dataplane import Dataplane
from dosirak.spec.context import Context
from dosirak.store import Store

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("_variable", default="unset")


class Panic(BaseException):
    """What a library in another language may raise."""


class Panicking:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise Panic


@dosirak.service(resources=dosirak.Resources(threads=1))
class Demo:
    def __init__(self) -> None:
        self.events: list[str] = ["init"]
        self.instances = 0

    @dosirak.on_start
    def begin(self) -> None:
        self.events.append("start")

    @dosirak.on_ready
    async def announce(self) -> None:
        self.events.append("ready")

    @dosirak.api
    def history(self) -> list[str]:
        return self.events

    @dosirak.api
    def double(self, value: int) -> int:
        return 2 * value

    @dosirak.api
    async def whoami(self, ctx: dosirak.Context) -> str:
        await asyncio.sleep(0)
        ctx.response_headers["X-Who"] = ctx.headers["x-name"]
        ctx.response_status = 202
        return ctx.headers["x-name"]

    @dosirak.api
    def headers(self, name: str, value: str, ctx: dosirak.Context) -> int:
        ctx.response_headers[name] = value
        return 1

    @dosirak.api
    async def variable(self, value: str) -> str:
        before = _variable.get()
        _variable.set(value)
        await asyncio.sleep(0.01)
        return f"{before} {_variable.get()}"

    @dosirak.api
    def nap(self, seconds: float) -> float:
        self.instances += 1
        time.sleep(seconds)
        return seconds

    @dosirak.api
    def count(self, upto: int) -> Iterator[str]:
        for _ in range(upto):
            yield threading.current_thread().name

    @dosirak.api
    def sign(self, upto: int) -> Iterator[int]:
        self.events.append("started")
        yield upto

    @dosirak.api
    def missing(self) -> int:
        raise NotFound("There is no such flower.")

    @dosirak.api
    def panics(self) -> np.ndarray:
        return Panicking()  # type: ignore[return-value]

    @dosirak.api
    def stops(self) -> int:
        raise StopIteration

    @dosirak.api
    def hidden(self) -> int:
        raise dosirak.errors.ModelNotFound("the model /srv/secret is gone")


def _run(*calls: tuple[str, Any], deadline_s: float | None = None, **options: Any) -> list[Any]:
    async def run() -> list[Any]:
        dataplane = Dataplane(Demo.spec, {}, **options)
        await dataplane.start()
        try:
            return [await _call(dataplane, *call, deadline_s=deadline_s) for call in calls]
        finally:
            await dataplane.stop()

    return asyncio.run(run())


async def _call(
    dataplane: Dataplane,
    api: str,
    arguments: Any,
    *,
    headers: dict[str, str] | None = None,
    deadline_s: float | None = None,
) -> Any:
    request = WireRequest(msgspec.json.encode(arguments), "application/json", headers=headers or {})
    due_s = None if deadline_s is None else time.monotonic() + deadline_s
    context = Context(request_id="r", headers=headers or {}, deadline_s=due_s)
    return await dataplane.call(api, request, context)


def _value(response: WireResponse) -> Any:
    return msgspec.json.decode(response.body)


def test_the_instance_is_made_then_started_then_ready():
    (history,) = _run(("history", {}))
    assert _value(history) == ["init", "start", "ready"]


def test_a_call_is_decoded_made_and_encoded():
    (response,) = _run(("double", {"value": 4}))
    assert (response.status, _value(response)) == (200, 8)


def test_bad_input_is_an_encoded_answer_with_its_field():
    (response,) = _run(("double", {"value": "four"}))
    assert response.status == 400
    assert _value(response)["fields"][0]["field"] == "value"
    assert _value(response)["request_id"] == "r"


def test_a_panic_while_a_result_is_written_is_answered():
    panicked, after = _run(("panics", {}), ("double", {"value": 4}))
    assert (panicked.status, _value(panicked)["code"]) == (500, "result_error")
    assert _value(after) == 8


@pytest.mark.parametrize("way", ["call", "check", "run"])
def test_an_unknown_api_is_not_found_whoever_asks(way):
    async def ask() -> None:
        dataplane = Dataplane(Remembering.spec, {})
        await dataplane.start()
        try:
            if way == "run":
                dataplane.run("nope", [], lambda *_, **__: None)
            else:
                await getattr(dataplane, way)("nope", WireRequest(), Context())
        finally:
            await dataplane.stop()

    with pytest.raises(ApiNotFound, match=r"no api 'nope'\. It has: state, states\."):
        asyncio.run(ask())


def test_each_call_has_its_own_context():
    async def run() -> list[WireResponse]:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        names = [f"caller-{number}" for number in range(20)]
        responses = await asyncio.gather(
            *(_call(dataplane, "whoami", {}, headers={"x-name": name}) for name in names)
        )
        await dataplane.stop()
        return responses

    for number, response in enumerate(asyncio.run(run())):
        assert _value(response) == f"caller-{number}"
        assert response.headers == (("x-who", f"caller-{number}"),)
        assert response.status == 202


LEFT: list[dict[str, Any]] = []


@dosirak.service
class Remembering:
    @dosirak.on_start
    def open(self, context: dosirak.Context) -> None:
        context.state["opened"] = "by a thread"

    @dosirak.on_ready
    async def go_on(self, context: dosirak.Context) -> None:
        context.state["ready"] = context.state["opened"]

    @dosirak.on_stop
    def close(self, context: dosirak.Context) -> None:
        LEFT.append(dict(context.state))

    @dosirak.api
    def state(self, context: dosirak.Context) -> dict[str, str]:
        context.state["called"] = "yes"
        return context.state

    @dosirak.api(batchable=True)
    def states(self, numbers: list[int], context: dosirak.Context) -> list[str]:
        return [context.state["ready"]] * len(numbers)


def test_what_start_hooks_put_into_the_state_every_call_sees_and_stop_hooks_too():
    LEFT.clear()
    with Remembering.test_client() as client:
        filled = {"opened": "by a thread", "ready": "by a thread"}
        assert client.state() == {**filled, "called": "yes"}
        assert client.states(numbers=[1, 2]) == ["by a thread"] * 2
    assert [{**filled, "called": "yes"}] == LEFT


def test_context_variables_do_not_leak_between_calls():
    responses = _run(("variable", {"value": "one"}), ("variable", {"value": "two"}))
    # Calls that share a task may share variables; the worker gives each call a task of its own.
    assert _value(responses[0]) == "unset one"

    async def run() -> list[Any]:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        tasks = [
            asyncio.create_task(_call(dataplane, "variable", {"value": value})) for value in "ab"
        ]
        answers = [await task for task in tasks]
        await dataplane.stop()
        return [_value(answer) for answer in answers]

    assert asyncio.run(run()) == ["unset a", "unset b"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Bad", "a\r\nSet-Cookie: b"), ("X Bad", "a"), ("Content-Length", "1"), ("X-Bad", "한")],
)
def test_a_response_header_that_cannot_be_sent_is_the_services_fault(name, value):
    (response,) = _run(("headers", {"name": name, "value": value}))
    assert (response.status, _value(response)["code"]) == (500, "result_error")


def test_a_deadline_answers_though_the_handler_runs_on():
    (response,) = _run(("nap", {"seconds": 0.5}), deadline_s=0.05)
    assert _value(response)["code"] == "deadline_exceeded"


def test_work_that_was_cancelled_while_it_waited_never_runs():
    async def run() -> int:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        first = asyncio.create_task(_call(dataplane, "nap", {"seconds": 0.3}))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(_call(dataplane, "nap", {"seconds": 0.0}))
        await asyncio.sleep(0.05)
        second.cancel()
        await first
        runs = dataplane._instance.instances
        await dataplane.stop()
        return runs

    assert asyncio.run(run()) == 1


def test_a_handler_that_outlives_its_deadline_is_reported():
    hung: list[str] = []

    async def run() -> None:
        dataplane = Dataplane(Demo.spec, {}, on_hang=hung.append, hang_grace_s=0.05, timeout_s=0.05)
        await dataplane.start()
        await _call(dataplane, "nap", {"seconds": 0.6}, deadline_s=0.05)
        await asyncio.sleep(0.2)
        await dataplane.stop()

    asyncio.run(run())
    assert hung == ["nap"]


def test_a_caller_in_a_hurry_makes_no_handler_one_that_hangs():
    hung: list[str] = []

    async def run() -> None:
        dataplane = Dataplane(Demo.spec, {}, on_hang=hung.append, hang_grace_s=0.05)
        await dataplane.start()
        await _call(dataplane, "nap", {"seconds": 0.6}, deadline_s=0.05)
        await asyncio.sleep(0.8)
        await dataplane.stop()

    asyncio.run(run())
    assert hung == []


def test_a_sync_generator_runs_off_the_loop():
    async def run() -> bytes:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        stream = await _call(dataplane, "count", {"upto": 2})
        assert isinstance(stream, WireStream)
        body = b"".join([chunk async for chunk in stream.chunks])
        await dataplane.stop()
        return body

    assert asyncio.run(run()).count(b"dosirak-handler") == 2


def test_a_stream_that_cannot_be_sent_is_refused_before_the_handler_runs():
    async def run() -> tuple[Any, Any]:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        request = WireRequest(b'{"upto": 2}', "application/json", "image/png")
        refused = await dataplane.call("sign", request, Context(request_id="r"))
        history = await _call(dataplane, "history", {})
        await dataplane.stop()
        return refused, history

    refused, history = asyncio.run(run())
    assert (refused.status, _value(refused)["code"]) == (406, "not_acceptable")
    assert "started" not in _value(history)


def test_only_errors_meant_for_the_caller_reach_it():
    missing, stops, hidden = _run(("missing", {}), ("stops", {}), ("hidden", {}))
    assert (missing.status, _value(missing)["error"]) == (404, "There is no such flower.")
    assert (stops.status, _value(stops)["code"]) == (500, "service_error")
    assert (hidden.status, _value(hidden)["code"]) == (500, "service_error")
    assert b"secret" not in bytes(hidden.body)


def test_timings_say_where_the_time_went():
    timings = CallTimings()

    async def run() -> None:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        request = WireRequest(b'{"seconds": 0.05}', "application/json")
        await dataplane.call("nap", request, Context(), timings)
        await dataplane.stop()

    asyncio.run(run())
    assert timings.compute_s >= 0.05


def test_a_constructor_that_raises_is_the_services_fault():
    @dosirak.service
    class Broken:
        def __init__(self) -> None:
            raise OSError("no such device")

        @dosirak.api
        def echo(self, value: int) -> int:
            return value

    with pytest.raises(ServiceError, match="no such device"):
        asyncio.run(Dataplane(Broken.spec, {}).start())


def test_a_model_that_answers_otherwise_than_when_it_was_saved_is_not_served(tmp_path):
    linear_model = pytest.importorskip("sklearn.linear_model")
    inputs = [[0.0], [1.0], [2.0]]
    saved = dosirak.models.save(
        "line",
        linear_model.LinearRegression().fit(inputs, [0.0, 1.0, 2.0]),
        examples=inputs,
        store=Store(tmp_path / "store"),
    )

    class Drifted(Model):
        def load(self, **_options: Any) -> Any:
            return linear_model.LinearRegression().fit(inputs, [0.0, 1.5, 3.0])

    asyncio.run(Dataplane(Demo.spec, {"line": saved}).start())
    with pytest.raises(ServiceError, match="golden examples"):
        drifted = Drifted(saved.store, saved.entry)
        asyncio.run(Dataplane(Demo.spec, {"line": drifted}).start())
