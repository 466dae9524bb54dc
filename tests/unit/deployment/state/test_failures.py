"""What a database's own errors become: each names its remedy, and none a path or an address."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import exc

from dosirak.deployment.state.failures import failure, means_surroundings, translated
from dosirak.errors import (
    CorruptContent,
    DeploymentConflict,
    DosirakError,
    StorageError,
    StorageFull,
    Unavailable,
)


class ServerError(Exception):
    """What a driver raises for an error of a server."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("server at 10.1.2.3 said something")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("kind", "state", "expected"),
    [
        (exc.OperationalError, None, Unavailable),
        (exc.OperationalError, "57P01", Unavailable),  # the server is stopped
        (exc.OperationalError, "55P03", Unavailable),  # somebody keeps a lock
        (exc.InterfaceError, None, Unavailable),
        (exc.InternalError, "XX001", CorruptContent),
        (exc.OperationalError, "53100", StorageFull),
        (exc.IntegrityError, "23505", DeploymentConflict),
        (exc.ProgrammingError, "42P01", StorageError),
    ],
)
def test_errors_of_a_server(
    kind: type[exc.DBAPIError], state: str | None, expected: type[DosirakError]
) -> None:
    found = failure(kind("SELECT", {}, ServerError(state)))
    assert type(found) is expected
    assert found.remedy
    assert "10.1.2.3" not in str(found)


def test_a_pool_without_connections_is_a_busy_database() -> None:
    assert isinstance(failure(exc.TimeoutError()), Unavailable)


def test_a_lock_of_somebody_else_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as second,
    ):
        first.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("BEGIN EXCLUSIVE")
    assert means_surroundings(caught.value)
    assert isinstance(failure(caught.value), Unavailable)


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"rubbish" * 1000)
    with (
        pytest.raises(CorruptContent, match="not a database") as caught,
        translated(),
        closing(sqlite3.connect(path)) as connection,
    ):
        connection.execute("SELECT * FROM sqlite_master")
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert str(tmp_path) not in str(caught.value)


def test_errors_of_others_are_left_as_they_are() -> None:
    with pytest.raises(KeyError), translated():
        raise KeyError
