"""Who changed what, who was refused, and when: a log in which no line can be changed unseen.

Lines hang together by hashes (`audit_lines`), and the last one's is also in the database. An entry
about a change is committed with the change (`note`), and goes to the file afterwards (`flush`),
forced to the disk; who is killed between the two has it written at the next start, once. What was
tampered with, `audit_check` finds; nothing here mends it.

A line that a crash has torn stays as it is, and the next entry says that it is there.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from sqlalchemy import select

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import tables
from dosirak.deployment.state.audit_lines import (
    TORN,
    AuditEntry,
    AuditLine,
    PendingEntry,
    ahead_entry,
    line_of,
    new_chain,
    omitted_entry,
    parsed_line,
    pending,
    torn_entry,
)
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.refusals import RefusalBudget
from dosirak.deployment.state.rows import checked, decoded
from dosirak.deployment.state.transactions import Reading, Transaction
from dosirak.store.durability import make_directories, sync_directory, write_all
from dosirak.store.failures import translated

_HEAD = "audit_head:"
_WINDOW_BYTES = 1 << 16


class Head(msgspec.Struct, frozen=True):
    """What the database knows of a log: its last line."""

    seq: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _End:
    """Where a log ends.

    Attributes:
        seq: of the last line that hangs in the chain.
        sha256: of that line.
        newer: lines that the database knows nothing of yet.
        torn: what follows the last line that the database knows and is no line.
        open_ended: whether the last byte of the file ends no line.
    """

    chain: str
    seq: int
    sha256: str
    newer: tuple[AuditLine, ...] = ()
    torn: tuple[bytes, ...] = ()
    open_ended: bool = False


class AuditLog:
    """The log of one platform; any thread may write to it.

    Args:
        paths: where its file is.
        state: where its head is, and what is not in the file yet.
    """

    def __init__(self, paths: PlatformPaths, state: PlatformState) -> None:
        self._paths = paths
        self._state = state
        self._refusals = RefusalBudget()

    def note(self, transaction: Transaction, entry: AuditEntry) -> None:
        """Commit an entry along with the change that it is about; `flush` follows."""
        values = {"entry": msgspec.json.encode(pending(entry)).decode()}
        transaction.add(tables.audit_pending, values)

    def append(self, entry: AuditEntry) -> None:
        """Write an entry now, with no change to go with.

        Raises:
            StorageError: the disk is full or refuses.
        """
        with self._state.transaction() as transaction:
            self.note(transaction, entry)
            self._flush(transaction)

    def append_refused(self, entry: AuditEntry) -> None:
        """Write an entry about a refused attempt; of a flood of them, some and how many more.

        Raises:
            StorageError: the disk is full or refuses.
        """
        omitted = self._refusals.take(time.monotonic())
        if omitted is None:
            return
        with self._state.transaction() as transaction:
            if omitted:
                self.note(transaction, omitted_entry(omitted, entry.at))
            self.note(transaction, entry)
            self._flush(transaction)

    def flush(self) -> int:
        """Write what was noted to the file, and return how many entries that were.

        Called after each transaction with a note, and once at the start.

        Raises:
            StorageError: the disk is full or refuses; the entries wait in the database.
        """
        with self._state.transaction() as transaction:
            return self._flush(transaction)

    def _flush(self, transaction: Transaction) -> int:
        waiting = pending_entries(transaction)
        if not waiting:
            return 0
        with translated("Writing the audit log", self._paths.audit_log), self._opened() as file:
            end = _end_of(file, heads(transaction))
            lines = _lines(end, list(waiting.values()), transaction.now)
            write_all(file, (b"\n" if end.open_ended else b"") + _text(lines))
            os.fsync(file.fileno())
        last = lines[-1] if lines else end
        head = Head(last.seq, last.sha256)
        transaction.put_fact(f"{_HEAD}{end.chain}", msgspec.json.encode(head).decode())
        written = tables.audit_pending.c.id.in_(list(waiting))
        transaction.write(tables.audit_pending.delete().where(written))
        return len(waiting)

    @contextmanager
    def _opened(self) -> Generator[BinaryIO, None, None]:
        path = self._paths.audit_log
        make_directories(path.parent)
        is_new = not path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            yield file
        if is_new:
            sync_directory(path.parent)


def heads(reading: Reading) -> dict[str, Head]:
    """Return what the database knows of logs, by the name of their chain."""
    query = select(tables.facts).where(tables.facts.c.name.startswith(_HEAD))
    found = [checked("facts", row) for row in reading.rows(query)]
    return {row["name"].removeprefix(_HEAD): decoded(row["value"], Head) for row in found}


def pending_entries(reading: Reading) -> dict[int, PendingEntry]:
    """Return the entries that are not in the file yet, in their order."""
    query = select(tables.audit_pending).order_by(tables.audit_pending.c.id)
    return {
        row["id"]: decoded(checked("audit_pending", row)["entry"], PendingEntry)
        for row in reading.rows(query)
    }


def _lines(end: _End, waiting: list[PendingEntry], now: float) -> list[AuditLine]:
    """Return the lines to be written: what is to be said of the file's end, then what waits."""
    ids = {each.id for each in waiting}
    written = {line.id for line in end.newer}
    entries = [pending(torn_entry(fragment, now)) for fragment in end.torn]
    if unknown := [line for line in end.newer if line.id not in ids]:
        entries.append(pending(ahead_entry(unknown, now)))
    lines: list[AuditLine] = []
    seq, prev = end.seq, end.sha256
    for each in (*entries, *(each for each in waiting if each.id not in written)):
        lines.append(line_of(each, seq=seq + 1, prev=prev))
        seq, prev = lines[-1].seq, lines[-1].sha256
    return lines


def _text(lines: list[AuditLine]) -> bytes:
    return b"".join(line.data + b"\n" for line in lines)


def _end_of(file: BinaryIO, known: dict[str, Head]) -> _End:
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes == 0:
        chain = new_chain()
        return _End(chain, 0, chain)
    chain = _chain_of(file, known)
    head = known.get(chain)
    found, pieces, last = _after_head(file, size_bytes, head)
    open_ended = last != b""
    if found is None:
        # The database's last line is not there: what follows hangs on it all the same, so that
        # the gap shows.
        at = head or Head(0, chain)
        torn = (last,) if open_ended and parsed_line(last) is None else ()
        return _End(chain, at.seq, at.sha256, torn=torn, open_ended=open_ended)
    return _chained(chain, found, [*pieces, last] if open_ended else pieces, open_ended)


def _chain_of(file: BinaryIO, known: dict[str, Head]) -> str:
    """Return the name of the chain: from its first line, or as the database knows it."""
    first = parsed_line(os.pread(file.fileno(), _WINDOW_BYTES, 0).partition(b"\n")[0])
    if first is not None:
        return first.prev
    return next(iter(known)) if len(known) == 1 else new_chain()


def _after_head(
    file: BinaryIO, size_bytes: int, head: Head | None
) -> tuple[Head | None, list[bytes], bytes]:
    """Return the head if it is in the file, the lines after it, and what follows the last end."""
    window_bytes = _WINDOW_BYTES
    while True:
        start = max(0, size_bytes - window_bytes)
        *pieces, last = os.pread(file.fileno(), size_bytes - start, start).split(b"\n")
        complete = pieces if start == 0 else pieces[1:]
        for index in range(len(complete) - 1, -1, -1):
            line = parsed_line(complete[index])
            if line is not None and (head is None or line.sha256 == head.sha256):
                return Head(line.seq, line.sha256), complete[index + 1 :], last
        if start == 0:
            return None, complete, last
        window_bytes *= 16


def _chained(chain: str, head: Head, pieces: list[bytes], open_ended: bool) -> _End:
    newer: list[AuditLine] = []
    torn: list[bytes] = []
    seq, sha256 = head.seq, head.sha256
    for piece in pieces:
        line = parsed_line(piece)
        if line is None:
            torn.append(piece)
        elif line.prev == sha256:
            newer.append(line)
            seq, sha256 = line.seq, line.sha256
    told = {line.entry.object_digest for line in newer if line.entry.action == TORN}
    untold = tuple(each for each in torn if hashlib.sha256(each).hexdigest() not in told)
    return _End(chain, seq, sha256, tuple(newer), untold, open_ended)
