"""Copies of the embedded database, and putting one back when the database is damaged.

A copy is made in one snapshot (`VACUUM INTO`), checked as the database itself is when it is opened,
and only then given its name, so that damage is never copied over what is sound. Its name says when
it was made and how many transactions it holds. The newest twelve are kept, and the newest of each
of the last seven days on which one was made. What is damaged is never deleted: it is set aside.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.failures import translated
from dosirak.deployment.state.rows import damaged
from dosirak.deployment.state.salvage import salvage
from dosirak.deployment.state.soundness import check_sound, index_of, log_of, whole_alone
from dosirak.errors import CorruptContent
from dosirak.store.durability import (
    discard,
    make_directories,
    sync_directories,
    sync_directory,
    write_file,
)
from dosirak.store.failures import translated as storage_translated
from dosirak.store.locks import locked

EVERY_S = 300.0
NEWEST_KEPT = 12
DAYS_KEPT = 7

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"platform-(\d{8}T\d{6}Z)-(\d+)\.db")
_BUSY_S = 30.0


@dataclass(frozen=True, slots=True)
class Backup:
    """One copy: when it was made, how many transactions it holds, and where it is."""

    at: float
    commits: int
    path: Path

    @classmethod
    def of_path(cls, path: Path) -> Self | None:
        """Read the name of a file; None for a file that is no backup."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            return None
        at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC).timestamp()
        return cls(at, int(match[2]), path)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was put back in the place of a damaged database.

    Attributes:
        reason: what was wrong with it.
        restored_at: when the copy was made; None where the database's own main file was kept.
        set_aside: where the damaged files are now.
        salvaged: rows of the damaged file that were newer than the copy, and whole.
    """

    reason: str
    restored_at: float | None
    set_aside: Path
    salvaged: int = 0

    def __str__(self) -> str:
        what = "its main file, without the lost log"
        if self.restored_at is not None:
            what = f"the backup of {_stamp(self.restored_at)}"
        later = "later changes are lost"
        if self.salvaged:
            later = f"of later changes, {self.salvaged} rows could be read and are in it"
        return (
            f"The platform's database was damaged and has been restored from {what}; {later}."
            f" The damaged files are in {self.set_aside}."
        )


def backups_of(paths: PlatformPaths) -> list[Backup]:
    """Return every backup, the one with the most transactions first."""
    if not paths.backups.is_dir():
        return []
    found = [Backup.of_path(path) for path in paths.backups.iterdir()]
    return sorted(
        (each for each in found if each), key=lambda each: (each.commits, each.at), reverse=True
    )


def take_backup(paths: PlatformPaths, now: float) -> Backup:
    """Copy the database as it is now, and drop copies that are no longer needed.

    Raises:
        CorruptContent: the database is damaged; no copy was kept of that.
        StorageError: there is no room for a copy.
    """
    with storage_translated("Copying the platform's database", paths.backups):
        make_directories(paths.backups)
        _remove_unfinished(paths.backups)
        staged = paths.backups / f".{os.urandom(8).hex()}.tmp"
        try:
            commits = _copy(paths.database, staged)
            backup = _published(staged, paths.backups, commits, now)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        for outdated in outdated_backups(backups_of(paths)):
            outdated.path.unlink(missing_ok=True)
    return backup


def _copy(database: Path, staged: Path) -> int:
    """Copy the database in one snapshot, check the copy, and force it to the disk."""
    uri = f"{database.absolute().as_uri()}?mode=rw"  # never make one
    with (
        translated(),
        closing(
            sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_S)
        ) as connection,
    ):
        os.close(os.open(staged, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection.execute("VACUUM INTO ?", (str(staged),))
    with staged.open("rb") as copy:
        os.fsync(copy.fileno())
    return check_sound(staged, read_only=True)


def _published(staged: Path, folder: Path, commits: int, now: float) -> Backup:
    path = folder / f"platform-{_stamp(now)}-{commits}.db"
    staged.replace(path)
    sync_directory(folder)
    return Backup(float(int(now)), commits, path)


def _remove_unfinished(folder: Path) -> None:
    """Remove what makers of copies left when they were killed an hour ago or more."""
    for path in folder.glob(".*.tmp*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()


def outdated_backups(backups: Iterable[Backup]) -> list[Backup]:
    """Return those that are neither among the newest nor the newest of one of the last days."""
    newest_first = sorted(backups, key=lambda each: each.at, reverse=True)
    of_days: dict[int, Backup] = {}
    for each in newest_first:
        of_days.setdefault(int(each.at // 86400), each)
    kept = {each.path for each in newest_first[:NEWEST_KEPT]}
    kept.update(of_days[day].path for day in sorted(of_days, reverse=True)[:DAYS_KEPT])
    return [each for each in newest_first if each.path not in kept]


class BackupSchedule:
    """Makes a copy every so often, if anything was written since the last one.

    Args:
        paths: where the database and its copies are.
        every_s: the least time between two copies; the first is made at once.
    """

    def __init__(self, paths: PlatformPaths, *, every_s: float = EVERY_S) -> None:
        self._paths = paths
        self._every_s = every_s

    def take_if_due(self, commits: int, now: float) -> Backup | None:
        """Make a copy if one is due. `commits` is `PlatformState.commits()`.

        Not for a database on a server (`PlatformState.is_embedded`).

        Raises:
            CorruptContent: the database is damaged (see `recover`).
            StorageError: there is no room for a copy; the next call tries again.
        """
        newest = max(backups_of(self._paths), key=lambda each: each.at, default=None)
        if newest is not None and (
            newest.commits == commits or abs(now - newest.at) < self._every_s
        ):
            return None
        return take_backup(self._paths, now)


def check_database(paths: PlatformPaths) -> None:
    """Check the embedded database before it is used.

    Raises:
        CorruptContent: it is damaged, or it is gone though there are copies of it.
    """
    if _is_missing(paths.database):
        if backups_of(paths):
            raise damaged("Its file is gone or empty, though there are backups of it.")
        return
    check_sound(paths.database)


def recover(paths: PlatformPaths, now: float | None = None) -> Recovery | None:
    """Set a damaged database aside and put the best sound copy in its place.

    The best is the one with the most transactions; the main file of a database that only lost its
    log is one of them. Nobody may have the database open. Returns None if it is sound.

    Raises:
        CorruptContent: there is no sound copy; nothing has been moved.
    """
    make_directories(paths.root)
    with (
        storage_translated("Restoring the platform's database", paths.root),
        locked(opening_lock(paths)),
    ):
        try:
            check_database(paths)
        except CorruptContent as error:
            return _restored(paths, error, time.time() if now is None else now)
        return None


def opening_lock(paths: PlatformPaths) -> Path:
    """Return the file that is locked while the database is checked, migrated or restored."""
    return paths.database.with_name(f"{paths.database.name}.lock")


def _restored(paths: PlatformPaths, error: CorruptContent, now: float) -> Recovery:
    best = _best(paths)
    if best is None:
        raise CorruptContent(
            f"{error.message} There is no sound backup in {paths.backups}.",
            remedy=f"Move {paths.database} away to begin anew, or put a sound copy in its place."
            " What is deployed serves on meanwhile.",
        ) from error
    is_main = best.path == paths.database
    if is_main:
        # Whoever is killed below leaves no database; the next one needs a backup to restore from.
        best = _kept(best, paths, now)
    work = paths.root / ".restoring"
    discard(work)  # of somebody who was killed
    work.mkdir(mode=0o700)
    salvaged, staged = _staged(paths, best, work)
    aside = _set_aside(paths, now)
    staged.replace(paths.database)
    sync_directory(paths.root)
    discard(work)
    return Recovery(error.message, None if is_main else best.at, aside, salvaged)


def _staged(paths: PlatformPaths, best: Backup, work: Path) -> tuple[int, Path]:
    """Copy the backup, with what can be salvaged for it; return how many rows that were."""
    plain, richer, damaged_copy = (work / name for name in ("plain", "richer", "damaged"))
    data = best.path.read_bytes()  # desired state is small
    write_file(plain, data)
    write_file(richer, data)
    for of in (Path, log_of, index_of):
        if of(paths.database).exists():
            write_file(of(damaged_copy), of(paths.database).read_bytes())
    salvaged = salvage(damaged_copy, richer, best.path) if damaged_copy.exists() else 0
    if not salvaged or _sound_commits(richer) is None:
        return 0, plain
    with richer.open("rb") as file:
        os.fsync(file.fileno())
    return salvaged, richer


def _set_aside(paths: PlatformPaths, now: float) -> Path:
    """Move the damaged files to a folder of their own: the main one first, so it is missed."""
    aside = paths.root / f"damaged-{_stamp(now)}-{os.urandom(3).hex()}"
    aside.mkdir(mode=0o700)
    for path in (paths.database, log_of(paths.database), index_of(paths.database)):
        with suppress(FileNotFoundError):
            path.rename(aside / path.name)
    sync_directories((aside, paths.root))
    return aside


def _best(paths: PlatformPaths) -> Backup | None:
    """Return the sound copy with the most transactions, the main file among them."""
    candidates = backups_of(paths)
    alone = _sound_commits(paths.database) if whole_alone(paths.database) else None
    if alone is not None:
        candidates.append(Backup(0.0, alone, paths.database))
    candidates.sort(key=lambda each: (each.commits, each.at), reverse=True)
    return next((each for each in candidates if _sound_commits(each.path) is not None), None)


def _kept(main: Backup, paths: PlatformPaths, now: float) -> Backup:
    make_directories(paths.backups)
    staged = paths.backups / f".{os.urandom(8).hex()}.tmp"
    write_file(staged, main.path.read_bytes())
    return _published(staged, paths.backups, main.commits, now)


def _sound_commits(database: Path) -> int | None:
    """Return the transactions of a file without its log, if it is sound and holds the state."""
    if _is_missing(database):
        return None
    try:
        return check_sound(database, read_only=True) or None
    except CorruptContent:
        return None


def _is_missing(database: Path) -> bool:
    return not database.exists() or database.stat().st_size == 0


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime(_STAMP)
