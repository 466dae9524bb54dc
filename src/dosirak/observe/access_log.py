"""One line per request, written by a thread of its own so that no request waits for a disk.

When the reader of the log is slower than the requests, lines are dropped and their number is said:
logging never stops serving. A text line is for a person at a terminal, JSON for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Thread
from time import localtime, sleep, strftime, time
from typing import Literal, TextIO, TypeAlias

import msgspec

_encoder = msgspec.json.Encoder()

LogStyle = Literal["auto", "text", "json", "off"]

_MOST_WAITING = 10_000
_MOST_JOINED = 500
_REST_S = 0.01
Said: TypeAlias = "AccessRecord | AccessRecords | DroppedLines"
_Waiting: TypeAlias = tuple[Said, int, float]


class AccessRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of one request: never its body, query, or credentials.

    Attributes:
        error: the code of the error that ended a stream whose status had been sent by then.
        trace_id: of the trace that the request belongs to, where there is one.
    """

    method: str
    path: str
    status: int
    duration_ms: float
    request_id: str
    api: str
    client: str
    request_bytes: int
    response_bytes: int
    error: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class AccessRecords:
    """What is said of several requests for one api that were answered together.

    Attributes:
        entries: status, duration in seconds, request id, client, bytes in and out, and the trace
            id, of each.
    """

    method: str
    path: str
    api: str
    entries: Sequence[tuple[int, float, str, str, int, int, str]]

    def __iter__(self) -> Iterator[AccessRecord]:
        for status, duration_s, request_id, client, received, sent, trace_id in self.entries:
            yield AccessRecord(
                self.method,
                self.path,
                status,
                round(duration_s * 1000, 3),
                request_id,
                self.api,
                client,
                received,
                sent,
                trace_id=trace_id,
            )


Render: TypeAlias = Callable[[Said, float], Iterable[str]]


class DroppedLines(msgspec.Struct, frozen=True):
    """So many lines were dropped, because the log is read too slowly."""

    dropped_lines: int


class AccessLog:
    """Writes records to a text stream from a thread; `close` writes what is left."""

    def __init__(self, render: Render, output: TextIO) -> None:
        self._render = render
        self._output = output
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._added = 0
        self._taken = 0
        self._dropped = 0
        self._thread = Thread(target=self._write_all, name="access-log", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def write(self, record: AccessRecord) -> None:
        """Queue a record; it is dropped when too many are waiting."""
        self._add(record, 1)

    def write_all(self, records: AccessRecords) -> None:
        """Queue several records at once."""
        self._add(records, len(records.entries))

    def close(self) -> None:
        """Write what is waiting and end the thread."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout=2.0)

    def _add(self, records: Said, count: int) -> None:
        # Two counters with one writer each: exact enough, and no lock.
        if self._added - self._taken > _MOST_WAITING:
            self._dropped += count
            return
        self._added += count
        self._waiting.put((records, count, time()))

    def _write_all(self) -> None:
        ended = False
        while not ended:
            lines, ended = self._next_lines()
            if self._dropped:
                lines += self._render(DroppedLines(self._dropped), time())
                self._dropped = 0
            self._write_lines(lines)
            if not ended:
                # A thread that wakes for every line takes the interpreter from the requests.
                sleep(_REST_S)

    def _next_lines(self) -> tuple[list[str], bool]:
        """Wait for records; return the lines for all that are there, and whether it is the end."""
        lines: list[str] = []
        waiting = self._waiting.get()
        while waiting is not None:
            records, count, at_s = waiting
            lines += self._render(records, at_s)
            self._taken += count
            if len(lines) >= _MOST_JOINED:
                return lines, False
            try:
                waiting = self._waiting.get_nowait()
            except Empty:
                return lines, False
        return lines, True

    def _write_lines(self, lines: list[str]) -> None:
        try:
            self._output.write("".join(f"{line}\n" for line in lines))
            self._output.flush()
        except (OSError, ValueError):
            # A full disk or a closed pipe; serving goes on.
            self._dropped += len(lines)


def open_access_log(style: LogStyle, output: TextIO) -> AccessLog | None:
    """Return a log in this style; `auto` is text on a terminal and JSON elsewhere."""
    if style == "off":
        return None
    if style == "auto":
        style = "text" if output.isatty() else "json"
    return AccessLog(_render_text if style == "text" else _render_json, output)


def _render_json(records: Said, at_s: float) -> Iterable[str]:
    """Write each record as one JSON object."""
    if isinstance(records, AccessRecords):
        return _json_lines(records, at_s)
    event = "dropped" if isinstance(records, DroppedLines) else "request"
    return [_json_start(at_s, event) + _encoder.encode(records)[1:].decode()]


def _json_lines(records: AccessRecords, at_s: float) -> Iterator[str]:
    """Write what the encoder would, with what all lines have in common written once."""
    start = f'{_json_start(at_s)}"method":{_quoted(records.method)},"path":{_quoted(records.path)},'
    api = _quoted(records.api)
    for status, duration_s, request_id, client, received, sent, trace_id in records.entries:
        whole_ms, us = divmod(int(duration_s * 1_000_000), 1000)
        trace = f',"trace_id":"{trace_id}"' if trace_id else ""
        # A request id is plain characters (see `request_ids`).
        yield (
            f'{start}"status":{status},"duration_ms":{whole_ms}.{us:03d},"request_id":"{request_id}"'
            f',"api":{api},"client":{_quoted(client)},"request_bytes":{received}'
            f',"response_bytes":{sent}{trace}}}'
        )


def _json_start(at_s: float, event: str = "request") -> str:
    return f'{{"time":"{_timestamp(round(at_s, 3))}","event":"{event}",'


@lru_cache(256)
def _quoted(text: str) -> str:
    return _encoder.encode(text).decode()


def _render_text(records: Said, at_s: float) -> Iterable[str]:
    """Write each record for a person."""
    if isinstance(records, DroppedLines):
        return [f"{records.dropped_lines} lines were dropped: the log is read too slowly."]
    each = records if isinstance(records, AccessRecords) else [records]
    return [_text_line(record, at_s) for record in each]


def _text_line(record: AccessRecord, at_s: float) -> str:
    path = record.path.encode("unicode_escape").decode("ascii")
    error = f"  error={record.error}" if record.error else ""
    trace = f"  trace={record.trace_id}" if record.trace_id else ""
    return (
        f"{strftime('%H:%M:%S', localtime(at_s))}  {record.status}  {record.method} {path}"
        f"  {record.duration_ms:.1f} ms  {record.request_id}{trace}{error}"
    )


@lru_cache(64)
def _timestamp(at_s: float) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
