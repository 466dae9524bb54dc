"""What travels through a server's codec, by type and media type."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import io
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
import torch
from PIL import Image

from dosirak.errors import (
    InvalidInput,
    NotAcceptable,
    RemoteError,
    ResultError,
    UnsupportedMediaType,
)
from dosirak.payload.annotations import Columns, DType, MediaType, Shape
from dosirak.payload.codec import compile_client_codec, compile_codec
from dosirak.payload.problems import a_type
from dosirak.payload.signature import Signature, inspect_signature
from dosirak.payload.wire import WireRequest


def signature_of(function: Callable[..., Any]) -> Signature:
    return inspect_signature(function, where="Test.api", skip_self=False, context_type=None)


def codec_of(function: Callable[..., Any]) -> Any:
    return compile_codec(signature_of(function))


def decode(function: Callable[..., Any], body: bytes, content_type: str = "") -> dict[str, Any]:
    return dict(codec_of(function).decode(WireRequest(body, content_type)).kwargs)


def problems_of(
    function: Callable[..., Any], body: bytes, content_type: str = ""
) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        decode(function, body, content_type)
    return dict(caught.value.fields)


# -- plain parameters -------------------------------------------------------------------------


def greet(name: str, times: int = 1, *, loud: bool = False) -> str: ...


def test_a_body_is_an_object_keyed_by_parameter() -> None:
    assert decode(greet, b'{"name":"Kim","times":3}') == {"name": "Kim", "times": 3, "loud": False}


def test_a_missing_body_is_an_empty_object() -> None:
    assert problems_of(greet, b"") == {"name": "is missing"}


def test_every_problem_is_named_at_once() -> None:
    assert problems_of(greet, b'{"nane":"Kim","times":"3","loud":1}') == {
        "nane": "is not a parameter of this api",
        "name": "is missing",
        "times": "expected an integer, got text",
        "loud": "expected true or false, got an integer",
    }


def test_a_mutable_default_is_left_to_python() -> None:
    def function(tags: list[str] = ["a"]) -> None: ...  # noqa: B006

    assert decode(function, b"{}") == {}


def test_a_query_string_carries_the_arguments_of_a_get() -> None:
    request = WireRequest(method="GET", query="name=7&times=2")
    assert codec_of(greet).decode(request).kwargs == {"name": "7", "times": 2}


def test_a_urlencoded_form_is_read_by_type() -> None:
    body = b"name=12&times=2&loud=true"
    read = decode(greet, body, "application/x-www-form-urlencoded")
    assert read == {"name": "12", "times": 2, "loud": True}


@pytest.mark.parametrize("body", [b'{"name": "ada"}', b'[["a=b"]]', b' {"name": "a&b=c"}'])
def test_json_that_was_sent_as_a_form_says_which_header_to_send(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="looks like JSON") as caught:
        decode(greet, body, "application/x-www-form-urlencoded")
    assert "Content-Type: application/json" in caught.value.remedy


def test_a_positional_only_parameter_takes_the_whole_body() -> None:
    def function(numbers: list[int], /) -> int: ...

    codec = codec_of(function)
    assert codec.decode(WireRequest(b"[1,2]")).args == ([1, 2],)
    with pytest.raises(InvalidInput, match="empty"):
        codec.decode(WireRequest(b""))


def test_an_api_without_parameters_takes_nothing() -> None:
    def function() -> int: ...

    assert decode(function, b"") == {}
    assert problems_of(function, b'{"a":1}') == {"a": "is not a parameter of this api"}


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Address:
    city: str
    zip: Annotated[int, msgspec.Meta(ge=0)] = 0


class Point(NamedTuple):
    x: float
    y: float


class Options(TypedDict):
    depth: int
    note: NotRequired[str]


class Reading(msgspec.Struct):
    value: float


@attrs.define
class Pair:
    left: int
    right: int = 2


class Flower(pydantic.BaseModel):
    sepal: float
    species: str = "unknown"


@dataclasses.dataclass
class Scan:
    pixels: Annotated[np.ndarray, Shape(None, 2), DType("float32")]
    name: str = "scan"


CASES: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 2**63 - 1, 2**63 - 1),
    (int, 2**53 + 1, 2**53 + 1),
    (float, 0.5, 0.5),
    (bool, True, True),
    (None, None, None),
    (Any, {"a": [1, None]}, {"a": [1, None]}),
    (str | None, None, None),
    (int | str, "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (list[int], [1], [1]),
    (dict[str, float], {"a": 1.5}, {"a": 1.5}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1], {1}),
    (Colour, "red", Colour.RED),
    (
        datetime.datetime,
        "2026-11-22T10:00:00Z",
        datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC),
    ),
    (
        uuid.UUID,
        "12345678-1234-5678-1234-567812345678",
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (Address, {"city": "Seoul"}, Address("Seoul")),
    (Point, [1.0, 2.0], Point(1.0, 2.0)),
    (Options, {"depth": 1}, {"depth": 1}),
    (Reading, {"value": 1.0}, Reading(1.0)),
    (Pair, {"left": 1}, Pair(1)),
    (Flower, {"sepal": 1.5}, Flower(sepal=1.5)),
    (list[Flower], [{"sepal": 1.5}], [Flower(sepal=1.5)]),
    (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
    (bytes, "AAE=", b"\0\1"),
]


@pytest.mark.parametrize(("hint", "wire", "value"), CASES, ids=range(len(CASES)))
def test_each_type_is_read_from_json_and_written_back(hint: Any, wire: Any, value: Any) -> None:
    def function(x: Any) -> Any: ...

    function.__annotations__ = {"x": hint, "return": hint}
    assert decode(function, msgspec.json.encode({"x": wire})) == {"x": value}
    response = codec_of(function).encode(value, WireRequest(accept="application/json"))
    again = decode(function, b'{"x":' + response.body + b"}")
    assert again == {"x": value}


def test_a_constraint_is_enforced() -> None:
    def function(address: Address) -> None: ...

    body = b'{"address":{"city":1,"zip":-1}}'
    assert problems_of(function, body) == {
        "address.city": "expected text, got an integer",
        "address.zip": "expected an integer >= 0",
    }


def test_problems_in_a_pydantic_model_keep_their_paths() -> None:
    def function(flowers: list[Flower]) -> None: ...

    fields = problems_of(function, b'{"flowers":[{"sepal":1},{"sepal":"a","species":1}]}')
    assert set(fields) == {"flowers[1].sepal", "flowers[1].species"}


@pytest.mark.parametrize("token", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_json_without_a_number_for_it_refuses_nan(token: bytes) -> None:
    def function(x: float) -> None: ...

    with pytest.raises(InvalidInput):
        decode(function, b'{"x":' + token + b"}")


# -- arrays and tensors -----------------------------------------------------------------------


def area(x: Annotated[np.ndarray, Shape(None, 2), DType("float32")]) -> np.ndarray: ...


def test_an_array_has_the_declared_dtype_and_shape() -> None:
    x = decode(area, b'{"x":[[1,2],[3.5,4]]}')["x"]
    assert x.dtype == np.float32
    assert x.tolist() == [[1, 2], [3.5, 4]]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"[[1,2,3]]", "expected shape (any, 2), got (1, 3)"),
        (b"[1,2]", "expected shape (any, 2), got (2)"),
        (b'[["1","2"]]', "expected numbers, got text"),
        (b"[[1,2],[3]]", "the nested arrays are ragged: each must have one length"),
        (b'[[1,"2"]]', "the array mixes numbers with text or other values"),
        (b'{"a":1}', "expected an array, or an object of dtype, shape and data"),
        (b"null", "expected an array, got null"),
        (b"[[true,false]]", "expected numbers, got booleans"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(wire: bytes, reason: str) -> None:
    assert problems_of(area, b'{"x":' + wire + b"}") == {"x": reason}


def test_integers_beyond_two_to_the_53_stay_exact() -> None:
    def function(x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...

    value = 2**53 + 1
    x = decode(function, b'{"x":[%d,-1]}' % value)["x"]
    assert x.tolist() == [value, -1]
    assert codec_of(function).encode(x, WireRequest()).body == b"[%d,-1]" % value


def test_an_integer_out_of_range_is_refused() -> None:
    def function(x: npt.NDArray[np.int8]) -> None: ...

    assert problems_of(function, b'{"x":[300]}') == {"x": "a value is out of the range of int8"}
    assert problems_of(function, b'{"x":[1.5]}') == {"x": "expected integers, got numbers"}


def test_null_in_floats_is_nan_and_nan_is_written_as_null() -> None:
    x = decode(area, b'{"x":[[1,null]]}')["x"]
    assert np.isnan(x[0, 1])
    body = codec_of(area).encode(np.array([1.0, np.nan, np.inf]), WireRequest()).body
    assert body == b"[1.0,null,null]"


def test_an_array_is_read_from_npy_without_a_copy() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((3, 2), np.float32))
    body = buffer.getvalue()
    x = decode(area, body, "application/x-npy")["x"]
    assert x.shape == (3, 2)
    assert not x.flags.owndata
    assert not x.flags.writeable


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|b1", "<i2", "<u8", "<c16", "<U3", "<M8[s]"])
def test_numpy_reads_the_npy_we_write(dtype: str, order: Any) -> None:
    def function(x: np.ndarray) -> np.ndarray: ...

    array = np.zeros((2, 3), dtype, order=order)
    array.reshape(-1)[:1] = array.dtype.type(1) if dtype[1] not in "UM" else array.flat[0]
    response = codec_of(function).encode(array, WireRequest(accept="application/x-npy"))
    assert (np.load(io.BytesIO(response.body)) == array).all()


def test_a_tensor_owns_its_memory() -> None:
    def function(x: Annotated[torch.Tensor, DType("float32")]) -> torch.Tensor: ...

    x = decode(function, b'{"x":[[1,2]]}')["x"]
    assert x.dtype is torch.float32
    x += 1
    assert codec_of(function).encode(x, WireRequest()).body == b"[[2.0,3.0]]"


def test_a_bfloat16_tensor_travels() -> None:
    def function(x: Annotated[torch.Tensor, DType("bfloat16")]) -> torch.Tensor: ...

    x = decode(function, b'{"x":[1.5]}')["x"]
    assert x.dtype is torch.bfloat16
    assert codec_of(function).encode(x, WireRequest()).body == b"[1.5]"


def test_arrays_travel_inside_lists_options_and_classes() -> None:
    def function(
        images: list[npt.NDArray[np.uint8]], mask: np.ndarray | None, scan: Scan
    ) -> Scan: ...

    read = decode(function, b'{"images":[[1],[2]],"mask":null,"scan":{"pixels":[[1,2]]}}')
    assert [image.dtype for image in read["images"]] == [np.uint8, np.uint8]
    assert read["mask"] is None
    assert read["scan"].pixels.dtype == np.float32
    body = codec_of(function).encode(read["scan"], WireRequest()).body
    assert body == b'{"pixels":[[1.0,2.0]],"name":"scan"}'


def test_a_problem_inside_a_class_inside_a_list_has_its_path() -> None:
    def function(scans: list[Scan]) -> None: ...

    fields = problems_of(function, b'{"scans":[{"pixels":[[1,2]]},{"pixels":[1]}]}')
    assert fields == {"scans[1].pixels": "expected shape (any, 2), got (1)"}


def test_a_union_takes_the_first_member_that_fits() -> None:
    def function(x: Address | Options | np.ndarray) -> None: ...

    assert decode(function, b'{"x":{"city":"Seoul"}}') == {"x": Address("Seoul")}
    assert decode(function, b'{"x":{"depth":2}}') == {"x": {"depth": 2}}
    assert decode(function, b'{"x":[1]}')["x"].tolist() == [1]
    assert "fits no member" in problems_of(function, b'{"x":"a"}')["x"]


# -- tables -----------------------------------------------------------------------------------

DECLARED = Columns(age="float64", name="str")


def by_pandas(t: Annotated[pd.DataFrame, DECLARED]) -> pd.DataFrame: ...
def by_polars(t: Annotated[pl.DataFrame, DECLARED]) -> pl.DataFrame: ...
def by_arrow(t: Annotated[pa.Table, DECLARED]) -> pa.Table: ...


def rows_of(table: Any) -> list[dict[str, Any]]:
    if isinstance(table, pa.Table):
        return table.to_pylist()
    return table.to_dicts() if isinstance(table, pl.DataFrame) else table.to_dict("records")


@pytest.mark.parametrize("function", [by_pandas, by_polars, by_arrow])
@pytest.mark.parametrize(
    "wire",
    [
        b'[{"age":1,"name":"007"},{"name":"b","age":2.5}]',
        b'{"name":["007","b"],"age":[1,2.5]}',
        b'{"columns":["name","age"],"data":[["007",1],["b",2.5]]}',
        b'[[1,"007"],[2.5,"b"]]',
    ],
)
def test_a_table_arrives_in_any_layout(function: Callable[..., Any], wire: bytes) -> None:
    table = decode(function, b'{"t":' + wire + b"}")["t"]
    assert rows_of(table) == [{"age": 1.0, "name": "007"}, {"age": 2.5, "name": "b"}]
    assert list(rows_of(table)[0]) == ["age", "name"]


@pytest.mark.parametrize("function", [by_pandas, by_polars, by_arrow])
@pytest.mark.parametrize(
    ("wire", "fields"),
    [
        (b'[{"age":1}]', {"t[0].name": "is missing"}),
        (b'[{"age":1,"name":"a"},{"age":1}]', {"t[1].name": "is missing"}),
        (b'[{"age":"1","name":"a"}]', {"t[0].age": "expected a number or null, got text"}),
        (b'{"age":[1,"x"],"name":["a","b"]}', {"t.age[1]": "expected a number or null, got text"}),
        (b"[[1,2]]", {"t[0][1]": "expected text or null, got an integer"}),
        (b"[[1]]", {"t[0]": "expected an array of 2 values"}),
        (b'{"columns":["age"],"data":[[1]]}', {"t.name": "is missing"}),
        (b'[{"age":1,"name":"a","id":1}]', {"t[0].id": "is not a declared column"}),
        (b"3", {"t": "expected a table (a list of records or columns), got an integer"}),
        (b'{"age":[1],"name":[]}', {"t": "the columns have different lengths"}),
        (b'[{"age":1,"name":"a"},7]', {"t[1]": "expected an object, got an integer"}),
    ],
)
def test_a_table_that_does_not_fit_names_the_cell(
    function: Callable[..., Any], wire: bytes, fields: dict[str, str]
) -> None:
    assert problems_of(function, b'{"t":' + wire + b"}") == fields


def test_text_is_never_read_as_numbers_or_dates() -> None:
    def function(t: pd.DataFrame) -> pd.DataFrame: ...

    table = decode(function, b'{"t":[{"a":"1","b":"2026-01-01","c":"NaN"}]}')["t"]
    assert table.to_dict("records") == [{"a": "1", "b": "2026-01-01", "c": "NaN"}]


def test_integers_beside_nulls_stay_exact() -> None:
    def function(t: pd.DataFrame) -> pd.DataFrame: ...

    wire = b'[{"a":9007199254740993},{"a":null}]'
    table = decode(function, b'{"t":' + wire + b"}")["t"]
    assert codec_of(function).encode(table, WireRequest()).body == wire


def test_a_list_of_lists_needs_declared_columns() -> None:
    def function(t: pd.DataFrame) -> None: ...

    assert "declares its columns" in problems_of(function, b'{"t":[[1]]}')["t"]


@pytest.mark.parametrize("function", [by_pandas, by_polars, by_arrow])
@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"],
)
def test_a_table_travels_as_a_whole_body(function: Callable[..., Any], media_type: str) -> None:
    codec = codec_of(function)
    table = decode(function, b'{"t":[{"age":1.5,"name":"007"},{"age":2,"name":"b"}]}')["t"]
    response = codec.encode(table, WireRequest(accept=media_type))
    again = codec.decode(WireRequest(response.body, response.content_type)).kwargs["t"]
    assert rows_of(again) == rows_of(table)


@pytest.mark.parametrize("kind", [pd.Series, pl.Series], ids=["pandas", "polars"])
def test_a_series_is_a_list(kind: Any) -> None:
    def function(s: Any) -> Any: ...

    hint = Annotated[kind, DType("float64")]
    function.__annotations__ = {"s": hint, "return": hint}
    s = decode(function, b'{"s":[1,2.5]}')["s"]
    assert isinstance(s, kind)
    assert codec_of(function).encode(s, WireRequest()).body == b"[1.0,2.5]"
    assert problems_of(function, b'{"s":[1,"a"]}') == {
        "s[1]": "expected a number or null, got text"
    }


def test_a_declared_time_is_read() -> None:
    for kind in (pd.DataFrame, pl.DataFrame, pa.Table):

        def function(t: Any) -> None: ...

        function.__annotations__ = {"t": Annotated[kind, Columns(at="datetime")]}
        table = decode(function, b'{"t":[{"at":"2026-11-22T10:00:00Z"},{"at":null}]}')["t"]
        assert rows_of(table)[0]["at"] == datetime.datetime(2026, 11, 22, 10, tzinfo=datetime.UTC)
        assert "t[0].at" in problems_of(function, b'{"t":[{"at":"yesterday"}]}')


# -- files, images, text, bytes ---------------------------------------------------------------


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


def see(image: Image.Image) -> Image.Image: ...


def test_an_image_is_a_whole_body_or_base64() -> None:
    read = decode(see, png(), "image/png")["image"]
    assert read.size == (3, 2)
    response = codec_of(see).encode(read, WireRequest())
    assert response.content_type == "image/png"
    as_json = codec_of(see).encode(read, WireRequest(accept="application/json")).body
    assert decode(see, b'{"image":' + as_json + b"}")["image"].size == (3, 2)
    assert problems_of(see, b"nonsense", "image/png") == {
        "image": "is not an image that can be decoded"
    }


def test_an_uploaded_file_goes_with_the_last_reference() -> None:
    def function(document: Annotated[Path, MediaType("application/pdf")]) -> None: ...

    path = decode(function, b"%PDF", "application/pdf")["document"]
    assert path.read_bytes() == b"%PDF"
    assert path.suffix == ".pdf"
    directory = Path(str(path.parent))
    assert directory.stat().st_mode & 0o777 == 0o700
    del path
    assert not directory.exists()
    with pytest.raises(UnsupportedMediaType):
        decode(function, b"x", "image/png")


def test_a_returned_file_is_a_download(tmp_path: Path) -> None:
    def function() -> Path: ...

    (tmp_path / "räport.csv").write_bytes(b"a\n1\n")
    response = codec_of(function).encode(tmp_path / "räport.csv", WireRequest())
    assert response.body == b"a\n1\n"
    assert response.content_type == "text/csv"
    assert response.headers == (
        ("content-disposition", "attachment; filename*=UTF-8''r%C3%A4port.csv"),
    )


def multipart(*parts: tuple[str, bytes, str]) -> tuple[bytes, str]:
    body = b""
    for name, content, extra in parts:
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + b"--B--\r\n", "multipart/form-data; boundary=B"


def test_a_form_carries_files_beside_values() -> None:
    def function(files: list[Path], top: int, note: str, tags: list[str]) -> None: ...

    body, content_type = multipart(
        ("files", b"one", '; filename="../../a.txt"'),
        ("files", b"two", '; filename="b.txt"\r\nContent-Type: text/plain'),
        ("top", b"3", ""),
        ("note", b"3", ""),
        ("tags", b'["x","y"]', ""),
    )
    read = decode(function, body, content_type)
    assert [(path.name, path.read_bytes()) for path in read["files"]] == [
        ("a.txt", b"one"),
        ("b.txt", b"two"),
    ]
    assert (read["top"], read["note"], read["tags"]) == (3, "3", ["x", "y"])


def test_problems_in_a_form_are_named() -> None:
    body, content_type = multipart(("times", b"x", ""), ("other", b"1", ""))
    fields = problems_of(greet, body, content_type)
    assert set(fields) == {"times", "other", "name"}


def test_text_is_decoded_with_its_charset() -> None:
    def function(text: str) -> str: ...

    assert decode(function, "안녕".encode("euc-kr"), "text/plain; charset=euc-kr") == {
        "text": "안녕"
    }
    response = codec_of(function).encode("안녕", WireRequest(accept="text/plain"))
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.body == "안녕".encode()
    for charset in ("zip", "nope", "rot13", "\0"):
        with pytest.raises(InvalidInput):
            decode(function, b"a", f"text/plain; charset={charset}")


def test_bytes_take_any_media_type() -> None:
    def function(data: bytes) -> Annotated[bytes, MediaType("application/zip")]: ...

    assert decode(function, b"\0", "application/x-whatever") == {"data": b"\0"}
    assert decode(function, b'{"data":"AA=="}') == {"data": b"\0"}
    assert decode(function, b"", "application/octet-stream") == {"data": b""}
    assert codec_of(function).encode(b"PK", WireRequest()).content_type == "application/zip"


# -- msgpack ----------------------------------------------------------------------------------


def test_msgpack_carries_arrays_as_bytes_or_lists() -> None:
    packed = {"dtype": "<f4", "shape": [1, 2], "data": np.ones(2, "<f4").tobytes()}
    for value in (packed, [[1, 1]]):
        body = msgspec.msgpack.encode({"x": value})
        assert decode(area, body, "application/x-msgpack")["x"].tolist() == [[1, 1]]
    response = codec_of(area).encode(np.ones(2), WireRequest(accept="application/msgpack"))
    assert set(msgspec.msgpack.decode(response.body)) == {"dtype", "shape", "data"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dtype": "|O8"}, "x.dtype"),
        ({"dtype": "f4,f4"}, "x.dtype"),
        ({"shape": [-1, 2]}, "x.shape"),
        ({"shape": [2**62, 2**62]}, "x.shape"),
        ({"shape": [3]}, "x.data"),
        ({"data": "text"}, "x.data"),
    ],
)
def test_a_packed_array_that_lies_is_refused(change: dict[str, Any], field: str) -> None:
    packed = {"dtype": "<f4", "shape": [2], "data": b"\0" * 8, **change}
    body = msgspec.msgpack.encode({"x": packed})
    assert set(problems_of(area, body, "application/msgpack")) == {field}


# -- results ----------------------------------------------------------------------------------


def test_numpy_scalars_fit_plain_annotations() -> None:
    def function() -> dict[str, float]: ...

    body = codec_of(function).encode({"a": np.float32(0.5), "b": np.int64(1)}, WireRequest()).body
    assert msgspec.json.decode(body) == {"a": 0.5, "b": 1.0}


def test_a_result_of_another_type_is_the_services_fault() -> None:
    def function() -> list[int]: ...

    with pytest.raises(ResultError, match=r"\[1\]"):
        codec_of(function).encode([1, "a"], WireRequest())


def test_without_a_return_annotation_anything_plain_goes() -> None:
    def function(): ...

    codec = codec_of(function)
    result = {
        "t": pd.DataFrame({"a": [1]}),
        "x": np.ones(1),
        "f": np.float32(1),
        "p": Flower(sepal=1),
    }
    assert msgspec.json.decode(codec.encode(result, WireRequest()).body) == {
        "t": [{"a": 1}],
        "x": [1.0],
        "f": 1.0,
        "p": {"sepal": 1.0, "species": "unknown"},
    }
    with pytest.raises(ResultError, match="no wire form"):
        codec.encode(object(), WireRequest())


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("application/json;q=0.5, application/x-npy", "application/x-npy"),
        ("application/json;q=0, */*", "application/msgpack"),
        ("application/*;q=0.1, application/x-msgpack;q=0.2", "application/msgpack"),
    ],
)
def test_the_answer_is_in_the_media_type_that_accept_prefers(accept: str, chosen: str) -> None:
    response = codec_of(area).encode(np.ones(1), WireRequest(accept=accept))
    assert response.content_type == chosen


def test_an_accept_that_nothing_meets_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        codec_of(area).encode(np.ones(1), WireRequest(accept="image/png"))


def test_an_unknown_content_type_is_refused() -> None:
    for content_type in ("application/x-unknown", "nonsense", "application/json; charset=utf-16"):
        with pytest.raises(UnsupportedMediaType):
            decode(greet, b"{}", content_type)


def test_an_error_is_written_as_json() -> None:
    codec = codec_of(greet)
    with pytest.raises(InvalidInput) as caught:
        codec.decode(WireRequest(b"{}"))
    response = codec.encode_error(caught.value, WireRequest(), request_id="r1")
    assert response.status == 400
    body = msgspec.json.decode(response.body)
    assert body["code"] == "invalid_input"
    assert body["fields"] == [{"field": "name", "reason": "is missing"}]
    assert body["request_id"] == "r1"


class Mood(enum.Enum):
    GLAD = "glad"
    SAD = "sad"


class Page(TypedDict):
    moods: list[Literal["glad", "sad"]]
    by_day: NotRequired[dict[str, Mood]]


@pytest.mark.parametrize(
    ("hint", "value", "field"),
    [
        (Literal["glad", "sad"], "mad", "x"),
        (Literal["glad", "sad"] | None, "mad", "x"),
        (Mood, "mad", "x"),
        (list[Mood], ["sad", "mad"], "x[1]"),
        (tuple[int, Literal["glad", "sad"]], [1, "mad"], "x[1]"),
        (Page, {"moods": ["mad"]}, "x.moods[0]"),
        (Page, {"moods": [], "by_day": {"today": "mad"}}, "x.by_day[...]"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_told_the_right_ones(hint: Any, value: Any, field: str) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = hint
    reason = "'mad' is not one of 'glad', 'sad'"
    assert problems_of(function, msgspec.json.encode({"x": value}))[field] == reason
    with pytest.raises(InvalidInput) as caught:
        compile_client_codec(signature_of(function)).encode_arguments((value,))
    assert dict(caught.value.fields) == {field: reason}


def wide(number: int) -> Any:
    return {"number": number, "more": [number]}


def wide_number(number: int) -> int:
    return number


@pytest.mark.parametrize("function", [wide, wide_number])
@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_is_kept_by_json_and_said_to_have_no_msgpack_form(
    function: Callable[..., Any], number: int
) -> None:
    codec = codec_of(function)
    result = function(number)
    assert msgspec.json.decode(codec.encode(result, WireRequest()).body) == result
    with pytest.raises(NotAcceptable, match="does not fit 64 bits") as caught:
        codec.encode(result, WireRequest(accept="application/msgpack"))
    assert caught.value.http_status == 406
    # Whoever takes JSON as well, as the client does, gets it in JSON.
    client = compile_client_codec(signature_of(function))
    answer = codec.encode(result, WireRequest(accept=client.accept))
    assert answer.content_type == "application/json"
    assert client.decode_result(answer.content_type, answer.body) == result


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_an_integer_of_64_bits_has_a_msgpack_form(number: int) -> None:
    answer = codec_of(wide).encode(wide(number), WireRequest(accept="application/msgpack"))
    assert msgspec.msgpack.decode(answer.body) == wide(number)


def test_an_argument_too_wide_for_msgpack_names_the_parameter() -> None:
    def function(a: int, frame: pd.DataFrame) -> None: ...

    with pytest.raises(InvalidInput) as caught:
        compile_client_codec(signature_of(function)).encode_arguments((2**64, pd.DataFrame()))
    assert "64 bits" in dict(caught.value.fields)["a"]


# -- streams ----------------------------------------------------------------------------------


def gather(stream: Any) -> list[bytes]:
    async def read() -> list[bytes]:
        return [chunk async for chunk in stream.chunks]

    return asyncio.run(read())


def count(n: int) -> Iterator[int]:
    yield from range(n)


async def count_slowly(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@pytest.mark.parametrize("function", [count, count_slowly])
def test_a_generator_is_a_stream_of_events(function: Callable[..., Any]) -> None:
    stream = codec_of(function).encode_stream(function(2), WireRequest())
    assert stream.content_type == "text/event-stream"
    assert gather(stream) == [b"data: 0\n\n", b"data: 1\n\n", b"event: end\ndata: {}\n\n"]
    lines = codec_of(function).encode_stream(
        function(2), WireRequest(accept="application/x-ndjson")
    )
    assert gather(lines) == [b"0\n", b"1\n"]


def test_an_exception_in_a_stream_is_its_last_event_and_tells_no_secrets() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("secret")

    chunks = gather(codec_of(failing).encode_stream(failing(), WireRequest()))
    assert chunks[-1].startswith(b"event: error\n")
    assert b"secret" not in b"".join(chunks)


LINES = WireRequest(accept="application/x-ndjson")


def items_of(item: Any) -> Iterator[dict[str, Any]]:
    yield item


def test_an_error_in_a_stream_of_lines_cannot_be_taken_for_an_item() -> None:
    looks_like_one = {"error": "x", "code": "service_error", "request_id": "r"}

    def failing() -> Iterator[dict[str, Any]]:
        yield looks_like_one
        raise InvalidInput("No more.")

    stream = codec_of(failing).encode_stream(failing(), LINES)
    item, error = gather(stream)
    assert msgspec.json.decode(item) == looks_like_one
    assert msgspec.json.decode(error)["$error"]["error"] == "No more."
    assert stream.outcome.error is not None and stream.outcome.error.code == "invalid_input"
    client = compile_client_codec(signature_of(failing))
    items = client.decode_stream("application/x-ndjson", [item + error[:9], error[9:]])
    assert next(items) == looks_like_one
    with pytest.raises(RemoteError, match="No more") as caught:
        next(items)
    assert caught.value.remote_code == "invalid_input"


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/event-stream"])
def test_items_before_an_error_are_delivered_though_they_came_with_it(media_type: str) -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise InvalidInput("No more.")

    chunks = gather(codec_of(failing).encode_stream(failing(), WireRequest(accept=media_type)))
    items = compile_client_codec(signature_of(failing)).decode_stream(
        media_type, [b"".join(chunks)]
    )
    assert next(items) == 1
    with pytest.raises(RemoteError, match="No more"):
        next(items)


def test_an_item_that_would_look_like_an_error_is_refused_among_lines_alone() -> None:
    item = {"$error": {"error": "mine"}}
    codec = codec_of(items_of)
    (line,) = gather(codec.encode_stream(items_of(item), LINES))
    assert msgspec.json.decode(line)["$error"]["code"] == "result_error"
    assert len(gather(codec.encode_stream(items_of(item), WireRequest()))) == 2


def test_a_stream_of_bytes_is_raw_and_breaks_on_error() -> None:
    def failing() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("broken")

    stream = codec_of(failing).encode_stream(failing(), WireRequest())
    assert stream.content_type == "application/octet-stream"
    with pytest.raises(ValueError, match="broken"):
        gather(stream)


def test_a_stream_left_early_runs_the_generators_finally() -> None:
    ended: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    async def take_one() -> None:
        stream = codec_of(endless).encode_stream(endless(), WireRequest())
        await anext(stream.chunks)
        await stream.chunks.aclose()  # type: ignore[attr-defined]

    asyncio.run(take_one())
    assert ended == [True]


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/event-stream"])
def test_a_large_item_in_small_pieces_costs_each_byte_once(media_type: str) -> None:
    """Looked at again with each piece, 16 MB would take the better part of an hour."""

    def tell() -> Iterator[str]: ...

    head, end = {
        "application/x-ndjson": (b'"', b'"\n'),
        "text/event-stream": (b'data: "', b'"\n\nevent: end\ndata: {}\n\n'),
    }[media_type]
    pieces = [head, *[b"x" * 64] * (16 * 1024 * 1024 // 64), end]
    (item,) = compile_client_codec(signature_of(tell)).decode_stream(media_type, pieces)
    assert len(item) == 16 * 1024 * 1024


@pytest.mark.parametrize("media_type", ["application/json", "text/html", ""])
def test_an_answer_that_is_no_stream_is_not_taken_for_an_empty_one(media_type: str) -> None:
    with pytest.raises(RemoteError, match="stream was asked for"):
        list(compile_client_codec(signature_of(count)).decode_stream(media_type, []))


def test_the_client_reads_a_stream_cut_anywhere() -> None:
    client = compile_client_codec(signature_of(count))
    whole = b"".join(gather(codec_of(count).encode_stream(count(3), WireRequest())))
    chunks = [whole[i : i + 1] for i in range(len(whole))]
    assert list(client.decode_stream("text/event-stream", chunks)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "spoken"),
    [([1], "a list"), (1, "an int"), (np.zeros(1), "an ndarray"), (np.uint8(1), "a uint8")],
    ids=lambda value: type(value).__name__,
)
def test_a_type_is_named_with_its_article(value: object, spoken: str) -> None:
    assert a_type(value) == spoken


def anything(label: str, value: Any = None) -> None: ...


def test_the_client_names_an_argument_that_no_wire_can_hold() -> None:
    client = compile_client_codec(signature_of(anything))
    for arguments, field in (
        ({"label": "\ud800"}, "label"),
        ({"label": "x", "value": ["\ud800"]}, "value"),
        ({"label": "x", "value": object()}, "value"),
    ):
        with pytest.raises(InvalidInput) as raised:
            client.encode_arguments(kwargs=arguments)
        assert raised.value.fields[0].field == field
