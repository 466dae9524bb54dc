"""Hostile bodies against every codec: always a 4xx that says why, never anything else, and quickly.

S-05 and F-23/F-24: what has crashed or stalled other servers, and random bytes for what has not.
"""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dosirak.errors import NotAcceptable, RequestError
from dosirak.payload.annotations import Columns
from dosirak.payload.codec import compile_codec
from dosirak.payload.media import ARROW, CSV, FORM, JSON, MSGPACK, MULTIPART, NPY, PARQUET
from dosirak.payload.signature import inspect_signature
from dosirak.payload.wire import ApiCodec, WireRequest


def any_value(x: Any) -> None: ...
def whole_any(x: Any, /) -> None: ...
def number(x: int) -> None: ...
def fraction(x: float) -> None: ...
def text(x: str) -> None: ...
def array(x: np.ndarray) -> None: ...
def tensor(x: torch.Tensor) -> None: ...
def pandas_table(x: pd.DataFrame) -> None: ...
def declared_table(x: Annotated[pd.DataFrame, Columns(a="int64", b="str")]) -> None: ...
def polars_table(x: pl.DataFrame) -> None: ...
def arrow_table(x: pa.Table) -> None: ...
def series(x: pd.Series) -> None: ...
def image(x: Image.Image) -> None: ...
def file(x: Path) -> None: ...
def data(x: bytes) -> None: ...
def several(x: int, y: list[float], z: np.ndarray, w: pd.DataFrame, v: Path) -> None: ...
def nothing() -> None: ...


APIS: list[Callable[..., Any]] = [
    any_value, whole_any, number, fraction, text, array, tensor, pandas_table, declared_table,
    polars_table, arrow_table, series, image, file, data, several, nothing,
]  # fmt: skip


def codec_of(function: Callable[..., Any]) -> ApiCodec:
    return compile_codec(
        inspect_signature(function, where="Test", skip_self=False, context_type=None)
    )


CODECS = {function.__name__: codec_of(function) for function in APIS}


def refused(codec: ApiCodec, body: bytes, content_type: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        codec.decode(WireRequest(body, content_type))
    assert 400 <= caught.value.http_status < 500
    response = codec.encode_error(caught.value, WireRequest())
    assert msgspec.json.decode(response.body)["error"]
    return caught.value


def survives(codec: ApiCodec, body: bytes, content_type: str) -> None:
    """Either it is read, or it is refused properly."""
    try:
        codec.decode(WireRequest(body, content_type))
    except RequestError as error:
        assert 400 <= error.http_status < 500
        codec.encode_error(error, WireRequest())


# -- JSON -------------------------------------------------------------------------------------

BAD_JSON = {
    "depth": b"[" * 1_000_000,
    "depth closed": b"[" * 100_000 + b"]" * 100_000,
    "depth of objects": b'{"x":' * 1_000_000,
    "digits": b'{"x":' + b"1" * 100_000 + b"}",
    "fraction digits": b'{"x":0.' + b"1" * 100_000 + b"e999}",
    "lone surrogate": b'{"x":"\\ud800"}',
    "byte order mark": b'\xef\xbb\xbf{"x":1}',
    "trailing bytes": b'{"x":1}{"x":2}',
    "trailing garbage": b'{"x":1}\0',
    "nan": b'{"x":NaN}',
    "infinity": b'{"x":-Infinity}',
    "huge exponent": b'{"x":1e400}',
    "not utf-8": b'{"x":"\xff"}',
    "key not utf-8": b'{"\xff":1}',
    "truncated": b'{"x":',
    "utf-16": '{"x":1}'.encode("utf-16"),
    "empty text": b" ",
    "control": b'{"x":"\n"}',
}


@pytest.mark.parametrize(
    "api", ["any_value", "number", "fraction", "text", "array", "pandas_table"]
)
@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_refused(api: str, case: str) -> None:
    refused(CODECS[api], BAD_JSON[case], JSON)


def test_a_million_keys_are_read_or_refused() -> None:
    body = b"{" + b",".join(b'"k%d":1' % i for i in range(1_000_000)) + b"}"
    assert len(refused(CODECS["number"], body, JSON).fields) <= 20
    survives(CODECS["any_value"], b'{"x":' + body + b"}", JSON)


def test_of_duplicate_keys_the_last_counts() -> None:
    assert CODECS["number"].decode(WireRequest(b'{"x":1,"x":2}')).kwargs == {"x": 2}


def test_nested_depth_inside_a_parameter_is_refused() -> None:
    for api in ("array", "tensor", "pandas_table", "polars_table", "series"):
        for depth in (70, 900):
            survives(CODECS[api], b'{"x":' + b"[" * depth + b"]" * depth + b"}", JSON)


# -- msgpack ----------------------------------------------------------------------------------

BAD_MSGPACK = {
    "depth": b"\x91" * 1_000_000,
    "array of 2**32-1": b"\x81\xa1x\xdd\xff\xff\xff\xff",
    "map of 2**32-1": b"\x81\xa1x\xdf\xff\xff\xff\xff",
    "text of 2**32-1": b"\x81\xa1x\xdb\xff\xff\xff\xff",
    "bytes of 2**32-1": b"\x81\xa1x\xc6\xff\xff\xff\xff",
    "extension of 2**32-1": b"\x81\xa1x\xc9\xff\xff\xff\xff\x05",
    "extension": b"\x81\xa1x\xd4\x05\x00",
    "reserved": b"\x81\xa1x\xc1",
    "trailing": b"\x81\xa1x\x01\x01",
    "list as key": b"\x81\x91\x01\x01",
    "map as key": b"\x81\x80\x01",
    "truncated": b"\x81",
    "no map": b"\x01",
}


@pytest.mark.parametrize("api", ["any_value", "number", "array", "pandas_table"])
@pytest.mark.parametrize("case", BAD_MSGPACK)
def test_bad_msgpack_is_refused_without_allocating(api: str, case: str) -> None:
    tracemalloc.start()
    try:
        refused(CODECS[api], BAD_MSGPACK[case], MSGPACK)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


# -- npy --------------------------------------------------------------------------------------


def npy(header: str, payload: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode()
    size = len(text) if length is None else length
    head = b"\x93NUMPY" + bytes([version, 0])
    return head + struct.pack("<H" if version == 1 else "<I", size) + text + payload


def header(descr: str = "'<f8'", shape: str = "(2,)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


BAD_NPY = {
    "negative": npy(header(shape="(-1,)"), b"\0" * 8),
    "overflow": npy(header(shape=f"({2**62}, {2**62})"), b"\0" * 8),
    "zero times overflow": npy(header(shape=f"(0, {2**62})")),
    "too many dimensions": npy(header(shape="(" + "1, " * 100 + ")"), b"\0" * 8),
    "too short": npy(header(), b"\0" * 8),
    "too long": npy(header(), b"\0" * 24),
    "giant header": npy("{" + " " * 10_000_000, version=3),
    "header beyond the body": npy(header(), b"\0" * 16, version=2, length=2**32 - 1),
    "objects": npy(header("'|O'"), b"\0" * 16),
    "objects with size": npy(header("'|O8'"), b"\0" * 16),
    "void": npy(header("'|V8'"), b"\0" * 16),
    "fields": npy(header("[('a', '<f8')]"), b"\0" * 16),
    "code": npy("{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (2,), }"),
    "huge item": npy(header("'<U999999999'"), b"\0" * 16),
    "empty items": npy(header("'<U0'", f"({10**17},)")),
    "unknown unit": npy(header("'<M8[zz]'"), b"\0" * 16),
    "unknown dtype": npy(header("'<f3'"), b"\0" * 16),
    "version 9": npy(header(), b"\0" * 16, version=9),
    "pickle": b"\x80\x04cos\nsystem\n.",
    "no magic": b"NUMPY",
    "magic only": b"\x93NUMPY",
    "empty": b"",
}  # fmt: skip


@pytest.mark.parametrize("api", ["array", "tensor"])
@pytest.mark.parametrize("case", BAD_NPY)
def test_bad_npy_is_refused(api: str, case: str) -> None:
    if case == "zero times overflow":
        survives(CODECS[api], BAD_NPY[case], NPY)
    else:
        refused(CODECS[api], BAD_NPY[case], NPY)


def test_fortran_order_is_read_as_numpy_reads_it() -> None:
    body = npy(header(shape="(2, 3)", fortran="True"), np.arange(6.0).tobytes())
    read = CODECS["array"].decode(WireRequest(body, NPY)).kwargs["x"]
    assert (read == np.load(io.BytesIO(body))).all()


# -- Arrow and Parquet ------------------------------------------------------------------------


def ipc(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def tables_refused() -> dict[str, pa.Table]:
    unknown = {b"ARROW:extension:name": b"evil.type", b"ARROW:extension:metadata": b"x"}
    nested = pa.struct([pa.field("s", pa.int64(), metadata=unknown)])
    return {
        "registered extension": pa.table(
            {"x": pa.array([b"0" * 16]).cast(pa.binary(16)).cast(pa.uuid())}
        ),
        "unknown extension": pa.table(
            [pa.array([1])], schema=pa.schema([pa.field("x", pa.int64(), metadata=unknown)])
        ),
        "nested extension": pa.table(
            [pa.array([{"s": 1}], nested)], schema=pa.schema([("x", nested)])
        ),
        "duplicate names": pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"]),
        "map": pa.table({"x": pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64()))}),
    }


@pytest.mark.parametrize("api", ["pandas_table", "polars_table", "arrow_table"])
@pytest.mark.parametrize("case", tables_refused())
def test_tables_of_unaccepted_types_are_refused(api: str, case: str) -> None:
    refused(CODECS[api], ipc(tables_refused()[case]), ARROW)
    if case != "duplicate names":
        refused(CODECS[api], parquet(tables_refused()[case]), PARQUET)


def test_types_that_say_much_in_few_bytes_are_refused() -> None:
    lengths = pa.RunEndEncodedArray.from_arrays(pa.array([10**9], pa.int32()), pa.array([1.0]))
    views = pa.array([[1]], pa.list_view(pa.int64()))
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    for column in (lengths, views, union):
        batch = pa.RecordBatch.from_arrays([column], ["x"])
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        refused(CODECS["pandas_table"], sink.getvalue(), ARROW)


@pytest.mark.parametrize("api", ["pandas_table", "polars_table", "arrow_table"])
def test_bombs_are_refused(api: str) -> None:
    zeros = pa.table({"x": np.zeros(4_000_000)})
    refused(CODECS[api], ipc(pa.table({"x": pa.nulls(10**8)})), ARROW)
    for compression in ("zstd", "lz4"):
        refused(CODECS[api], ipc(zeros, compression=compression), ARROW)
    refused(CODECS[api], parquet(zeros, compression="zstd"), PARQUET)
    dictionary = pa.table({"x": pa.array(["a" * 1000]).dictionary_encode()})
    survives(CODECS[api], ipc(dictionary, compression="zstd"), ARROW)


@pytest.mark.parametrize("api", ["pandas_table", "polars_table", "arrow_table"])
@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_every_flipped_byte_is_survived(api: str, media_type: str) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None], "c": pa.array(["u", "u"]).dictionary_encode()})
    body = ipc(table) if media_type == ARROW else parquet(table)
    for position in range(0, len(body), 1 if api == "arrow_table" else 7):
        for value in (0x00, 0x7F, 0xFF):
            changed = body[:position] + bytes([value]) + body[position + 1 :]
            survives(CODECS[api], changed, media_type)
    for length in range(0, len(body), 5):
        survives(CODECS[api], body[:length], media_type)


# -- multipart and forms ----------------------------------------------------------------------


def part(name: str = "x", content: bytes = b"1", extra: str = "") -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + content + b"\r\n"


FORM_TYPE = f"{MULTIPART}; boundary=B"
BAD_MULTIPART = {
    "parts": (part() * 100_000 + b"--B--\r\n", FORM_TYPE),
    "no boundary": (part() + b"--B--\r\n", MULTIPART),
    "empty boundary": (part() + b"--B--\r\n", f"{MULTIPART}; boundary="),
    "wrong boundary": (part() + b"--B--\r\n", f"{MULTIPART}; boundary=C"),
    "giant boundary": (b"-" * 100_000, f"{MULTIPART}; boundary={'-' * 100_000}"),
    "dashes": (b"-" * 1_000_000, f"{MULTIPART}; boundary=-"),
    "preamble": (b"\r\n" * 5_000_000 + part() + b"--B--\r\n", FORM_TYPE),
    "preamble of near boundaries": (b"--A\r\n" * 2_000_000 + part() + b"--B--\r\n", FORM_TYPE),
    "giant header": (part(extra='; filename="' + "a" * 10_000_000 + '"') + b"--B--\r\n", FORM_TYPE),
    "many headers": (
        b"--B\r\n" + b"A: b\r\n" * 100_000 + b"\r\n1\r\n--B--\r\n",
        FORM_TYPE,
    ),
    "no name": (b"--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n--B--\r\n", FORM_TYPE),
    "no headers": (b"--B\r\n\r\n1\r\n--B--\r\n", FORM_TYPE),
    "no end": (part(), FORM_TYPE),
    "truncated": (part()[:-3], FORM_TYPE),
    "boundary only": (b"--B", FORM_TYPE),
    "encoded": (
        b'--B\r\nContent-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding: base64\r\n'
        b"\r\nMQ==\r\n--B--\r\n",
        FORM_TYPE,
    ),
    "boundary not ascii": (part(), f"{MULTIPART}; boundary=\u0416"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("api", ["number", "file", "several"])
@pytest.mark.parametrize("case", BAD_MULTIPART)
def test_bad_multipart_is_refused_in_bounded_time(api: str, case: str) -> None:
    refused(CODECS[api], *BAD_MULTIPART[case])


@pytest.mark.timeout(20)
def test_a_long_epilogue_costs_nothing() -> None:
    survives(CODECS["number"], part() + b"--B--\r\n" + b"\r\n--B" * 2_000_000, FORM_TYPE)


def test_an_upload_stays_in_its_directory() -> None:
    for name in ("../../etc/passwd", "..\\..\\x", "/etc/passwd", "..", ".", "", "a\0b", "-rf"):
        body = part(content=b"data", extra=f'; filename="{name}"') + b"--B--\r\n"
        path = CODECS["file"].decode(WireRequest(body, FORM_TYPE)).kwargs["x"]
        assert path.read_bytes() == b"data"
        assert path.resolve().parent.name.startswith("dosirak-upload-")
        assert not path.name.startswith(("-", "."))


def test_forms_are_limited() -> None:
    refused(CODECS["number"], b"x=1&" * 100_000, FORM)
    refused(CODECS["number"], b"x=%ff", FORM)
    refused(CODECS["number"], b"x=" + b"[" * 1_000_000, FORM)


# -- images, text, headers --------------------------------------------------------------------


def test_an_image_that_claims_too_many_pixels_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    body = bytearray(buffer.getvalue())
    body[16:24] = struct.pack(">II", 60_000, 60_000)
    refused(CODECS["image"], bytes(body), "image/png")
    refused(CODECS["image"], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "image/png")


@given(st.text(max_size=60))
def test_any_header_is_survived(value: str) -> None:
    for api in ("number", "several", "data"):
        survives(CODECS[api], b'{"x":1}', value)
        survives(CODECS[api], b"x", f"text/plain; charset={value}")
        survives(CODECS[api], b"--B", f"multipart/form-data; boundary={value}")
    with contextlib.suppress(RequestError):
        CODECS["any_value"].encode(None, WireRequest(accept=value))


# -- random bytes -----------------------------------------------------------------------------

MEDIA_TYPES = [JSON, MSGPACK, NPY, ARROW, PARQUET, CSV, FORM_TYPE, FORM, "image/png", "text/plain"]
SEEDS = [
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
    ipc(pa.table({"a": [1], "b": ["x"]})),
    parquet(pa.table({"a": [1]})),
    part() + b"--B--\r\n",
    b'{"x":[{"a":1,"b":"x"},[1,2,null,"",1e5]]}',
    msgspec.msgpack.encode({"x": {"dtype": "<f8", "shape": [1], "data": b"\0" * 8}}),
    b"a,b\n1,x\n",
    b"\x89PNG\r\n\x1a\n",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        position = draw(st.integers(0, len(body)))
        body[position : position + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(body)


@pytest.mark.parametrize("api", CODECS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=200) | mutated(), content_type=st.sampled_from(MEDIA_TYPES))
def test_random_bytes_are_read_or_refused(api: str, body: bytes, content_type: str) -> None:
    survives(CODECS[api], body, content_type)


def test_nothing_here_can_unpickle() -> None:
    import dosirak.payload

    folder = Path(dosirak.payload.__file__).parent
    for path in folder.glob("*.py"):
        source = path.read_text()
        for word in ("import pickle", "pickle.load", "np.load(", "torch.load", "eval(", "exec("):
            assert word not in source, (path.name, word)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 4), dtype=np.longdouble),
        np.zeros(2, dtype=np.clongdouble),
        np.frombuffer(b"\xff\xff\xff\xff", dtype="<U1"),
        np.array(["\udc80"]),
        np.array([5], dtype="u1").view(bool),
    ],
    ids=["long double", "complex long double", "no character", "surrogate", "half true"],
)
def test_elements_that_are_no_value_are_refused(array: np.ndarray) -> None:
    written = io.BytesIO()
    np.save(written, array)
    packed = {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}
    assert refused(CODECS["array"], written.getvalue(), NPY).fields
    assert refused(CODECS["array"], msgspec.msgpack.encode({"x": packed}), MSGPACK).fields


def test_a_shape_larger_than_an_array_can_be_is_refused_by_name() -> None:
    sizes = [2**32, 2**32, 0]
    body = npy(header(shape="(4294967296, 4294967296, 0)"))
    assert refused(CODECS["array"], body, NPY).fields[0].field == "x"
    packed = {"dtype": "<f8", "shape": sizes, "data": b""}
    body = msgspec.msgpack.encode({"x": packed})
    assert refused(CODECS["array"], body, MSGPACK).fields[0].field == "x.shape"


TIMES = {
    "days": pa.array([2**31 - 1], pa.date32()),
    "milliseconds of days": pa.array([2**59 // 86_400_000 * 86_400_000], pa.date64()),
    "seconds": pa.array([2**62], pa.timestamp("s")),
    "before the year 1": pa.array([-(2**61)], pa.timestamp("us")),
    "duration": pa.array([2**62], pa.duration("s")),
    "zone": pa.array([0], pa.timestamp("ns", "America/Nowhere")),
    "zone with a path": pa.array([0], pa.timestamp("ns", "../../etc/passwd")),
    "zone at the edge": pa.array([253_402_300_799], pa.timestamp("s", "Asia/Seoul")),
    "in a list": pa.array([[2**31 - 1]], pa.list_(pa.date32())),
    "in a struct": pa.array([{"t": 2**62}], pa.struct({"t": pa.timestamp("s")})),
    "in a dictionary": pa.array([2**31 - 1], pa.date32()).dictionary_encode(),
    "an interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
}


@pytest.mark.parametrize("api", ["pandas_table", "polars_table", "arrow_table"])
@pytest.mark.parametrize("case", TIMES)
def test_times_that_python_cannot_hold_are_refused_by_column(api: str, case: str) -> None:
    assert refused(CODECS[api], ipc(pa.table({"t": TIMES[case]})), ARROW).fields[0].field == "x.t"


@pytest.mark.parametrize("api", ["pandas_table", "polars_table", "arrow_table"])
def test_times_from_year_1_to_9999_are_read(api: str) -> None:
    table = pa.table(
        {
            "day": pa.array([-719_162, 2_932_896, None], pa.date32()),
            "moment": pa.array([-62_135_596_800, 253_402_300_799, None], pa.timestamp("s")),
            "zoned": pa.array([0, 1, None], pa.timestamp("us", "Asia/Seoul")),
            "offset": pa.array([0, 1, None], pa.timestamp("us", "+09:00")),
            "lists": pa.array([[0], [], None], pa.list_(pa.date32())),
        }
    )
    (read,) = CODECS[api].decode(WireRequest(ipc(table), ARROW)).kwargs.values()
    assert read.shape == (3, 5)


def test_a_table_with_very_many_columns_is_refused_before_a_library_makes_it() -> None:
    names = [f"c{index}" for index in range(10_001)]
    header_line = ",".join(names).encode()
    wide = msgspec.json.encode({"x": {name: [1] for name in names}})
    for api in ("pandas_table", "polars_table", "arrow_table"):
        for body, media_type in (
            (header_line + b"\n" + b"1," * 10_000 + b"1\n", CSV),
            (b'"a\n",' + header_line, CSV),
            (b"a\n" + b"1," * 10_000 + b"1\n", CSV),
            (wide, JSON),
        ):
            assert "10000 columns" in refused(CODECS[api], body, media_type).fields[0].reason


def test_csv_lines_that_a_library_would_reinterpret_are_refused() -> None:
    for api in ("pandas_table", "polars_table", "arrow_table"):
        for body in (b"a,b\n1,2,3\n", b"a,a\n1,2\n", b"\n\na,b\n1,2,3\n"):
            assert refused(CODECS[api], body, CSV).fields


def complex_numbers() -> np.ndarray:
    return np.array([1 + 2j])


def test_a_result_that_json_cannot_hold_is_not_acceptable_and_npy_is() -> None:
    codec = codec_of(complex_numbers)
    with pytest.raises(NotAcceptable) as raised:
        codec.encode(complex_numbers(), WireRequest(b"", accept=JSON))
    assert raised.value.fields[0].field == "Accept"
    assert codec.encode(complex_numbers(), WireRequest(b"", accept=NPY)).status == 200
