"""The platform's state: one SQLite file by default, or a PostgreSQL database by URL.

`open_state` checks, backs up and migrates; then `transaction()` writes and `reading()` reads, from
any thread. A transaction takes the one turn of writers from its start, so no two overlap and none
fails half-way for another's lock: SQLite by `BEGIN IMMEDIATE` (writers of this process queue for a
lock of its own first), PostgreSQL by locking the row of `turn`. A reading is one snapshot and waits
for nobody. SQLite runs in WAL with `synchronous=FULL`: what was committed survives a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import ArgumentError

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import migrating, tables
from dosirak.deployment.state.backups import (
    check_database,
    opening_lock,
    take_backup,
)
from dosirak.deployment.state.failures import translated
from dosirak.deployment.state.transactions import Reading, Transaction
from dosirak.errors import InvalidConfiguration, MissingDependency, Unavailable, UsageError
from dosirak.store.durability import make_directories
from dosirak.store.failures import translated as storage_translated
from dosirak.store.locks import locked

_BUSY_S = 30.0
_WRITES = "dosirak_writes"  # an option of a connection: its transactions take the write lock
# Threads of the API and the controller, each with a connection at most.
_CONNECTIONS = {"pool_size": 8, "max_overflow": 56, "pool_timeout": _BUSY_S}
# Whoever is frozen with the turn of writers in its hands loses it.
_SERVER_OPTIONS = "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s"
_CONNECT_S = 10


class PlatformState:
    """Desired state in its database, for any number of threads.

    Args:
        engine: of a database that has this program's schema.
        clock: the wall clock.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self._turn = threading.Lock()
        self._holder: int | None = None  # the thread that has the turn

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file of this platform's own, which it must back up."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Generator[Transaction, None, None]:
        """Change the state: all of the block, or nothing if it raises.

        Raises:
            Unavailable: others write all the time, or the database is out of reach.
            StorageError: the disk is full or refuses.
            CorruptContent: the database is damaged.
            UsageError: this thread is in a transaction already.
        """
        if self._holder == threading.get_ident():
            raise UsageError(
                "A transaction of the platform's state was begun within another.",
                remedy="Pass the first one on, or end it before.",
            )
        if not self._turn.acquire(timeout=_BUSY_S):
            raise Unavailable(
                f"The platform's database has been written to for {_BUSY_S:g} seconds.",
                remedy="Try again.",
            )
        self._holder = threading.get_ident()
        try:
            with translated(), self._begun(writes=True) as connection:
                connection.execute(_TAKE_TURN)
                transaction = Transaction(connection, self._clock())
                yield transaction
                transaction.finish()
        finally:
            self._holder = None
            self._turn.release()

    @contextmanager
    def reading(self) -> Generator[Reading, None, None]:
        """Read the state as it is at one moment; later changes do not show.

        Raises:
            Unavailable: the database is out of reach.
            CorruptContent: it is damaged.
        """
        with translated(), self._begun(writes=False) as connection:
            yield Reading(connection, self._clock())

    def commits(self) -> int:
        """Return how many transactions have written anything so far."""
        with self.reading() as reading:
            return reading.commits()

    def close(self) -> None:
        """Close every connection; nothing may use the state any more."""
        self._engine.dispose()

    @contextmanager
    def _begun(self, *, writes: bool) -> Generator[Connection, None, None]:
        options: dict[str, Any] = {_WRITES: writes}
        if not self.is_embedded and not writes:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._engine.connect() as connection:
            chosen = connection.execution_options(**options)
            with chosen.begin():
                yield chosen


_TAKE_TURN = select(tables.turn.c.commits).where(tables.turn.c.id == 1).with_for_update()


def open_state(
    paths: PlatformPaths, url: str | None = None, *, clock: Callable[[], float] = time.time
) -> PlatformState:
    """Open the state, made and migrated if need be, after checking that it is whole.

    Args:
        paths: where the embedded database is.
        url: a PostgreSQL database instead, such as `postgresql://user:password@host/name`.
        clock: the wall clock.

    Raises:
        CorruptContent: the embedded database is damaged; `backups.recover` restores it.
        InvalidConfiguration: the URL is of no use, or a later version wrote the database.
        MissingDependency: PostgreSQL's driver is not installed.
        StorageError: the disk is full or refuses.
        Unavailable: the database is out of reach.
    """
    if url is not None:
        engine = _server_engine(url)
        with _disposed_on_error(engine), translated():
            _migrate_server(engine)
        return PlatformState(engine, clock)
    with storage_translated("Opening the platform's database", paths.root):
        make_directories(paths.root)
        with locked(opening_lock(paths)):
            return PlatformState(_opened_file(paths, clock()), clock)


def _opened_file(paths: PlatformPaths, now: float) -> Engine:
    check_database(paths)
    os.close(os.open(paths.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    paths.database.chmod(0o600)
    _write_ahead(paths)
    engine = _file_engine(paths)
    with _disposed_on_error(engine), translated():
        _migrate_file(engine, paths, now)
    return engine


def _write_ahead(paths: PlatformPaths) -> None:
    """Choose the journal, which the file remembers."""
    with translated(), closing(sqlite3.connect(paths.database, timeout=_BUSY_S)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _migrate_file(engine: Engine, paths: PlatformPaths, now: float) -> None:
    with engine.connect() as connection:
        schema = migrating.found_schema(connection)
        is_empty = not inspect(connection).get_table_names()
    if schema == tables.SCHEMA:
        return
    migrating.check_known(schema)
    if not is_empty:
        take_backup(paths, now)
    with engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
        migrating.migrate(connection)


def _migrate_server(engine: Engine) -> None:
    """Migrate a shared database; whoever comes second finds it done."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7235913)")
        schema = migrating.found_schema(connection)
        if schema == tables.SCHEMA:
            return
        migrating.check_known(schema)
        migrating.migrate(connection)


@contextmanager
def _disposed_on_error(engine: Engine) -> Generator[None, None, None]:
    try:
        yield
    except BaseException:
        engine.dispose()
        raise


def _file_engine(paths: PlatformPaths) -> Engine:
    url = URL.create("sqlite+pysqlite", database=str(paths.database))
    engine = create_engine(url, connect_args={"timeout": _BUSY_S}, **_CONNECTIONS)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_connection(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the driver
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "journal_size_limit = 67108864"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _server_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url() from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise _bad_url()
    if find_spec("psycopg") is None:
        raise MissingDependency(
            "A PostgreSQL database needs the library psycopg.",
            remedy="pip install 'dosirak[postgresql]'",
        )
    given = parsed.query.get("options", "")
    options = f"{given if isinstance(given, str) else ' '.join(given)} {_SERVER_OPTIONS}".strip()
    return create_engine(
        parsed.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        connect_args={"options": options, "connect_timeout": _CONNECT_S},
        pool_pre_ping=True,
        **_CONNECTIONS,
    )


def _bad_url() -> InvalidConfiguration:
    # Without the URL: it may hold a password.
    return InvalidConfiguration(
        "The URL of the platform's database is none of PostgreSQL.",
        remedy="Write postgresql://USER:PASSWORD@HOST:PORT/NAME, or leave it out for the embedded"
        " one.",
    )
