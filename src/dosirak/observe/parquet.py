"""Records as Parquet files in a directory: the one file here that knows pyarrow.

A Parquet file can be read once it is closed. Until then its name begins with a dot; what a killed
process leaves behind under such a name is lost, which JSON lines are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dosirak.observe.json_lines import FileNames, open_private

# Rows are kept until there are this many bytes of them: small row groups read slowly.
_GROUP_BYTES = 1024 * 1024


class ParquetFiles:
    """Writes records to files of a bounded size; inputs and outputs are columns of JSON text."""

    def __init__(self, directory: Path, service: str, max_file_bytes: int) -> None:
        self._names = FileNames(directory, service, "parquet")
        self._max_file_bytes = max_file_bytes
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._path = Path()
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def write(self, records: Sequence[msgspec.Struct]) -> None:
        """Write records; a full file is closed and another begun."""
        for record in records:
            row = _row(record)
            self._rows.append(row)
            self._row_bytes += sum(len(cell) for cell in row.values() if isinstance(cell, str))
            if self._row_bytes >= min(_GROUP_BYTES, self._max_file_bytes // 2):
                self._write_group()
                if self._file is not None and self._file.tell() >= self._max_file_bytes // 2:
                    self._end_file()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._rows:
            self._write_group()
        self._end_file()

    def _write_group(self) -> None:
        import pyarrow
        from pyarrow import parquet

        rows, self._rows, self._row_bytes = self._rows, [], 0
        table = pyarrow.Table.from_pylist(rows, schema=_schema())
        if self._writer is None:
            self._path = self._names.next()
            self._file = open_private(self._path.with_name(f".{self._path.name}.part"))
            self._writer = parquet.ParquetWriter(self._file, _schema(), compression="zstd")
        self._writer.write_table(table)

    def _end_file(self) -> None:
        writer, self._writer = self._writer, None
        file, self._file = self._file, None
        if writer is None or file is None:
            return
        writer.close()
        file.close()
        self._path.with_name(f".{self._path.name}.part").rename(self._path)


def _row(record: msgspec.Struct) -> dict[str, Any]:
    row = msgspec.structs.asdict(record)
    row["time"] = datetime.fromisoformat(row["time"])
    row["input"], row["output"] = bytes(row["input"]).decode(), bytes(row["output"]).decode()
    return row


def _schema() -> Any:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            ("time", pa.timestamp("ms", tz="UTC")),
            ("service", text),
            ("api", text),
            ("request_id", text),
            ("trace_id", text),
            ("status", pa.int16()),
            ("latency_ms", pa.float64()),
            ("input", text),
            ("input_type", text),
            ("input_bytes", pa.int64()),
            ("output", text),
            ("output_type", text),
            ("output_bytes", pa.int64()),
        ]
    )
