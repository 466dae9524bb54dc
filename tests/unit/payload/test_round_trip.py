"""Client codec → server codec → server codec → client codec, over every type and media type.

The client is built from the schema alone, as it is in life.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dosirak.errors import InvalidInput, RemoteError, UsageError
from dosirak.payload.annotations import Columns, DType, Shape
from dosirak.payload.codec import ClientCodec, compile_client_codec, compile_codec
from dosirak.payload.signature import Signature, inspect_signature
from dosirak.payload.wire import ApiCodec, WireRequest


def ends(hint: Any, *, several: bool = False) -> tuple[ClientCodec, ApiCodec]:
    def one(x: Any) -> Any: ...
    def two(x: Any, y: int) -> Any: ...

    function: Callable[..., Any] = two if several else one
    function.__annotations__ |= {"x": hint, "return": hint, **({"y": int} if several else {})}
    codec = compile_codec(
        inspect_signature(function, where="T", skip_self=False, context_type=None)
    )
    schema = msgspec.json.decode(msgspec.json.encode(codec.describe()))
    client = compile_client_codec(Signature.from_description(schema), schema["request_media_types"])
    return client, codec


def there_and_back(
    client: ClientCodec, codec: ApiCodec, value: Any, accept: str, *more: Any
) -> Any:
    content_type, body = client.encode_arguments((value, *more))
    arguments = codec.decode(WireRequest(body, content_type))
    response = codec.encode(arguments.kwargs["x"], WireRequest(accept=accept))
    return client.decode_result(response.content_type, response.body)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(
            left, right, equal_nan=left.dtype.kind == "f"
        )
    if isinstance(left, torch.Tensor):
        return same(left.numpy(), right.numpy())
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(type(left) is type(right) and left == right)


ENDS = {
    (name, several): ends(hint, several=several)
    for name, hint in {
        "array": np.ndarray,
        "tensor": torch.Tensor,
        "any": Any,
        "floats": list[float],
        "bytes": bytes,
        "text": str,
        "arrays": list[np.ndarray],
        "pandas": Annotated[pd.DataFrame, Columns(i="int64", f="float64", s="str", b="bool")],
        "polars": Annotated[pl.DataFrame, Columns(i="int64", f="float64", s="str", b="bool")],
        "arrow": Annotated[pa.Table, Columns(i="int64", f="float64", s="str", b="bool")],
    }.items()
    for several in (False, True)
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
DTYPES = st.sampled_from(["f4", "f8", "i1", "i8", "u8", "bool", "f2"])
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.integers(-(2**63), 2**63 - 1),
            "f": st.floats(allow_nan=False),
            "s": st.text(st.characters(exclude_categories=["Cs"])),
            "b": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
)
several = pytest.mark.parametrize("several", [False, True])


def extra(several: bool) -> tuple[int, ...]:
    return (7,) if several else ()


@several
@settings(deadline=None, max_examples=60)
@given(value=JSON_VALUES)
def test_json_values(value: Any, several: bool) -> None:
    client, codec = ENDS["any", several]
    for accept in (client.accept, "application/json"):
        back = there_and_back(client, codec, value, accept, *extra(several))
        assert back == value


@several
@settings(deadline=None, max_examples=60)
@given(array=ARRAYS)
def test_arrays(array: np.ndarray, several: bool) -> None:
    client, codec = ENDS["array", several]
    for accept in (client.accept, "application/msgpack", "application/x-npy"):
        assert same(array, there_and_back(client, codec, array, accept, *extra(several)))
    if np.isfinite(array).all() and array.size:
        back = there_and_back(client, codec, array, "application/json", *extra(several))
        assert np.array_equal(back, array)


@several
@settings(deadline=None, max_examples=30)
@given(array=ARRAYS)
def test_tensors_and_lists_of_arrays(array: np.ndarray, several: bool) -> None:
    client, codec = ENDS["tensor", several]
    if array.dtype != np.uint64:
        tensor = torch.from_numpy(array.copy())
        assert same(tensor, there_and_back(client, codec, tensor, client.accept, *extra(several)))
    client, codec = ENDS["arrays", several]
    back = there_and_back(client, codec, [array, array], client.accept, *extra(several))
    assert all(same(array, one) for one in back)


@several
@settings(deadline=None, max_examples=40)
@given(
    floats=st.lists(st.floats(allow_nan=False, allow_infinity=False)),
    data=st.binary(),
    text=st.text(),
)
def test_scalars(floats: list[float], data: bytes, text: str, several: bool) -> None:
    for name, value in (("floats", floats), ("bytes", data), ("text", text)):
        if name == "text" and any(0xD800 <= ord(c) <= 0xDFFF for c in text):
            continue
        client, codec = ENDS[name, several]
        for accept in (client.accept, "application/json", "application/msgpack"):
            back = there_and_back(client, codec, value, accept, *extra(several))
            assert back == value


@several
@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
@settings(deadline=None, max_examples=25)
@given(rows=ROWS)
def test_tables(rows: list[dict[str, Any]], library: str, several: bool) -> None:
    client, codec = ENDS[library, several]
    make: Any = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.Table.from_pylist}
    accepts = ["application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"]
    if all(math.isfinite(row["f"]) for row in rows):
        accepts += ["application/json", client.accept]
    for accept in accepts:
        table = make[library](rows)
        back = there_and_back(client, codec, table, accept, *extra(several))
        again = {"pandas": lambda t: t.to_dict("records"), "polars": lambda t: t.to_dicts()}.get(
            library, lambda t: t.to_pylist()
        )(back)
        assert again == rows


def test_a_client_sends_what_is_compact() -> None:
    chosen = {
        key: client.encode_arguments((value, *extra(key[1])))[0].partition(";")[0]
        for key, value in {
            ("array", False): np.ones(2),
            ("array", True): np.ones(2),
            ("pandas", False): pd.DataFrame({"i": [1], "f": [1.0], "s": ["a"], "b": [True]}),
            ("floats", False): [1.0],
            ("bytes", False): b"a",
            ("bytes", True): b"a",
            ("text", False): "a",
        }.items()
        for client in [ENDS[key][0]]
    }
    assert chosen == {
        ("array", False): "application/x-npy",
        ("array", True): "application/msgpack",
        ("pandas", False): "application/vnd.apache.arrow.stream",
        ("floats", False): "application/json",
        ("bytes", False): "application/octet-stream",
        ("bytes", True): "multipart/form-data",
        ("text", False): "application/json",
    }


def test_files_and_images_travel(tmp_path: Path) -> None:
    source = tmp_path / "note.txt"
    source.write_bytes(b"hello")
    for several in (False, True):
        client, codec = ends(Path, several=several)
        back = there_and_back(client, codec, source, client.accept, *extra(several))
        assert back.read_bytes() == b"hello"
        client, codec = ends(list[Path], several=several)
        content_type, body = client.encode_arguments(([source, source], *extra(several)))
        read = codec.decode(WireRequest(body, content_type)).kwargs["x"]
        assert [path.name for path in read] == ["note.txt", "note.txt"]
        client, codec = ends(Image.Image, several=several)
        picture = Image.new("RGB", (2, 2), "blue")
        back = there_and_back(client, codec, picture, client.accept, *extra(several))
        assert back.tobytes() == picture.tobytes()


def test_a_client_checks_what_it_sends() -> None:
    client, _ = ends(Annotated[np.ndarray, Shape(2), DType("float32")], several=True)
    with pytest.raises(InvalidInput, match="shape"):
        client.encode_arguments((np.ones(3), 1))
    with pytest.raises(UsageError, match="'y' is missing"):
        client.encode_arguments((np.ones(2),))
    with pytest.raises(UsageError, match="'z' is unknown"):
        client.encode_arguments((np.ones(2), 1), {"z": 1})
    with pytest.raises(UsageError, match="positional"):
        client.encode_arguments((1, 2, 3))


def test_an_answer_that_does_not_fit_the_schema_is_the_servers_error() -> None:
    client, _ = ends(list[float])
    with pytest.raises(RemoteError, match="schema"):
        client.decode_result("application/json", b'{"a":1}')
    with pytest.raises(RemoteError, match="image/png"):
        client.decode_result("image/png", b"")


@pytest.mark.parametrize(
    "frame", [pd.DataFrame, pl.DataFrame, pa.Table], ids=["pandas", "polars", "pyarrow"]
)
@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2.5], [3, None]],
        ((1, 2.5), (3, None)),
        [np.array([1, 2.5]), np.array([3, math.nan])],
        np.array([[1, 2.5], [3, None]], dtype=object),
        [],
        np.empty((0, 2)),
    ],
)
def test_rows_without_names_are_those_of_the_declared_columns(frame: Any, rows: Any) -> None:
    def api(table: Any) -> int: ...

    declared = Columns(a="float64", b="float64")
    api.__annotations__["table"] = Annotated[frame, declared]
    named = [{"a": 1.0, "b": 2.5}, {"a": 3.0, "b": math.nan}][: len(rows)]
    (sent,) = _sent(api, rows)
    assert _plain_records(sent) == _plain_records(pd.DataFrame(named, columns=["a", "b"]))


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0, 2.0], [1.0]], np.ones((2, 3))])
def test_rows_of_another_width_are_refused_before_they_are_sent(rows: Any) -> None:
    def api(table: Annotated[pd.DataFrame, Columns("a", "b")]) -> int: ...

    with pytest.raises(InvalidInput, match=" of 2 values"):
        _sent(api, rows)


def test_columns_of_categories_go_as_the_values_that_they_hold() -> None:
    def api(table: Annotated[pd.DataFrame, Columns(size="str", count="int64")]) -> int: ...

    table = pd.DataFrame({"size": ["small", "large"], "count": [1, 2]}, dtype="category")
    (sent,) = _sent(api, table)
    assert sent.to_dict("records") == [
        {"size": "small", "count": 1},
        {"size": "large", "count": 2},
    ]


def _sent(api: Callable[..., Any], value: Any) -> tuple[Any, ...]:
    """What the handler is given of what a caller gives."""
    signature = inspect_signature(api, where="api")
    content_type, body = compile_client_codec(signature).encode_arguments((value,))
    arguments = compile_codec(signature).decode(WireRequest(body, content_type))
    return (*arguments.args, *arguments.kwargs.values())


def _plain_records(table: Any) -> list[list[float | None]]:
    if isinstance(table, pd.DataFrame):
        rows: Any = table.to_dict("records")
    else:
        rows = table.to_pylist() if isinstance(table, pa.Table) else table.to_dicts()
    cells = [list(row.values()) for row in rows]
    return [[None if c is None or math.isnan(c) else float(c) for c in row] for row in cells]
