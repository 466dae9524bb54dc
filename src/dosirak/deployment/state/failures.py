"""What a database says went wrong becomes an error of the project's own, with what to do.

Nothing here names a path or an address: these errors may reach a remote caller. SQLite's result
codes and PostgreSQL's SQLSTATEs tell a full disk from a broken file and from somebody else's lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import exc

from dosirak.deployment.state.rows import damaged
from dosirak.errors import (
    DeploymentConflict,
    DosirakError,
    StorageError,
    StorageFull,
    Unavailable,
)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOCK_TIMEOUT = "55P03"
_REFUSED = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
)


@contextmanager
def translated() -> Generator[None, None, None]:
    """Raise every error of the database from the block as one of the tree.

    Raises:
        CorruptContent: the database is damaged.
        DeploymentConflict: what was written does not fit what is there.
        StorageError: its disk is full or refuses.
        Unavailable: it is out of reach, or somebody else holds it.
    """
    try:
        yield
    except (exc.SQLAlchemyError, sqlite3.Error) as error:
        raise failure(error) from error


def failure(error: Exception) -> DosirakError:
    """Return the error of the tree that an error of a database means."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.Error):
        return _of_sqlite(original)
    if isinstance(error, exc.TimeoutError):
        return _busy()
    return _of_server(error, str(getattr(original, "sqlstate", None) or ""))


def means_surroundings(error: sqlite3.Error) -> bool:
    """Whether the disk or somebody else's lock is to blame, and not what the file holds."""
    primary = _primary(error)
    return primary == sqlite3.SQLITE_FULL or primary in (*_LOCKED, *_REFUSED)


def _of_sqlite(error: sqlite3.Error) -> DosirakError:
    primary = _primary(error)
    if primary in _DAMAGED or "decode to UTF-8" in str(error):
        return damaged(f"SQLite says: {error}.")
    if primary == sqlite3.SQLITE_FULL:
        return _full()
    if primary in _LOCKED:
        return _busy()
    if primary in _REFUSED:
        return StorageError(
            f"The disk of the platform's database refuses: {error}.",
            remedy="Check the disk and its permissions; what was stored before is untouched.",
        )
    if isinstance(error, sqlite3.IntegrityError):
        return _conflict()
    return StorageError(
        f"The platform's database cannot do this: {error}.",
        remedy="Nothing has changed. Report it with the control plane's log.",
    )


def _primary(error: sqlite3.Error) -> int | None:
    """Return the result code without what SQLite adds to tell its kinds apart."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _of_server(error: Exception, state: str) -> DosirakError:
    """Tell PostgreSQL's errors apart by the class of their SQLSTATE."""
    if state.startswith("XX"):
        return damaged("The database server says so; its own log tells more.")
    if state.startswith("53"):
        return _full()
    if state == _LOCK_TIMEOUT:
        return _busy()
    if isinstance(error, exc.IntegrityError):
        return _conflict()
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return Unavailable(
            "The platform's database cannot be reached.",
            remedy="Check that its server runs and lets the platform in; nothing has changed.",
        )
    return StorageError(
        f"The platform's database cannot do this ({type(error).__name__} {state}).",
        remedy="Nothing has changed. Report it with the control plane's log.",
    )


def _full() -> StorageFull:
    return StorageFull(
        "The disk of the platform's database is full.",
        remedy="Free some space, then try again; nothing has changed.",
    )


def _busy() -> Unavailable:
    return Unavailable(
        "The platform's database has been busy for too long.",
        remedy="Try again; if it stays so, see which process holds it.",
    )


def _conflict() -> DeploymentConflict:
    return DeploymentConflict(
        "What was to be written does not fit what is there: somebody else was first.",
        remedy="Look at it again, then try again.",
    )
