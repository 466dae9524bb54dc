"""What is still whole in a damaged database and newer than its backup, put into the copy of that.

Rows carry their own checksums, so each one that can be read and whose seal holds is true. A backup
is minutes old; without this, replicas that were started since would be strangers and be ended.
Where rows belong together (a deployment and the revisions it speaks of), all come or none. What was
deleted since the backup is there again: a row that cannot be read looks like one that is gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from dosirak.deployment.state.rows import checked
from dosirak.deployment.state.soundness import sealed_tables, whole_log
from dosirak.errors import CorruptContent

_BELONGING = ("deployments", "revisions", "replicas")
_REFERENCES = (
    "active_revision",
    "previous_revision",
    "latest_revision",
    "rollout_to",
    "rollout_from",
)
_HAS_REVISION = (
    "EXISTS (SELECT 1 FROM revisions WHERE revisions.deployment = replicas.deployment"
    " AND revisions.number = replicas.revision)"
)

Row = tuple[Any, ...]


def salvage(damaged: Path, copy: Path, backup: Path) -> int:
    """Add to a copy of a backup what is newer in a damaged database.

    Args:
        damaged: the damaged file with its log beside it; both may change.
        copy: of the backup. Of no use if this fails: check it before it is used.
        backup: for what has to be taken back again.

    Returns:
        How many rows were added or changed; 0 if the damaged file is too damaged.
    """
    if not whole_log(damaged):
        return 0
    try:
        with closing(_opened(damaged)) as source, closing(_opened(copy)) as target:
            if not _is_newer(source, target):
                return 0
            target.execute("ATTACH ? AS backup", (str(backup),))
            target.execute("BEGIN")
            added = sum(_merged(source, target, table) for table in sealed_tables(target))
            _take_back_incomplete(target)
            commits = source.execute("SELECT commits FROM turn").fetchone()[0]
            target.execute("UPDATE main.turn SET commits = ?", (commits + 1,))
            target.execute("COMMIT")
            return added
    except (sqlite3.Error, UnicodeDecodeError):
        return 0


def _opened(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None)
    # What cannot be decoded is no reason to stop: its seal does not hold.
    connection.text_factory = _decoded
    return connection


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_newer(source: sqlite3.Connection, target: sqlite3.Connection) -> bool:
    """Whether the damaged database has this schema, and at least the backup's transactions."""
    query = "SELECT version_num, commits FROM alembic_version, turn"
    (found, commits), (wanted, before) = (
        each.execute(query).fetchone() for each in (source, target)
    )
    return bool(found == wanted and commits >= before)


def _merged(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    """Put the rows of a table that are whole in the place of those of the backup."""
    before = set(target.execute(f'SELECT * FROM main."{table}"'))  # noqa: S608 - a known name
    names = [str(row[1]) for row in target.execute(f'PRAGMA main.table_info("{table}")')]
    newer = {row for row in _readable(source, table) if row not in before}
    whole = [row for row in newer if _is_whole(table, names, row)]
    places = ", ".join("?" * len(names))
    columns = ", ".join(f'"{name}"' for name in names)
    target.executemany(
        f'INSERT OR REPLACE INTO main."{table}" ({columns}) VALUES ({places})',  # noqa: S608
        whole,
    )
    return len(whole)


def _readable(source: sqlite3.Connection, table: str) -> Generator[Row, None, None]:
    """Yield the rows before the first damaged page, and those after the last one."""
    for order in ("ASC", "DESC"):
        try:
            yield from source.execute(f'SELECT * FROM "{table}" ORDER BY rowid {order}')  # noqa: S608
        except sqlite3.Error:
            continue
        return


def _is_whole(table: str, names: list[str], row: Row) -> bool:
    try:
        checked(table, dict(zip(names, row, strict=True)))
    except CorruptContent:
        return False
    return True


def _take_back_incomplete(target: sqlite3.Connection) -> None:
    """Give deployments whose revisions could not all be read back what the backup has of them."""
    missing = " OR ".join(
        f"{column} > 0 AND {column} NOT IN"  # noqa: S608 - constants
        " (SELECT number FROM main.revisions WHERE deployment = deployments.name)"
        for column in _REFERENCES
    )
    query = f"SELECT name FROM main.deployments WHERE {missing}"  # noqa: S608 - constants
    for (name,) in target.execute(query).fetchall():
        for table in _BELONGING:
            key = "name" if table == "deployments" else "deployment"
            target.execute(f"DELETE FROM main.{table} WHERE {key} = ?", (name,))  # noqa: S608
            target.execute(
                f"INSERT INTO main.{table} SELECT * FROM backup.{table} WHERE {key} = ?",  # noqa: S608
                (name,),
            )
    for table in ("revisions", "replicas"):
        target.execute(
            f"DELETE FROM main.{table}"  # noqa: S608 - constants
            " WHERE deployment NOT IN (SELECT name FROM main.deployments)"
        )
    target.execute(f"DELETE FROM main.replicas WHERE NOT {_HAS_REVISION}")  # noqa: S608 - constants
