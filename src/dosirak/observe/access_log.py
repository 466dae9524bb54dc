"""One line per request, written by a thread of its own so that no request waits for a disk.

When the reader of the log is slower than the requests, lines are dropped and their number is said:
logging never stops serving. A text line is for a person at a terminal, JSON for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from threading import Thread
from time import localtime, strftime, time
from typing import Literal, TextIO

import msgspec

LogStyle = Literal["auto", "text", "json", "off"]

_MOST_WAITING = 10_000
_MOST_JOINED = 500


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """What is said of one request: never its body, query, or credentials."""

    method: str
    path: str
    status: int
    duration_ms: float
    request_id: str
    api: str
    client: str
    request_bytes: int
    response_bytes: int


class AccessLog:
    """Writes records to a text stream from a thread; `close` writes what is left."""

    def __init__(self, render: Callable[[AccessRecord, float], str], output: TextIO) -> None:
        self._render = render
        self._output = output
        self._waiting: Queue[tuple[AccessRecord, float] | None] = Queue(_MOST_WAITING)
        self._dropped = 0
        self._thread = Thread(target=self._write_all, name="access-log", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def write(self, record: AccessRecord) -> None:
        """Queue a record; it is dropped when too many are waiting."""
        try:
            self._waiting.put_nowait((record, time()))
        except Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is waiting and end the thread."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout=2.0)

    def _write_all(self) -> None:
        while True:
            records = self._next_records()
            lines = [self._render(*record) for record in records if record is not None]
            if self._dropped:
                lines.append(f"# {self._dropped} lines were dropped: the log is read too slowly.")
                self._dropped = 0
            self._write_lines(lines)
            if None in records:
                return

    def _next_records(self) -> list[tuple[AccessRecord, float] | None]:
        records = [self._waiting.get()]
        try:
            while len(records) < _MOST_JOINED:
                records.append(self._waiting.get_nowait())
        except Empty:
            pass
        return records

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
    return AccessLog(render_text if style == "text" else render_json, output)


def render_json(record: AccessRecord, at_s: float) -> str:
    """Write a record as one JSON object."""
    values = {"time": _timestamp(at_s), "event": "request", **asdict(record)}
    return msgspec.json.encode(values).decode()


def render_text(record: AccessRecord, at_s: float) -> str:
    """Write a record for a person."""
    path = record.path.encode("unicode_escape").decode("ascii")
    return (
        f"{strftime('%H:%M:%S', localtime(at_s))}  {record.status}  {record.method} {path}"
        f"  {record.duration_ms:.1f} ms  {record.request_id}"
    )


def _timestamp(at_s: float) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
