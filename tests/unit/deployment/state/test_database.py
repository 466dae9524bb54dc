"""How the state is opened: made, migrated, refused; and what a database's own errors become."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text

from dosirak.deployment.changes import Change
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import migrating, tables
from dosirak.deployment.state.backups import backups_of
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.errors import (
    CorruptContent,
    InvalidConfiguration,
    StorageError,
    StorageFull,
    Unavailable,
)

Created = Callable[..., Change]


def test_only_the_owner_may_read_the_files(state: PlatformState, paths: PlatformPaths) -> None:
    with state.transaction() as transaction:
        transaction.put_fact("a", "b")
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
    files = [path for path in paths.root.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"platform.db", "platform.db-wal", "platform.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_was_committed_is_forced_to_the_disk(state: PlatformState) -> None:
    with state.reading() as reading:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            found = reading._connection.execute(text(f"PRAGMA {pragma}")).scalar()
            assert (pragma, found) == (pragma, value)


def test_migrations_make_the_tables_of_this_program(any_state: PlatformState) -> None:
    with any_state._engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.metadata) == []
        assert migrating.found_schema(connection) == tables.SCHEMA
    assert migrating.known_schemas()[0] == tables.SCHEMA


def test_the_state_is_there_when_it_is_opened_again(paths: PlatformPaths, created: Created) -> None:
    change = created()
    first = open_state(paths)
    with first.transaction() as transaction:
        transaction.put_deployment(change.deployment)
    first.close()
    again = open_state(paths)
    with again.reading() as reading:
        assert reading.deployments() == [change.deployment]
    again.close()
    assert backups_of(paths) == []  # nothing was migrated


def test_two_may_have_it_open(state: PlatformState, paths: PlatformPaths) -> None:
    other = open_state(paths)
    with other.transaction() as transaction:
        transaction.put_fact("a", "b")
    with state.reading() as reading:
        assert reading.fact("a") == "b"
    other.close()


def test_a_later_schema_is_refused_and_left_alone(paths: PlatformPaths) -> None:
    open_state(paths).close()
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = paths.database.read_bytes()
    with pytest.raises(InvalidConfiguration, match=r"schema 9999.*up to 0001.*Upgrade dosirak"):
        open_state(paths)
    assert paths.database.read_bytes() == before


def test_a_later_schema_is_refused_on_a_server(paths: PlatformPaths, postgresql_url: str) -> None:
    opened = open_state(paths, postgresql_url)
    with opened._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    opened.close()
    with pytest.raises(InvalidConfiguration, match=r"schema 9999"):
        open_state(paths, postgresql_url)


def test_a_server_keeps_the_state_and_no_file_is_made(
    paths: PlatformPaths, postgresql_url: str, created: Created
) -> None:
    first, second = (open_state(paths, postgresql_url) for _ in range(2))
    with first.transaction() as transaction:
        transaction.put_deployment(created().deployment)
    with second.reading() as reading:
        assert [each.name for each in reading.deployments()] == ["iris"]
    first.close()
    second.close()
    assert not paths.root.exists()
    assert not first.is_embedded


def test_a_server_that_ends_connections_undoes_and_is_found_again(
    paths: PlatformPaths, postgresql_url: str
) -> None:
    state, other = (open_state(paths, postgresql_url) for _ in range(2))
    end_all = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with state.transaction() as transaction:
        transaction.put_fact("a", "kept")
    with (
        pytest.raises(Unavailable, match="cannot be reached"),
        state.transaction() as transaction,
    ):
        transaction.put_fact("a", "lost")
        with other._engine.connect() as connection:
            connection.execute(end_all)
        transaction.put_fact("b", "lost")
    with state.reading() as reading:
        assert (reading.fact("a"), reading.fact("b")) == ("kept", None)
    state.close()
    other.close()


def test_who_is_frozen_while_writing_loses_the_turn(
    paths: PlatformPaths, postgresql_url: str
) -> None:
    state = open_state(paths, f"{postgresql_url}&options=-c work_mem=5MB")
    with state.transaction() as transaction:
        shown = [
            transaction._connection.execute(text(f"SHOW {name}")).scalar()
            for name in ("lock_timeout", "idle_in_transaction_session_timeout", "work_mem")
        ]
    assert shown == ["30s", "1min", "5MB"]
    state.close()


def test_a_reading_of_a_server_cannot_write(paths: PlatformPaths, postgresql_url: str) -> None:
    state = open_state(paths, postgresql_url)
    with pytest.raises(StorageError, match="25006"), state.reading() as reading:
        reading._connection.execute(tables.facts.delete())
    state.close()


def test_a_server_that_is_not_there_is_unavailable(paths: PlatformPaths, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        open_state(paths, f"postgresql://me:password1@/name?host={tmp_path}")
    assert "password1" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://me:password1@host/x", "nonsense", ""])
def test_other_urls_are_refused_without_showing_them(paths: PlatformPaths, url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="postgresql://USER") as caught:
        open_state(paths, url)
    assert "password1" not in str(caught.value)


def test_a_full_disk_changes_nothing_and_is_named(
    state: PlatformState, paths: PlatformPaths
) -> None:
    # SQLite's own limit: a disk of a few pages.
    def shrink(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    event.listen(state._engine, "checkout", shrink)
    with (
        pytest.raises(StorageFull, match="disk of the platform's database is full"),
        state.transaction() as transaction,
    ):
        transaction.put_fact("small", "x")
        transaction.put_fact("large", "x" * 1_000_000)
    with state.reading() as reading:
        assert reading.fact("small") is None


def test_a_folder_that_may_not_be_written_is_named(paths: PlatformPaths) -> None:
    paths.home.mkdir()
    paths.root.write_text("a file in its place")
    with pytest.raises(StorageError, match="Opening the platform's database failed"):
        open_state(paths)


def test_a_value_that_was_changed_behind_its_back_is_never_believed(
    state: PlatformState, paths: PlatformPaths, created: Created
) -> None:
    with state.transaction() as transaction:
        transaction.put_deployment(created().deployment)
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        connection.execute("UPDATE deployments SET replicas = 1000")
    with (
        pytest.raises(CorruptContent, match=r"table 'deployments'.*start it again"),
        state.reading() as reading,
    ):
        reading.states()


def test_a_configuration_of_another_version_is_an_error_that_says_so(
    state: PlatformState, created: Created
) -> None:
    change = created()
    with state.transaction() as transaction:
        transaction.put_deployment(change.deployment)
        values = {"configuration": '{"from_the_future": 1}'}
        row = {**transaction.rows(tables.deployments.select())[0], **values}
        row.pop("seal")
        transaction.put(tables.deployments, tables.deployments.c.name == "iris", row)
    with pytest.raises(CorruptContent, match="cannot read"), state.reading() as reading:
        reading.deployments()
