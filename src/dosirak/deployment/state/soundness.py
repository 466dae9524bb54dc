"""Whether a SQLite file is whole: its pages, its references, and the seal of every row.

The check needs no knowledge of the schema, so it holds for files of earlier versions too. It also
sees a write-ahead log that is gone: the index of the log (`-shm`) still says how much there was.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from dosirak.deployment.state.failures import translated
from dosirak.deployment.state.rows import checked, damaged

_BUSY_S = 30.0
# The index of the log: two copies of a header of 48 bytes, each with the number of frames at 16,
# then how many frames are in the main file already. In the machine's own byte order.
_INDEX = struct.Struct("=16xI28x48xI")


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
        read_only: whether it is a copy that nobody writes, and no file may appear beside it.

    Raises:
        CorruptContent: it is damaged.
    """
    with translated(), _opened(database, read_only=read_only) as connection:
        _check_pages(connection)
        for table in _tables(connection):
            _check_seals(connection, table)
        return _commits(connection)


def check_log(database: Path) -> None:
    """Check that the write-ahead log is there, if anything of it is needed.

    Raises:
        CorruptContent: it was removed; the last changes are lost.
    """
    if not log_of(database).exists() and _frames_in_log_alone(index_of(database)) > 0:
        raise damaged("Its write-ahead log (-wal) was removed, and with it the last changes.")


def _frames_in_log_alone(index: Path) -> int:
    try:
        frames, in_database = _INDEX.unpack(index.read_bytes()[: _INDEX.size])
    except (FileNotFoundError, struct.error):
        return 0
    return int(frames) - int(in_database)


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
