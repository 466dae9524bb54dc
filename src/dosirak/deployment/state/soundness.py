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
from tempfile import TemporaryDirectory
from typing import NamedTuple

from dosirak.deployment.state.failures import failure, means_surroundings
from dosirak.deployment.state.rows import checked, damaged
from dosirak.errors import CorruptContent
from dosirak.store.durability import write_file

_BUSY_S = 30.0
# Two copies of the index's header (initialised, frames, salt), then how many frames the main file
# has already, and how many were about to be written to it; in the machine's own byte order.
_HEADER = struct.Struct("=12xB3xI12x8s8x")
_PROGRESS = struct.Struct("=I28xI")


class _LogIndex(NamedTuple):
    """What the index says of the log: how many frames it has, and how many the main file too.

    `attempted` is more than `in_database` where somebody was killed while writing to the main file.
    """

    frames: int
    in_database: int
    attempted: int
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
    if not read_only:
        _check_log(database)
    with _as_damage(), _opened(database, read_only=read_only) as connection:
        _check_pages(connection)
        _check_header(database)
        for table in sealed_tables(connection):
            _check_seals(connection, table)
        return _commits(connection)


def whole_log(database: Path) -> bool:
    """Whether all of the write-ahead log is there; whoever has not, reads rows of several times."""
    try:
        _check_log(database)
    except CorruptContent:
        return False
    return True


def whole_alone(database: Path) -> bool:
    """Whether the main file without its log is the state of one moment, if an older one."""
    index = _index(database)
    return index is None or index.in_database == index.attempted


def sealed_tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables whose rows carry checksums."""
    return [
        table
        for table in _tables(connection)
        if any(row[1] == "seal" for row in connection.execute(f'PRAGMA table_info("{table}")'))
    ]


def _check_header(database: Path) -> None:
    """Check the versions of the format: for a wrong one SQLite refuses writes and says no more."""
    with database.open("rb") as file:
        versions = file.read(20)[18:]
    if versions not in (b"\1\1", b"\2\2"):
        raise damaged("Its header is not what SQLite writes.")


@contextmanager
def _as_damage() -> Generator[None, None, None]:
    """Take for damage whatever reading runs into, unless the disk or somebody's lock is to blame.

    A damaged header makes SQLite ask for a later version of itself, a damaged schema for tables
    that are not there, and a damaged name cannot be decoded.
    """
    try:
        yield
    except sqlite3.Error as error:
        if means_surroundings(error):
            raise failure(error) from error
        raise damaged(f"SQLite says: {error}.") from error
    except UnicodeDecodeError as error:
        raise damaged("It holds text that is none.") from error


def _index(database: Path) -> _LogIndex | None:
    """Read the index of the log; None if there is none, or it is being written."""
    try:
        data = index_of(database).read_bytes()
    except FileNotFoundError:
        return None
    first, second = data[: _HEADER.size], data[_HEADER.size : 2 * _HEADER.size]
    rest = data[2 * _HEADER.size :]
    if first != second or len(rest) < _PROGRESS.size:
        return None
    initialised, frames, salt = _HEADER.unpack(first)
    if not initialised:
        return None
    in_database, attempted = _PROGRESS.unpack_from(rest)
    return _LogIndex(frames, in_database, attempted, salt)


def _check_log(database: Path) -> None:
    """Check that the log is all there, without touching it.

    SQLite drops a log from its first damaged frame on, and writes what is left of it to the main
    file; so it is opened in a copy.
    """
    index = _index(database)
    if index is None or index.frames == 0:
        return
    if not log_of(database).exists():
        if index.frames > index.in_database:
            raise damaged("Its write-ahead log (-wal) was removed, and with it the last changes.")
        return
    with TemporaryDirectory(prefix=".checking-", dir=database.parent) as folder:
        copy = Path(folder) / database.name
        for of in (Path, log_of):
            write_file(of(copy), of(database).read_bytes())
        with _as_damage(), _opened(copy, read_only=False) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            _compare(index, _index(copy))


def _compare(before: _LogIndex, found: _LogIndex | None) -> None:
    """Check that SQLite found as many frames as the index told of."""
    if found is None or found.frames >= before.frames:
        return
    # With another salt it was begun anew meanwhile, by somebody who has the database open.
    unread = found.frames == 0 and before.frames > before.in_database
    if unread or found.salt == before.salt:
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
    for row in rows:
        checked(table, dict(zip(names, row, strict=True)))


def _commits(connection: sqlite3.Connection) -> int:
    if "turn" not in _tables(connection):
        return 0
    row = connection.execute("SELECT commits FROM turn").fetchone()
    if row is None:
        raise damaged("It has lost the row that writers take turns by.")
    return int(row[0])
