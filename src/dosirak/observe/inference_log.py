"""The inference log: a sample of what was asked and answered, written beside the requests.

    worker ─take─▶ bounded queue ─▶ thread: read, redact ─▶ JSON lines or Parquet, rotated by size

Off unless asked for: it keeps what callers sent. A request hands over its bodies as they are; to
read them, leave out what is to be left out, and write is the thread's. When it cannot keep up,
entries are dropped and counted.
"""

from __future__ import annotations

import logging
import random
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import sleep, time
from typing import Any, Literal, Protocol, TypeAlias, cast

import msgspec

from dosirak.errors import InvalidConfiguration, MissingDependency
from dosirak.observe.json_lines import JsonLines
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.parquet import ParquetFiles

InferenceLogFormat: TypeAlias = Literal["jsonl", "parquet"]
REDACTED = "[redacted]"

_MOST_WAITING = 10_000
_MOST_WAITING_BYTES = 64 * 1024 * 1024
# A larger body is said by its size only.
_MOST_BODY_BYTES = 1024 * 1024
_MOST_JOINED = 500
_REST_S = 0.05
_LEAST_FILE_BYTES = 4096
_JSON = frozenset({"", "application/json", "text/json"})
_MSGPACK = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
_log = logging.getLogger(f"{ROOT_LOGGER}.inference_log")
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="string")


class InferenceLogPlan(msgspec.Struct, frozen=True):
    """What is kept of requests, and where.

    Attributes:
        directory: where the files go; made when it is not there.
        rate: the share of requests that is kept, above 0 and up to 1.
        redact: fields whose values are left out, at any depth of inputs and outputs.
        format: `jsonl`, or `parquet`, which needs pyarrow.
        max_file_bytes: a file that has grown to this is closed, and the next one begun.
    """

    directory: str
    rate: float = 1.0
    redact: tuple[str, ...] = ()
    format: InferenceLogFormat = "jsonl"
    max_file_bytes: int = 64 * 1024 * 1024

    def check(self) -> None:
        """Make the directory; find out now what would fail later.

        Raises:
            InvalidConfiguration: a value is out of range, or nothing can be written there (the
                caller's fault).
            MissingDependency: Parquet is asked for and pyarrow is not installed.
        """
        if not 0.0 < self.rate <= 1.0:
            raise InvalidConfiguration(
                f"The inference log cannot keep a share of {self.rate:g}.",
                remedy="Use a rate above 0 and up to 1.",
            )
        if self.max_file_bytes < _LEAST_FILE_BYTES:
            raise InvalidConfiguration(
                "The files of the inference log would be too small.",
                remedy=f"Use {_LEAST_FILE_BYTES} bytes or more.",
            )
        if self.format == "parquet" and find_spec("pyarrow") is None:
            raise MissingDependency(
                "An inference log in Parquet needs pyarrow.",
                remedy="Install it with: pip install 'dosirak[pyarrow]', or use jsonl.",
            )
        try:
            directory = Path(self.directory)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = directory / ".probe"
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise InvalidConfiguration(
                f"The inference log cannot be written to {self.directory!r}: {error.strerror}.",
                remedy="Name a directory that the server may write to.",
            ) from error


@dataclass(frozen=True, slots=True)
class Inference:
    """One request and its answer as they travelled.

    Attributes:
        latency_s: in the worker, from the arrival of its message to the answer.
        answer: None for a stream.
    """

    api: str
    request_id: str
    trace_id: str
    status: int
    latency_s: float
    request_type: str
    request: bytes
    answer_type: str
    answer: bytes | None


class InferenceRecord(msgspec.Struct, frozen=True):
    """One line of the log; the columns of Parquet have the same names."""

    time: str
    service: str
    api: str
    request_id: str
    trace_id: str
    status: int
    latency_ms: float
    input: msgspec.Raw
    input_type: str
    input_bytes: int
    output: msgspec.Raw
    output_type: str
    output_bytes: int


class InferenceFiles(Protocol):
    """Where records go."""

    def write(self, records: Sequence[InferenceRecord]) -> None:
        """Write records; a full file is closed and another begun."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class InferenceLog:
    """Keeps a sample of requests; `take` is called on the loop, writing is a thread's.

    Args:
        plan: what is kept, and where.
        service: the name of the service.
        on_counted: told by the thread how many entries were written, and how many dropped.
    """

    def __init__(
        self, plan: InferenceLogPlan, service: str, on_counted: Callable[[int, int], None]
    ) -> None:
        self._plan = plan
        self._service = service
        self._on_counted = on_counted
        self._redact = frozenset(plan.redact)
        self._files: InferenceFiles | None = None
        self._waiting: SimpleQueue[tuple[Inference, float] | None] = SimpleQueue()
        self._draw = random.Random().random  # noqa: S311 - which are kept is no secret
        # Two counters with one writer each: exact enough, and no lock.
        self._added = self._taken = 0
        self._added_bytes = self._taken_bytes = 0
        self._dropped = self._dropped_told = 0
        self._complained = False
        self._thread = Thread(target=self._write_all, name="inference-log", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def wants(self) -> bool:
        """Whether the next request is one of the sample."""
        return self._draw() < self._plan.rate

    def take(self, inference: Inference) -> None:
        """Queue one request; it is dropped when too many are waiting, or too large ones."""
        size = _size_of(inference)
        full = self._added - self._taken >= _MOST_WAITING
        if full or self._added_bytes - self._taken_bytes + size > _MOST_WAITING_BYTES:
            self._dropped += 1
            return
        self._added += 1
        self._added_bytes += size
        self._waiting.put((inference, time()))

    def close(self) -> None:
        """Write what is waiting, for a moment at most, and close the file."""
        self._waiting.put(None)
        self._thread.join(timeout=5.0)

    def _write_all(self) -> None:
        ended = False
        while not ended:
            entries, ended = self._next()
            failed = self._write(entries)
            dropped = self._dropped + failed - self._dropped_told
            self._dropped_told = self._dropped
            self._on_counted(len(entries) - failed, dropped)
            if not ended:
                # A thread that wakes for every entry takes the interpreter from the requests.
                sleep(_REST_S)
        if self._files is not None:
            self._close(self._files)

    def _next(self) -> tuple[list[tuple[Inference, float]], bool]:
        entries: list[tuple[Inference, float]] = []
        entry = self._waiting.get()
        while entry is not None:
            entries.append(entry)
            self._taken += 1
            self._taken_bytes += _size_of(entry[0])
            if len(entries) >= _MOST_JOINED:
                return entries, False
            try:
                entry = self._waiting.get_nowait()
            except Empty:
                return entries, False
        return entries, True

    def _write(self, entries: Sequence[tuple[Inference, float]]) -> int:
        """Write entries; return how many were lost."""
        if not entries:
            return 0
        try:
            records = [self._record(inference, at_s) for inference, at_s in entries]
            if self._files is None:
                self._files = self._open()
            self._files.write(records)
        except Exception as error:
            # A full disk must not end the log: there may be room again.
            if not self._complained:
                self._complained = True
                _log.error("The inference log cannot be written: %s.", error)
            return len(entries)
        return 0

    def _close(self, files: InferenceFiles) -> None:
        try:
            files.close()
        except Exception as error:
            _log.error("The inference log cannot be closed: %s.", error)

    def _open(self) -> InferenceFiles:
        kind = ParquetFiles if self._plan.format == "parquet" else JsonLines
        return kind(Path(self._plan.directory), self._service, self._plan.max_file_bytes)

    def _record(self, inference: Inference, at_s: float) -> InferenceRecord:
        moment = datetime.fromtimestamp(at_s, UTC)
        answer = inference.answer
        return InferenceRecord(
            time=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            service=self._service,
            api=inference.api,
            request_id=inference.request_id,
            trace_id=inference.trace_id,
            status=inference.status,
            latency_ms=round(inference.latency_s * 1000, 3),
            input=readable(inference.request, inference.request_type, self._redact),
            input_type=inference.request_type,
            input_bytes=len(inference.request),
            output=readable(answer or b"", inference.answer_type, self._redact),
            output_type=inference.answer_type,
            output_bytes=len(answer or b""),
        )


def readable(body: bytes, content_type: str, redact: frozenset[str]) -> msgspec.Raw:
    """Return a body as JSON without the values of these fields; `null` when it has no such form.

    Only what was read as JSON or msgpack is shown: of anything else it could not be said where the
    fields are.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if not body or len(body) > _MOST_BODY_BYTES:
        return msgspec.Raw(b"null")
    try:
        if media_type in _JSON:
            value = msgspec.json.decode(body)
        elif media_type in _MSGPACK:
            value = _with_text_keys(msgspec.msgpack.decode(body))
        else:
            return msgspec.Raw(b"null")
        return msgspec.Raw(_encoder.encode(without(value, redact) if redact else value))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return msgspec.Raw(b"null")


def without(value: Any, fields: frozenset[str]) -> Any:
    """Return a JSON value with the values of these fields replaced, at any depth.

    A table sent as columns and rows (`{"columns": […], "data": [[…]]}`) has its fields in another
    place: there the cells are replaced.
    """
    if isinstance(value, list):
        return [without(item, fields) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    known = {
        name: REDACTED if name in fields else without(item, fields)
        for name, item in cast("dict[str, Any]", value).items()
    }
    names, rows = known.get("columns"), known.get("data")
    if isinstance(names, list) and isinstance(rows, list):
        # A caller's own bytes: what stands among the names may be anything, lists too.
        hidden = {
            at
            for at, name in enumerate(cast("list[Any]", names))
            if isinstance(name, str) and name in fields
        }
        known["data"] = [_without_cells(row, hidden) for row in cast("list[Any]", rows)]
    return known


def _without_cells(row: Any, hidden: set[int]) -> Any:
    if not isinstance(row, list):
        return row
    cells = cast("list[Any]", row)
    return [REDACTED if at in hidden else cell for at, cell in enumerate(cells)]


def _with_text_keys(value: Any) -> Any:
    """Make what msgpack may hold fit for JSON: keys of any kind, and bytes."""
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {str(key): _with_text_keys(item) for key, item in pairs}
    if isinstance(value, list | tuple):
        return [_with_text_keys(item) for item in cast("list[Any]", value)]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value


def _size_of(inference: Inference) -> int:
    return len(inference.request) + len(inference.answer or b"")
