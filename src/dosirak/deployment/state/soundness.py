"""Whether a SQLite file is whole: its pages, its references, and the seal of every row.

The check needs no knowledge of the schema, so it holds for files of earlier versions too. It also
sees a write-ahead log (`-wal`) that is gone or damaged, which SQLite itself takes for a log that
ended earlier: the index of the log (`-shm`) outlives a killed process and says how much there was.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from dosirak.deployment.state.failures import translated
from dosirak.deployment.state.rows import checked, damaged

_BUSY_S = 30.0
# Two copies of the index's header (initialised, frames, salt), then how many frames the main file
# has already; in the machine's own byte order.
_HEADER = struct.Struct("=12xB3xI12x8s8x")
_IN_DATABASE = struct.Struct("=I")


class _LogIndex(NamedTuple):
    """What the index says of the log: how many frames it has, and how many the main file too."""

    frames: int
    in_database: int
    salt: bytes


def log_of(database: Path) -> Path:
    """Return where SQLite writes ahead."""
    return database.with_name(f"{database.name}-wal")


def index_of(database: Path) -> Path:
    """Return where SQLite finds its way in the log."""
    return database.with_name(f"{database.name}-shm")


def check_sound(database: Path, *, read_only: bool = False) -> int:
    """Read the whole file, and return how many transactions it holds.

    Args:
        database: the file; it must be there.
        read_only: whether it is read without its log, and no file may appear beside it.

    Raises:
        CorruptContent: it is damaged.
    """
    index = None if read_only else _index(database)
    if index is not None and not log_of(database).exists() and index.frames > index.in_database:
        raise damaged("Its write-ahead log (-wal) was removed, and with it the last changes.")
    with translated(), _opened(database, read_only=read_only) as connection:
        _check_pages(connection)
        if index is not None:
            _check_log(index, _index(database))
        for table in _tables(connection):
            _check_seals(connection, table)
        return _commits(connection)


def _index(database: Path) -> _LogIndex | None:
    """Read the index of the log; None if there is none, or it is being written."""
    try:
        data = index_of(database).read_bytes()
    except FileNotFoundError:
        return None
    first, second = data[: _HEADER.size], data[_HEADER.size : 2 * _HEADER.size]
    rest = data[2 * _HEADER.size :]
    if first != second or len(rest) < _IN_DATABASE.size:
        return None
    initialised, frames, salt = _HEADER.unpack(first)
    if not initialised:
        return None
    return _LogIndex(frames, _IN_DATABASE.unpack_from(rest)[0], salt)


def _check_log(before: _LogIndex, after: _LogIndex | None) -> None:
    """Check that SQLite, which drops a log from its first damaged frame on, found all frames."""
    if after is None or after.frames >= before.frames:
        return
    unread = after.frames == 0 and before.frames > before.in_database
    if unread or after.salt == before.salt:
        raise damaged("Its write-ahead log (-wal) is damaged, and with it the last changes.")


@contextmanager
def _opened(database: Path, *, read_only: bool) -> Generator[sqlite3.Connection, None, None]:
    mode = "mode=ro&immutable=1" if read_only else "mode=rw"
    uri = f"{database.absolute().as_uri()}?{mode}"
    with closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S)
    ) as connection:
        connection.execute("BEGIN")  # one snapshot for all that follows
        yield connection


def _check_pages(connection: sqlite3.Connection) -> None:
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise damaged(f"SQLite's check says: {'; '.join(found)}.")
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise damaged("Rows are missing that other rows refer to.")


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [str(name) for (name,) in rows]


def _check_seals(connection: sqlite3.Connection, table: str) -> None:
    rows = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - a name from the schema
    names = [column[0] for column in rows.description]
    if "seal" not in names:
        return
    for row in rows:
        checked(table, dict(zip(names, row, strict=True)))


def _commits(connection: sqlite3.Connection) -> int:
    if "turn" not in _tables(connection):
        return 0
    row = connection.execute("SELECT commits FROM turn").fetchone()
    if row is None:
        raise damaged("It has lost the row that writers take turns by.")
    return int(row[0])
