"""The wire of 0.13, adapter by adapter, through the dataplane that the server uses."""

# ruff: noqa: E501 - one case, one line

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dosirak.compat.bentoml_classic import BentoService, api
from dosirak.compat.bentoml_classic.adapters import (
    AnnotatedImageInput,
    DataframeInput,
    DataframeOutput,
    FileInput,
    ImageInput,
    JsonInput,
    JsonOutput,
    MultiFileInput,
    MultiImageInput,
    StringInput,
    TfTensorInput,
)
from dosirak.compat.bentoml_classic.front_end import spec_of
from dosirak.compat.bentoml_classic.inference_api import InferenceAPI
from dosirak.compat.bentoml_classic.types import HTTPHeaders, HTTPRequest, InferenceResult
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.dataplane import Dataplane
from dosirak.spec.context import Context


class Everything(BentoService):
    """One api for each adapter."""

    @api(input=StringInput())
    def text(self, text):
        return text.upper()

    @api(input=StringInput(), batch=True)
    def texts(self, texts):
        return [len(texts), *[None] * (len(texts) - 1)]

    @api(input=JsonInput())
    def value(self, value):
        return value

    @api(input=JsonInput(), batch=True)
    def values(self, values):
        return [{"seen": value} for value in values]

    @api(input=DataframeInput(), batch=True)
    def table(self, df):
        return [[str(t) for t in df.dtypes], *[None] * (len(df) - 1)]

    @api(input=DataframeInput(), batch=True, output=DataframeOutput())
    def echo_table(self, df):
        return df

    @api(input=DataframeInput(orient="split", columns=["b", "a"]), batch=True)
    def split(self, df):
        return df

    @api(input=DataframeInput(columns=["a", "b"], dtype={"a": "float", "b": "str"}), batch=True)
    def typed(self, df):
        return df

    @api(input=FileInput())
    def file(self, file):
        return {"name": file.name, "size": len(file.read())}

    @api(input=ImageInput())
    def image(self, array):
        return {"shape": array.shape, "first": array[0, 0]}

    @api(input=ImageInput(pilmode="L"), batch=True)
    def images(self, arrays):
        return [array.shape for array in arrays]

    @api(input=MultiFileInput(["left", "right"]), batch=True)
    def files(self, lefts, rights):
        return [[a.read().decode(), b.read().decode()] for a, b in zip(lefts, rights, strict=True)]

    @api(input=MultiImageInput(["x", "y"]))
    def two_images(self, x, y):
        return [x.shape, y.shape]

    @api(input=AnnotatedImageInput())
    def annotated(self, array, about):
        return [array.shape, about]

    @api(input=TfTensorInput(), batch=True)
    def tensor(self, tensor):
        return tensor

    @api(input=JsonInput())
    def discarding(self, value, task):
        return task.discard(err_msg="I am a teapot", http_status=418)

    @api(input=JsonInput())
    def whole_result(self, value):
        return InferenceResult(data="<b>", http_status=201, http_headers={"X-Own": "1"})

    @api(input=JsonInput())
    def failing(self, value):
        raise RuntimeError("secret")

    @api(input=JsonInput(), batch=True)
    def wrong_count(self, values):
        return []

    @api(input=JsonInput(), output=JsonOutput(ensure_ascii=True, charset="utf-8"))
    def ascii(self, value):
        return "é"

    @api(input=JsonInput())
    def odd(self, name):
        return ODD[name]


ODD: dict[str, Any] = {
    "array": np.arange(4).reshape(2, 2),
    "scalar": np.float32(0.5),
    "bytes": b"abc",
    "binary": b"\xff\x00",
    "unknown": object,
    "nan": [float("nan"), 1.0, {"x": float("inf")}],
    "nan_array": np.array([1.0, np.nan]),
    "keys": {1: "a"},
    "bad_keys": {(1, 2): "a"},
    "table": pd.DataFrame({"a": [1, 2]}),
    "none": None,
}


class Answer(NamedTuple):
    status: int
    body: str
    content_type: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    name: str, body: bytes | str | Any, content_type: str = "application/json", **headers: str
) -> Answer:
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    request = WireRequest(
        body=body,
        content_type=content_type,
        headers={k.replace("_", "-"): v for k, v in headers.items()},
    )

    async def call() -> WireResponse:
        dataplane = Dataplane(spec_of(Everything, target="tests:Everything"), {})
        await dataplane.start()
        try:
            answered = await dataplane.call(name, request, Context())
        finally:
            await dataplane.stop()
        assert isinstance(answered, WireResponse)
        return answered

    answered = asyncio.run(call())
    return Answer(
        answered.status,
        bytes(answered.body).decode(),
        answered.content_type,
        dict(answered.headers),
    )


def form(**parts: tuple[str, bytes] | tuple[str, bytes, str]) -> tuple[bytes, str]:
    lines = b""
    for name, (filename, content, *kind) in parts.items():
        lines += f'--X\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'.encode()
        lines += f"Content-Type: {kind[0]}\r\n".encode() if kind else b""
        lines += b"\r\n" + content + b"\r\n"
    return lines + b"--X--\r\n", "multipart/form-data; boundary=X"


def picture(kind: str = "PNG", size: tuple[int, int] = (3, 2)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(stream, kind)
    return stream.getvalue()


PNG = picture()

ANSWERS: list[tuple[str, str, Any, str, Any]] = [
    ("text decoded as UTF-8", "text", "héllo".encode(), "text/plain", "HÉLLO"),
    ("text decoded by its charset", "text", "é".encode("latin-1"), "text/plain; charset=latin-1", "É"),
    ("no content type", "text", b"a", "", "A"),
    ("a batch of one text", "texts", b"a", "text/plain", 1),
    ("any JSON value", "value", [1, {"a": None}], "application/json", [1, {"a": None}]),
    ("null", "value", "null", "application/json", None),
    ("one value from each request of a batch", "values", [1, 2], "application/json", {"seen": [1, 2]}),
    ("records", "echo_table", [{"a": 1, "b": "x"}], "application/json", [{"a": 1, "b": "x"}]),
    ("values", "echo_table", [[1, 2], [3, 4]], "application/json", [{"0": 1, "1": 2}, {"0": 3, "1": 4}]),
    ("columns", "echo_table", {"a": {"0": 1, "1": 2}}, "application/json", [{"a": 1}, {"a": 2}]),
    ("columns of lists", "echo_table", {"a": [1, 2]}, "application/json", [{"a": 1}, {"a": 2}]),
    ("split guessed", "echo_table", {"columns": ["a"], "index": [7], "data": [[1]]}, "application/json", [{"a": 1}]),
    ("split with columns in another order", "split", {"columns": ["a", "b"], "index": [0], "data": [[1, 2]]}, "application/json", [{"b": 2, "a": 1}]),
    ("missing content type is JSON", "echo_table", [[1]], "", [{"0": 1}]),
    ("CSV", "echo_table", b"a,b\n1,x\n2,y\n", "text/csv", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
    ("an uploaded CSV file", "echo_table", *form(file=("t.csv", b"a\n1\n")), [{"a": 1}]),
    ("an uploaded JSON file", "echo_table", *form(file=("t.json", b'[{"a": 1}]')), [{"a": 1}]),
    ("strings stay strings", "echo_table", [{"zip": "00123", "e": ""}], "application/json", [{"zip": "00123", "e": ""}]),
    ("missing values", "echo_table", [{"a": 1}, {"a": None}], "application/json", [{"a": 1.0}, {"a": None}]),
    ("dtypes and order of columns", "typed", [{"b": 5, "a": 1, "c": 0}], "application/json", [{"a": 1.0, "b": "5"}]),
    ("dtypes of CSV", "typed", b"b,a\n007,1\n", "text/csv", [{"a": 1.0, "b": "007"}]),
    ("any body is a file", "file", b"1234", "application/octet-stream", {"name": "", "size": 4}),
    ("an uploaded file", "file", *form(any=("f.bin", b"12")), {"name": "f.bin", "size": 2}),
    ("an image body", "image", PNG, "image/png", {"shape": [2, 3, 3], "first": [255, 0, 0]}),
    ("an uploaded image", "image", *form(image=("a.PNG", PNG)), {"shape": [2, 3, 3], "first": [255, 0, 0]}),
    ("grey images in a batch", "images", PNG, "image/png", [2, 3]),
    ("several files", "files", *form(right=("r", b"R"), left=("l", b"L")), ["L", "R"]),
    ("several images", "two_images", *form(x=("x.png", PNG), y=("y.jpg", picture("JPEG"))), [[2, 3, 3], [2, 3, 3]]),
    ("an image with annotations", "annotated", *form(image=("x.png", PNG), annotations=("a.json", b'{"k": 1}')), [[2, 3, 3], {"k": 1}]),
    ("an image without annotations", "annotated", *form(image=("x.png", PNG)), [[2, 3, 3], None]),
    ("an array", "odd", "array", "application/json", [[0, 1], [2, 3]]),
    ("a numpy scalar", "odd", "scalar", "application/json", 0.5),
    ("bytes that are text", "odd", "bytes", "application/json", "abc"),
    ("bytes that are not", "odd", "binary", "application/json", {"b64": base64.b64encode(b"\xff\x00").decode()}),
    ("something unknown", "odd", "unknown", "application/json", {"unknown_obj": "<class 'object'>"}),
    ("NaN and infinity are null", "odd", "nan", "application/json", [None, 1.0, {"x": None}]),
    ("NaN in an array is null", "odd", "nan_array", "application/json", [1.0, None]),
    ("keys that are numbers", "odd", "keys", "application/json", {"1": "a"}),
    ("a table inside a result", "odd", "table", "application/json", [{"a": 1}, {"a": 2}]),
    ("no result", "odd", "none", "application/json", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "body", "content_type", "answer"),
    [row[1:] for row in ANSWERS],
    ids=[row[0] for row in ANSWERS],
)
def test_answers(name: str, body: Any, content_type: str, answer: Any) -> None:
    answered = ask(name, json.dumps(body) if name == "odd" else body, content_type)
    assert (answered.status, answered.json) == (200, answer)
    assert answered.content_type == "application/json"


WRONG = "DataframeInput Wrong input format"
REFUSALS: list[tuple[str, str, Any, str, str]] = [
    ("text that is not UTF-8", "text", b"\xff", "text/plain", "StringInput: UnicodeDecodeError"),
    ("an unknown charset", "text", b"a", "text/plain; charset=klingon", "StringInput: Unsupported charset klingon"),
    ("two text files", "text", *form(a=("a", b"1"), b=("b", b"2")), "BentoML#StringInput accepts one text file at a time"),
    ("no JSON", "value", "{", "application/json", "Not a valid JSON format"),
    ("an empty body", "value", "", "application/json", "Not a valid JSON format"),
    ("JSON nested without end", "value", "[" * 100_000, "application/json", "Not a valid JSON format"),
    ("no table", "echo_table", "not json", "application/json", f"{WRONG}: the body is not JSON."),
    ("an empty table", "echo_table", [], "application/json", f"{WRONG}: it has no rows."),
    ("an empty table body", "echo_table", "", "application/json", f"{WRONG}: the body is not JSON."),
    ("a number for a table", "echo_table", 3, "application/json", f"{WRONG}: a table is a list or an object."),
    ("a list of numbers", "echo_table", [1, 2], "application/json", f"{WRONG}: it is not a table in the orient 'values'."),
    ("an object of numbers", "echo_table", {"a": 1}, "application/json", f"{WRONG}: it is not a table in the orient 'columns'."),
    ("ragged rows", "echo_table", [[1, 2], [3]], "application/json", f"{WRONG}: each row needs 2 values."),
    ("ragged columns", "echo_table", {"a": [1], "b": []}, "application/json", f"{WRONG}: the columns are of different length."),
    ("no columns", "echo_table", {}, "application/json", f"{WRONG}: it has no rows."),
    ("a record without a column", "echo_table", [{"a": 1}, {"b": 1}], "application/json", f"{WRONG}: 'a' is missing."),
    ("another orient", "split", [{"a": 1}], "application/json", f"{WRONG}: it is not in the orient 'split'."),
    ("a column that must be there", "typed", [{"a": 1}], "application/json", f"{WRONG}: 'b' is missing."),
    ("a value that does not fit", "typed", [{"a": "x", "b": 1}], "application/json", f"{WRONG}: a value does not fit its dtype."),
    ("a CSV column that must be there", "typed", b"a\n1\n", "text/csv", f"{WRONG}: 'b' is missing."),
    ("CSV without rows", "echo_table", b"a,b\n", "text/csv", f"{WRONG}: it has no rows."),
    ("empty CSV", "echo_table", b"", "text/csv", f"{WRONG}: it has no rows."),
    ("a CSV row that is too long", "echo_table", b"a\n1,2\n", "text/csv", f"{WRONG}: a row has more values than the header has names."),
    ("no file", "file", b"", "application/octet-stream", "BentoML#FileInput unexpected HTTP request format"),
    ("two files for one", "file", *form(a=("a", b"1"), b=("b", b"2")), "BentoML#FileInput requires one and at least one file"),
    ("half a form", "file", b"--X\r\nContent-Disp", "multipart/form-data; boundary=X", "The multipart body ends too early."),
    ("a form without boundary", "file", b"x", "multipart/form-data", "The multipart body has no boundary."),
    ("a picture that is none", "image", b"GIF8nonsense", "image/png", "The body is not a picture"),
    ("a format that is not accepted", "image", *form(f=("a.gif", PNG)), "Current service only accepts ['.jpg', '.png'"),
    ("files in a body", "files", b"x", "text/plain", "BentoML#MultiFileInput only accepts requests with Content-Type: multipart/form-data"),
    ("a file missing", "files", *form(left=("l", b"L")), "BentoML#MultiFileInput requires inputs fields ('left', 'right')"),
    ("an image missing", "two_images", *form(x=("x.png", PNG)), "BentoML#MultiImageInput Empty request"),
    ("an image with another suffix", "two_images", *form(x=("x.png", PNG), y=("y.txt", PNG)), "BentoML#MultiImageInput Input image file must be in supported format list"),
    ("an image that is none", "two_images", *form(x=("x.png", PNG), y=("y.png", b"no")), "BentoML#MultiImageInput Input image decode failed"),
    ("annotations that are no JSON", "annotated", *form(image=("x.png", PNG), annotations=("a", b"{")), "BentoML#AnnotatedImageInput received invalid JSON file"),
    ("annotations that are no text", "annotated", *form(image=("x.png", PNG), annotations=("a", b"\xff\xfe\xfd")), "JSON must be in unicode"),
    ("an unnamed picture to annotate", "annotated", *form(image=("", PNG)), "BentoML#AnnotatedImageInput Input image file must be"),
    ("tensors without instances", "tensor", {"inputs": [1]}, "application/json", "input format is not implemented"),
    ("tensors with bad base64", "tensor", {"instances": [{"b64": "?"}]}, "application/json", "Not a valid JSON format"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "body", "content_type", "message"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_refuses(name: str, body: Any, content_type: str, message: str) -> None:
    answered = ask(name, body, content_type)
    assert answered.status == 400
    assert answered.body.startswith(message)
    assert answered.content_type == "text/plain; charset=utf-8"


def test_a_discarded_task_answers_with_its_own_status() -> None:
    answered = ask("discarding", "1")
    assert (answered.status, answered.body) == (418, "I am a teapot")


def test_a_function_may_return_the_whole_result() -> None:
    answered = ask("whole_result", "1")
    assert (answered.status, answered.body) == (201, "<b>")
    assert answered.headers == {"X-Own": "1"}


def test_what_a_function_raised_stays_in_the_log() -> None:
    answered = ask("failing", "1")
    assert (answered.status, answered.body) == (500, "Exception happened in API function")


def test_too_few_results_fail() -> None:
    assert ask("wrong_count", "1").status == 500


def test_a_result_that_json_cannot_hold_fails() -> None:
    answered = ask("odd", '"bad_keys"')
    assert (answered.status, answered.body) == (500, "The result cannot be written as JSON")


def test_json_output_escapes_and_names_its_charset_when_asked() -> None:
    answered = ask("ascii", "1")
    assert (answered.body, answered.content_type) == (
        '"\\u00e9"',
        "application/json; charset=utf-8",
    )


def test_the_server_has_inflated_the_body_already() -> None:
    assert ask("text", b"abc", "text/plain", content_encoding="gzip").json == "ABC"


def classic(name: str) -> InferenceAPI:
    return Everything().get_inference_api(name)


def request(body: Any, **headers: str) -> HTTPRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPRequest(HTTPHeaders(headers), data)


def test_gzip_is_inflated_when_an_api_is_called_without_a_server() -> None:
    packed = HTTPRequest(HTTPHeaders({"Content-Encoding": "gzip"}), gzip.compress(b'"a"'))
    assert classic("value").handle_request(packed).body == '"a"'
    broken = HTTPRequest(HTTPHeaders({"Content-Encoding": "gzip"}), b"nonsense")
    answered = classic("value").handle_request(broken)
    assert (answered.status, answered.body) == (400, "Gzip decompression error")


def test_a_batch_answers_each_request_with_its_own_rows() -> None:
    answers = classic("echo_table").handle_batch_request(
        [request([{"a": 1}, {"a": 2}]), request("no table"), request([{"a": 3}])]
    )
    assert [answer.status for answer in answers] == [200, 400, 200]
    assert [answer.body for answer in answers[::2]] == ['[{"a":1},{"a":2}]', '[{"a":3}]']


def test_neighbours_in_a_batch_cannot_change_a_requests_types() -> None:
    alone = classic("table").handle_request(request([{"a": 1}])).body
    among = classic("table").handle_batch_request(
        [request([{"a": 1}]), request([{"a": 1.5}]), request([{"a": "x"}]), request([{"b": 1}])]
    )
    assert among[0].body == alone
    assert [answer.status for answer in among] == [200] * 4


def test_the_output_adapter_is_chosen_anew_for_every_result() -> None:
    service_api = classic("odd")
    first = service_api.handle_request(request("table"))
    second = service_api.handle_request(request("array"))
    assert (first.body, second.body) == ('[{"a": 1}, {"a": 2}]', "[[0, 1], [2, 3]]")


def test_lambda_events_are_answered() -> None:
    answer = classic("echo_table").handle_aws_lambda_event(
        {"headers": {"Content-Type": "text/csv"}, "body": "a\n1\n"}
    )
    assert answer == {
        "statusCode": 200,
        "body": '[{"a":1}]',
        "headers": {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"},
    }
    refused = classic("value").handle_aws_lambda_event({"body": "{"})
    assert isinstance(refused, dict)
    assert (refused["statusCode"], refused["body"]) == (400, "Not a valid JSON format")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)
API_NAMES = ["value", "echo_table", "split", "typed", "tensor"]


@given(name=st.sampled_from(API_NAMES), value=json_values, kind=st.sampled_from(["json", "csv"]))
def test_no_json_or_csv_makes_a_server_fail(name: str, value: Any, kind: str) -> None:
    service_api = classic(name)
    body = json.dumps(value).encode()
    task = service_api.task_of(HTTPRequest(HTTPHeaders({"Content-Type": f"text/{kind}"}), body))
    if not task.is_discarded:
        service_api.input_adapter.prepare(task)
    assert task.error is None or task.error.http_status == 400


@given(body=st.binary(max_size=200), name=st.sampled_from(["text", "file", "image", "annotated"]))
def test_no_body_makes_a_server_fail(name: str, body: bytes) -> None:
    service_api = classic(name)
    kind = "multipart/form-data; boundary=X"
    for content in (body, b"--X\r\n" + body + b"\r\n--X--\r\n"):
        task = service_api.task_of(HTTPRequest(HTTPHeaders({"Content-Type": kind}), content))
        assert task.error is None or task.error.http_status == 400
