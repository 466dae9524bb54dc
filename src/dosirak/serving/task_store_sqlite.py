"""Tasks on disk: what was asked, what came of it, and who is working on it. SQLite, WAL.

A server that runs tasks holds a lock on a file of its own; when the lock is free its holder is
dead, and whoever notices takes its tasks over: no lease to wait for. So results survive restarts,
and servers of one machine may share one store. See `task_store.TaskStore`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

import msgspec

from dosirak.errors import DosirakError, InvalidConfiguration
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.problems import problem_response
from dosirak.serving.task_store import (
    ClaimedTask,
    Delivery,
    TaskLimits,
    TaskRecord,
    out_of_reach,
    pack_request,
    pack_response,
    status_of,
    too_many,
    unpack_request,
    unpack_response,
    unreadable,
)
from dosirak.serving.troubles import Troubles

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY,
    api TEXT NOT NULL,
    status TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    executed_at REAL,
    ended_at REAL,
    request BLOB NOT NULL,
    body BLOB NOT NULL,
    response BLOB,
    response_body BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_waiting ON tasks (status, owner, created_at);
"""
# Columns that came later, for the files of earlier versions.
_LATER_COLUMNS = {
    "webhook": "TEXT NOT NULL DEFAULT ''",
    "delivery_at": "REAL",
    "delivery_attempts": "INTEGER NOT NULL DEFAULT 0",
}
_LATER_INDEX = """
CREATE INDEX IF NOT EXISTS tasks_deliveries ON tasks (delivery_at) WHERE delivery_at IS NOT NULL;
"""
_LOOK_EVERY_S = 10.0
_LOCKED_S = 3.0
_log = logging.getLogger(f"{ROOT_LOGGER}.serving.tasks")
_HELD = "id = ? AND status = 'in_progress' AND owner = ? AND attempts = ?"
# What has expired is not shown, though it may not have been deleted yet.
_SHOWN = "(ended_at IS NULL OR ended_at >= ?)"
# Whoever is to be told of a task's end is due as it ends, in the same transaction.
_END = "ended_at = ?1, delivery_at = CASE webhook WHEN '' THEN NULL ELSE ?1 END"


class SqliteTaskStore:
    """The tasks of one service (see `task_store.TaskStore`).

    Args:
        directory: where they are kept; None keeps them in memory, for tests.
        limits: how much is kept, and for how long.
    """

    at_once = 1  # It serialises writers anyway.
    look_every_s = _LOOK_EVERY_S
    renew_every_s = _LOOK_EVERY_S

    def __init__(self, directory: Path | None, limits: TaskLimits = TaskLimits()) -> None:
        self._directory = directory
        self._limits = limits
        self._owner = uuid4().hex
        self._lock: IO[bytes] | None = None
        self._database: sqlite3.Connection | None = None
        self._troubles = Troubles(_log)

    def open(self) -> None:
        """Open or create the database and take over the tasks of servers that are gone.

        Raises:
            InvalidConfiguration: it cannot be there (the operator's fault).
        """
        try:
            self._open()
        except (OSError, sqlite3.Error, DosirakError) as error:
            self.close()
            if isinstance(error, DosirakError):
                raise
            raise InvalidConfiguration(
                f"Tasks cannot be kept in {self._directory}: {_reason(error)}.",
                remedy="Make room there and let the server write, or name another DOSIRAK_HOME.",
            ) from error

    def _open(self) -> None:
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _hold(self._owner_file(self._owner))
        path = self._directory / "tasks.sqlite3" if self._directory else ":memory:"
        database = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_LOCKED_S
        )
        self._database = database
        if self._directory is not None:
            (self._directory / "tasks.sqlite3").chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        with _whole(database):
            _add_later_columns(database)
            self._take_over(database)

    def close(self) -> None:
        """Leave unfinished tasks to whoever opens the store next."""
        database, self._database = self._database, None
        lock, self._lock = self._lock, None
        try:
            if database is not None:
                database.close()
        finally:
            if lock is not None:
                # One that cannot be removed is removed by whoever finds that nobody holds it.
                with suppress(OSError):
                    self._owner_file(self._owner).unlink()
                lock.close()

    def submit(self, api: str, request: WireRequest, *, webhook: str = "") -> TaskRecord:
        """Keep a task to be run (see `TaskStore`)."""
        record = TaskRecord(uuid4().hex, api, "in_progress", time.time(), None)
        with self._transaction() as database:
            self._refuse_if_full(database)
            database.execute(
                "INSERT INTO tasks (id, api, status, created_at, request, body, webhook)"
                " VALUES (?, ?, 'in_progress', ?, ?, ?, ?)",
                (record.id, api, record.created_at, pack_request(request), request.body, webhook),
            )
        return record

    def submit_again(self, api: str, task_id: str) -> TaskRecord | None:
        """Keep a new task with the request of another (see `TaskStore`)."""
        record = TaskRecord(uuid4().hex, api, "in_progress", time.time(), None)
        with self._transaction() as database:
            self._refuse_if_full(database)
            kept = database.execute(
                "INSERT INTO tasks (id, api, status, created_at, request, body, webhook)"  # noqa: S608 - constants
                " SELECT ?, api, 'in_progress', ?, request, body, webhook FROM tasks"
                f" WHERE id = ? AND api = ? AND {_SHOWN}",
                (record.id, record.created_at, task_id, api, self._expired_at),
            )
            return record if kept.rowcount == 1 else None

    def find(self, api: str, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        with self._reading() as database:
            row = database.execute(
                "SELECT id, api, status, created_at, executed_at FROM tasks"  # noqa: S608 - constants
                f" WHERE id = ? AND api = ? AND {_SHOWN}",
                (task_id, api, self._expired_at),
            ).fetchone()
        return TaskRecord(*row) if row else None

    def answer_of(self, api: str, task_id: str) -> WireResponse | None:
        """Return the answer of a finished task, error or not."""
        with self._reading() as database:
            row = database.execute(
                "SELECT response, response_body FROM tasks WHERE id = ? AND api = ?"  # noqa: S608 - constants
                f" AND response IS NOT NULL AND {_SHOWN}",
                (task_id, api, self._expired_at),
            ).fetchone()
        return unpack_response(*row) if row else None

    def cancel(self, api: str, task_id: str) -> bool:
        """Mark an unfinished task as cancelled; return whether it was unfinished."""
        with self._transaction() as database:
            changed = database.execute(
                f"UPDATE tasks SET status = 'cancelled', {_END}"  # noqa: S608 - constants
                " WHERE id = ?2 AND api = ?3 AND status = 'in_progress'",
                (time.time(), task_id, api),
            )
            return changed.rowcount == 1

    def claim(self) -> ClaimedTask | None:
        """Take the oldest waiting task for this server; one that cannot be read has failed."""
        while (row := self._claim()) is not None:
            task_id, api, attempts, request, body = row
            try:
                return ClaimedTask(task_id, api, attempts, unpack_request(request, body))
            except msgspec.MsgspecError:
                _log.error("Task %s cannot be read and has failed.", task_id)
                task = ClaimedTask(task_id, api, attempts, WireRequest(b"", ""))
                self.finish(task, problem_response(unreadable(), request_id=task_id))
        return None

    def _claim(self) -> tuple[str, str, int, bytes, bytes] | None:
        with self._transaction() as database:
            return database.execute(
                "UPDATE tasks SET owner = ?, attempts = attempts + 1, executed_at = ?"
                " WHERE id = (SELECT id FROM tasks WHERE status = 'in_progress' AND owner = ''"
                " ORDER BY created_at LIMIT 1) RETURNING id, api, attempts, request, body",
                (self._owner, time.time()),
            ).fetchone()

    def renew(self, tasks: Collection[ClaimedTask]) -> set[str]:
        """Return the ids of those this server no longer holds: they were cancelled elsewhere."""
        lost: set[str] = set()
        with self._reading() as database:
            for task in tasks:
                held = database.execute(
                    f"SELECT 1 FROM tasks WHERE {_HELD}",  # noqa: S608 - a constant
                    (task.id, self._owner, task.attempts),
                ).fetchone()
                if held is None:
                    lost.add(task.id)
        return lost

    def finish(self, task: ClaimedTask, response: WireResponse) -> bool:
        """Keep the answer of a claimed task, unless it is no longer held."""
        with self._transaction() as database:
            changed = database.execute(
                f"UPDATE tasks SET {_END}, status = ?2, response = ?3, response_body = ?4"  # noqa: S608 - constants
                " WHERE id = ?5 AND status = 'in_progress' AND owner = ?6 AND attempts = ?7",
                (
                    time.time(),
                    status_of(response),
                    pack_response(response),
                    response.body,
                    task.id,
                    self._owner,
                    task.attempts,
                ),
            )
            return changed.rowcount == 1

    def release(self, task: ClaimedTask) -> None:
        """Give a claimed task back unfinished, to be run again; the attempt does not count."""
        with self._transaction() as database:
            database.execute(
                "UPDATE tasks SET owner = '', attempts = attempts - 1"  # noqa: S608 - a constant
                f" WHERE {_HELD}",
                (task.id, self._owner, task.attempts),
            )

    def take_over(self) -> None:
        """Make the unfinished tasks of servers that are gone wait again."""
        with self._transaction() as database:
            self._take_over(database)

    def _take_over(self, database: sqlite3.Connection) -> None:
        owners = database.execute(
            "SELECT DISTINCT owner FROM tasks WHERE status = 'in_progress' AND owner NOT IN"
            " ('', ?)",
            (self._owner,),
        ).fetchall()
        for (owner,) in owners:
            if self._is_gone(owner):
                database.execute(
                    "UPDATE tasks SET owner = '' WHERE status = 'in_progress' AND owner = ?",
                    (owner,),
                )

    def expire_waiting(self, response: WireResponse) -> list[str]:
        """Fail tasks that have waited too long with this answer; return the api of each."""
        now = time.time()
        with self._transaction() as database:
            rows = database.execute(
                f"UPDATE tasks SET {_END}, status = 'failure', response = ?2, response_body = ?3"  # noqa: S608 - constants
                " WHERE status = 'in_progress' AND owner = '' AND created_at < ?4 RETURNING api",
                (now, pack_response(response), response.body, now - self._limits.waiting_s),
            ).fetchall()
        return [api for (api,) in rows]

    def forget_expired(self) -> None:
        """Delete finished tasks that nobody can ask for any more."""
        with self._transaction() as database:
            database.execute("DELETE FROM tasks WHERE ended_at < ?", (self._expired_at,))

    def claim_delivery(self, hold_s: float) -> Delivery | None:
        """Take a delivery that is due; unless it ends, it is due again after `hold_s`."""
        now = time.time()
        with self._transaction() as database:
            row = database.execute(
                "UPDATE tasks SET delivery_at = ?, delivery_attempts = delivery_attempts + 1"
                " WHERE id = (SELECT id FROM tasks WHERE delivery_at <= ?"
                " AND ended_at >= ? ORDER BY delivery_at"
                " LIMIT 1) RETURNING id, api, status, created_at, executed_at,"
                " webhook, delivery_attempts, response, response_body",
                (now + hold_s, now, self._expired_at),
            ).fetchone()
        if row is None:
            return None
        *about, webhook, attempts, response, body = row
        answer = unpack_response(response, body) if response is not None else None
        return Delivery(TaskRecord(*about), webhook, attempts, answer)

    def end_delivery(self, task_id: str, again_in_s: float | None) -> None:
        """Note a delivery as ended for good, or as due again."""
        at_s = None if again_in_s is None else time.time() + again_in_s
        with self._transaction() as database:
            database.execute("UPDATE tasks SET delivery_at = ? WHERE id = ?", (at_s, task_id))

    @property
    def _expired_at(self) -> float:
        return time.time() - self._limits.kept_s

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        """Hand out the database; what goes wrong with it is said to the operator.

        Raises:
            Unavailable: the disk is full or fails, or others hold the database for long.
        """
        if self._database is None:
            raise RuntimeError("The task store is not open.")
        try:
            yield self._database
        except sqlite3.DatabaseError as error:
            if not _is_the_disk(error):
                raise
            what = f"Tasks cannot be kept in {self._directory}"
            self._troubles.say(what, error, "Look whether it is full, read-only or locked.")
            raise out_of_reach() from error

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        with self._reading() as database, _whole(database):
            yield database

    def _refuse_if_full(self, database: sqlite3.Connection) -> None:
        (waiting,) = database.execute(
            "SELECT count(*) FROM tasks WHERE status = 'in_progress'"
        ).fetchone()
        if waiting >= self._limits.max_waiting:
            raise too_many(self._limits.max_waiting)

    def _owner_file(self, owner: str) -> Path:
        if self._directory is None:
            raise RuntimeError("A store in memory has one owner.")
        return self._directory / f"{owner}.owner"

    def _is_gone(self, owner: str) -> bool:
        path = self._owner_file(owner)
        try:
            _hold(path).close()
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
        return True


@contextmanager
def _whole(database: sqlite3.Connection) -> Generator[None]:
    """Do all of it or nothing, and never leave a transaction open behind."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        # A disk that is full may have ended it already; and what was raised is what counts.
        with suppress(sqlite3.DatabaseError):
            if database.in_transaction:
                database.execute("ROLLBACK")
        raise


def _is_the_disk(error: sqlite3.DatabaseError) -> bool:
    """Say whether it is not what was asked that failed: full, locked, read-only, broken."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _add_later_columns(database: sqlite3.Connection) -> None:
    known = {row[1] for row in database.execute("PRAGMA table_info(tasks)")}
    for name, kind in _LATER_COLUMNS.items():
        if name not in known:
            database.execute(f"ALTER TABLE tasks ADD COLUMN {name} {kind}")
    database.execute(_LATER_INDEX)


def _hold(path: Path) -> IO[bytes]:
    """Lock a file for as long as the process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
