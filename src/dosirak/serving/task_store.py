"""Tasks on disk: what was asked, what came of it, and who is working on it. SQLite, WAL.

A task is committed before its caller is told of it, and its result before it is called done. A
server that runs tasks holds a lock on a file of its own; when the lock is free its holder is dead,
and whoever notices takes its tasks over. So results survive restarts, and servers may share one
store. All calls block; they belong on a thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

import msgspec

from dosirak.errors import Overloaded
from dosirak.payload.wire import WireRequest, WireResponse

TaskStatus = Literal["in_progress", "success", "failure", "cancelled"]

# Credentials are for the moment of the request, not for the disk.
_NOT_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})
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


class _KeptRequest(msgspec.Struct, frozen=True):
    content_type: str
    accept: str
    headers: dict[str, str]
    query: str


class _KeptResponse(msgspec.Struct, frozen=True):
    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What may be said of a task."""

    id: str
    api: str
    status: TaskStatus
    created_at: float
    executed_at: float | None


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task to run now; `attempts` counts this one."""

    id: str
    api: str
    attempts: int
    request: WireRequest


class TaskStore:
    """The tasks of one service.

    Args:
        directory: where they are kept; None keeps them in memory, for tests.
        max_waiting: tasks not done; more are refused.
        kept_s: how long a finished task can be asked for.
    """

    def __init__(
        self, directory: Path | None, *, max_waiting: int = 10_000, kept_s: float = 86_400.0
    ) -> None:
        self._directory = directory
        self._max_waiting = max_waiting
        self._kept_s = kept_s
        self._owner = uuid4().hex
        self._lock: IO[bytes] | None = None
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the database and take over the tasks of servers that are gone."""
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _hold(self._owner_file(self._owner))
        path = self._directory / "tasks.sqlite3" if self._directory else ":memory:"
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        if self._directory is not None:
            (self._directory / "tasks.sqlite3").chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_SCHEMA)
        self._database = database
        self.take_over()

    def close(self) -> None:
        """Leave unfinished tasks to whoever opens the store next."""
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._lock is not None:
            self._owner_file(self._owner).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def submit(self, api: str, request: WireRequest) -> TaskRecord:
        """Keep a task to be run.

        Raises:
            Overloaded: too many are waiting.
        """
        task_id = uuid4().hex
        headers = {k: v for k, v in request.headers.items() if k not in _NOT_KEPT}
        kept = _KeptRequest(request.content_type, request.accept, headers, request.query)
        with self._transaction() as database:
            self._refuse_if_full(database)
            database.execute(
                "INSERT INTO tasks (id, api, status, created_at, request, body)"
                " VALUES (?, ?, 'in_progress', ?, ?, ?)",
                (task_id, api, time.time(), msgspec.msgpack.encode(kept), request.body),
            )
        return self._existing(api, task_id)

    def find(self, api: str, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        row = self._rows.execute(
            "SELECT id, api, status, created_at, executed_at FROM tasks WHERE id = ? AND api = ?",
            (task_id, api),
        ).fetchone()
        return TaskRecord(*row) if row else None

    def answer_of(self, api: str, task_id: str) -> WireResponse | None:
        """Return the answer of a finished task, error or not."""
        row = self._rows.execute(
            "SELECT response, response_body FROM tasks WHERE id = ? AND api = ?"
            " AND response IS NOT NULL",
            (task_id, api),
        ).fetchone()
        if row is None:
            return None
        kept = msgspec.msgpack.decode(row[0], type=_KeptResponse)
        return WireResponse(row[1], kept.content_type, kept.status, kept.headers)

    def submit_again(self, api: str, task_id: str) -> TaskRecord:
        """Keep a new task with the request of another.

        Raises:
            Overloaded: too many are waiting.
        """
        new_id = uuid4().hex
        with self._transaction() as database:
            self._refuse_if_full(database)
            database.execute(
                "INSERT INTO tasks (id, api, status, created_at, request, body)"
                " SELECT ?, api, 'in_progress', ?, request, body FROM tasks"
                " WHERE id = ? AND api = ?",
                (new_id, time.time(), task_id, api),
            )
        return self._existing(api, new_id)

    def cancel(self, api: str, task_id: str) -> bool:
        """Mark an unfinished task as cancelled; return whether it was unfinished."""
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE tasks SET status = 'cancelled', ended_at = ?"
                " WHERE id = ? AND api = ? AND status = 'in_progress'",
                (time.time(), task_id, api),
            )
            return changed.rowcount == 1

    def claim(self) -> ClaimedTask | None:
        """Take the oldest waiting task for this server."""
        with self._transaction() as database:
            row = database.execute(
                "UPDATE tasks SET owner = ?, attempts = attempts + 1, executed_at = ?"
                " WHERE id = (SELECT id FROM tasks WHERE status = 'in_progress' AND owner = ''"
                " ORDER BY created_at LIMIT 1) RETURNING id, api, attempts, request, body",
                (self._owner, time.time()),
            ).fetchone()
        if row is None:
            return None
        task_id, api, attempts, request, body = row
        kept = msgspec.msgpack.decode(request, type=_KeptRequest)
        wire = WireRequest(body, kept.content_type, kept.accept, kept.headers, kept.query)
        return ClaimedTask(task_id, api, attempts, wire)

    def finish(self, task_id: str, response: WireResponse) -> bool:
        """Keep the answer of a claimed task, unless it was cancelled meanwhile."""
        kept = _KeptResponse(response.status, response.content_type, response.headers)
        status: TaskStatus = "success" if response.status < 400 else "failure"
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE tasks SET status = ?, ended_at = ?, response = ?, response_body = ?"
                " WHERE id = ? AND status = 'in_progress' AND owner = ?",
                (
                    status,
                    time.time(),
                    msgspec.msgpack.encode(kept),
                    response.body,
                    task_id,
                    self._owner,
                ),
            )
            return changed.rowcount == 1

    def release(self, task_id: str) -> None:
        """Give a claimed task back unfinished, to be run again; the attempt does not count."""
        with self._transaction() as database:
            database.execute(
                "UPDATE tasks SET owner = '', attempts = attempts - 1"
                " WHERE id = ? AND status = 'in_progress' AND owner = ?",
                (task_id, self._owner),
            )

    def take_over(self) -> None:
        """Make the unfinished tasks of servers that are gone wait again."""
        with self._transaction() as database:
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

    def forget_expired(self) -> None:
        """Delete finished tasks that nobody can ask for any more."""
        with self._transaction() as database:
            database.execute("DELETE FROM tasks WHERE ended_at < ?", (time.time() - self._kept_s,))

    @property
    def _rows(self) -> sqlite3.Connection:
        if self._database is None:
            raise RuntimeError("The task store is not open.")
        return self._database

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        database = self._rows
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _existing(self, api: str, task_id: str) -> TaskRecord:
        record = self.find(api, task_id)
        if record is None:
            raise RuntimeError("A task that was just kept is gone.")
        return record

    def _refuse_if_full(self, database: sqlite3.Connection) -> None:
        (waiting,) = database.execute(
            "SELECT count(*) FROM tasks WHERE status = 'in_progress'"
        ).fetchone()
        if waiting >= self._max_waiting:
            raise Overloaded("Too many tasks are waiting.", remedy="Submit it again later.")

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


def as_json(record: TaskRecord) -> Mapping[str, object]:
    """Return what a caller is told of a task."""
    return {
        "task_id": record.id,
        "status": record.status,
        "created_at": _moment(record.created_at),
        "executed_at": None if record.executed_at is None else _moment(record.executed_at),
    }


def _moment(at_s: float) -> str:
    whole_s = int(at_s)
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s))
    return f"{clock}.{int((at_s - whole_s) * 1000):03d}Z"
