"""Arrow IPC streams and Parquet files as bodies, checked before they become anybody's table.

Both formats can say much in few bytes: columns without buffers, run lengths, shared child ranges,
compression. So only plain column types are read, extension types are refused whatever is registered
for them, compressed IPC is refused, and the rows declared must be in proportion to the bytes sent.
What remains goes through Arrow's own full validation.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from dosirak.payload.arrow_times import check_times, check_zone
from dosirak.payload.columns import MAX_COLUMNS
from dosirak.payload.ipc import refuse_compressed
from dosirak.payload.problems import Problem

# Cells that even a small body may declare, and how many more for each byte of it.
_FREE_CELLS = 1_000_000
_CELLS_PER_BYTE = 100
_FREE_BYTES = 16 * 1024 * 1024
_BYTES_PER_BYTE = 200
_MAX_DEPTH = 16


def available() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def load_arrow(body: memoryview) -> Any:
    """Return the table of an Arrow IPC stream; its columns are views of the body.

    Raises:
        Problem: the bytes are not such a stream, or hold what is not accepted.
    """
    import pyarrow as pa

    refuse_compressed(body)
    with _reading("an Arrow stream"):
        reader = pa.ipc.open_stream(pa.py_buffer(body))
        _check_schema(reader.schema)
        batches = []
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            _check_size(rows, len(reader.schema), len(body))
            batches.append(batch)
        table = pa.Table.from_batches(batches, reader.schema)
        table.validate(full=True)
        check_times(table)
    return _without_metadata(table)


def dump_arrow(table: Any) -> bytes:
    """Return the table as an uncompressed Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def load_parquet(body: memoryview) -> Any:
    """Return the table of a Parquet file.

    Raises:
        Problem: the bytes are not such a file, or hold what is not accepted.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reading("a Parquet file"):
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(body)), pre_buffer=False)
        metadata = file.metadata
        _check_size(metadata.num_rows, metadata.num_columns, len(body))
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        if any(s < 0 for s in sizes) or sum(sizes) > _FREE_BYTES + _BYTES_PER_BYTE * len(body):
            raise Problem("the Parquet file unpacks to far more than was sent")
        _check_schema(file.schema_arrow)
        table = file.read(use_threads=False)
        table.validate(full=True)
        check_times(table)
    return _without_metadata(table)


def dump_parquet(table: Any) -> bytes:
    """Return the table as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _without_metadata(table: Any) -> Any:
    """Free-form bytes that libraries act upon (pandas) or choke on (polars) stay outside."""
    import pyarrow as pa

    return pa.Table.from_arrays(table.columns, names=table.column_names)


@contextmanager
def _reading(words: str) -> Generator[None]:
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        # Arrow raises many kinds of exception for bytes that are not its own (ArrowInvalid,
        # OSError, MemoryError, …); each means that the body is not what it claims to be.
        raise Problem(f"the body is not {words} that can be read") from error


def _check_size(rows: int, columns: int, size_bytes: int) -> None:
    if columns > MAX_COLUMNS:
        raise Problem(f"the table has more than {MAX_COLUMNS} columns")
    if rows < 0 or rows * max(columns, 1) > _FREE_CELLS + _CELLS_PER_BYTE * size_bytes:
        raise Problem("the table declares far more rows than were sent")


def _check_schema(schema: Any) -> None:
    names = schema.names
    if len(set(names)) != len(names):
        raise Problem("two columns of the table have the same name")
    for field in schema:
        _check_field(field, 0)


def _check_field(field: Any, depth: int) -> None:
    import pyarrow as pa

    kind, types = field.type, pa.types
    metadata = field.metadata or {}
    if isinstance(kind, pa.BaseExtensionType) or b"ARROW:extension:name" in metadata:
        raise Problem("extension types are not accepted", field=field.name)
    if depth > _MAX_DEPTH:
        raise Problem("is nested too deeply", field=field.name)
    if types.is_dictionary(kind):
        _check_field(pa.field(field.name, kind.value_type), depth + 1)
        return
    check_zone(field)
    if _is_plain(kind, types) and not (depth and types.is_null(kind)):
        return
    if types.is_list(kind) or types.is_large_list(kind) or types.is_struct(kind):
        for i in range(kind.num_fields):
            _check_field(kind.field(i), depth + 1)
        return
    raise Problem(f"columns of type {kind} are not accepted", field=field.name)


def _is_plain(kind: Any, types: Any) -> bool:
    checks = (
        types.is_boolean, types.is_integer, types.is_floating, types.is_decimal, types.is_string,
        types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary,
        types.is_binary_view, types.is_fixed_size_binary, types.is_date, types.is_time,
        types.is_timestamp, types.is_duration, types.is_null,
    )  # fmt: skip
    return any(check(kind) for check in checks)
