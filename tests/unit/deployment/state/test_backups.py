"""Copies of the database: when they are made, which are kept, and what is put back."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dosirak.deployment.changes import Change
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.backups import (
    DAYS_KEPT,
    NEWEST_KEPT,
    Backup,
    BackupSchedule,
    backups_of,
    outdated_backups,
    recover,
    take_backup,
)
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.deployment.state.recovery import open_or_recover
from dosirak.deployment.state.soundness import check_sound, index_of, log_of
from dosirak.errors import CorruptContent, StorageError

Created = Callable[..., Change]


def add(state: PlatformState, change: Change) -> None:
    with state.transaction() as transaction:
        transaction.put_deployment(change.deployment)
        if change.revision is not None:
            transaction.add_revision(change.revision)


def names(state: PlatformState) -> list[str]:
    with state.reading() as reading:
        return [each.deployment.name for each in reading.states()]


def said(paths: PlatformPaths) -> tuple[list[str], list[str]]:
    """Open the state as the control plane does; return what is there and what was said."""
    told: list[str] = []
    state, recovery = open_or_recover(paths, say=told.append)
    found = names(state)
    state.close()
    assert (recovery is None) == (told == [])
    return found, told


def test_a_copy_is_made_every_five_minutes_if_anything_changed(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    schedule = BackupSchedule(paths)
    add(state, created())
    first = schedule.take_if_due(state.commits(), clock.now)
    assert first is not None
    add(state, created("rose"))
    clock.now += 299
    assert schedule.take_if_due(state.commits(), clock.now) is None
    clock.now += 1
    second = BackupSchedule(paths).take_if_due(state.commits(), clock.now)
    assert second is not None
    clock.now += 3000
    assert schedule.take_if_due(state.commits(), clock.now) is None
    assert backups_of(paths) == [second, first]
    assert (second.at, second.commits) == (clock.now - 3000, state.commits())


def test_a_copy_is_whole_private_and_the_only_file(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    add(state, created())
    with state.reading() as reading:
        reading.deployments()
        backup = take_backup(paths, clock.now)
    assert check_sound(backup.path, read_only=True) == state.commits()
    assert list(paths.backups.iterdir()) == [backup.path]
    assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(paths.backups.stat().st_mode) == 0o700


def test_copies_are_made_while_others_write(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    with state.transaction() as transaction:
        transaction.put_deployment(created().deployment)
        backup = take_backup(paths, clock.now)
    assert backup.commits == 0


def test_damage_is_not_copied(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    add(state, created())
    sound = take_backup(paths, clock.now)
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        connection.execute("UPDATE deployments SET configuration = '{}'")
    with pytest.raises(CorruptContent, match="'deployments'"):
        take_backup(paths, clock.now + 1)
    assert list(paths.backups.iterdir()) == [sound.path]


def test_what_a_killed_maker_left_is_removed_later(
    state: PlatformState, paths: PlatformPaths, clock: Any
) -> None:
    paths.backups.mkdir()
    old, new = paths.backups / ".1.tmp", paths.backups / ".2.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    backup = take_backup(paths, clock.now)
    assert set(paths.backups.iterdir()) == {new, backup.path}


def test_the_newest_are_kept_and_one_of_each_of_the_last_days() -> None:
    hour_s = 3600.0
    made = [Backup(hour_s * n, n, Path(f"{n}")) for n in range(24 * 30)]
    kept = set(made) - set(outdated_backups(made))
    newest = made[-NEWEST_KEPT:]
    of_days = [made[24 * (day + 1) - 1] for day in range(30 - DAYS_KEPT, 30)]
    assert kept == {*newest, *of_days}
    assert outdated_backups(newest) == []


def test_old_copies_go_when_new_ones_come(
    state: PlatformState, paths: PlatformPaths, clock: Any
) -> None:
    for _ in range(NEWEST_KEPT + 2):
        clock.now += 300
        take_backup(paths, clock.now)
    assert NEWEST_KEPT <= len(backups_of(paths)) <= NEWEST_KEPT + 1  # midnight may lie between


def test_a_sound_database_is_not_touched(
    state: PlatformState, paths: PlatformPaths, created: Created
) -> None:
    add(state, created())
    state.close()
    before = paths.database.read_bytes()
    assert recover(paths) is None
    assert said(paths) == (["iris"], [])
    assert paths.database.read_bytes() == before


@pytest.fixture
def backed_up(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> PlatformPaths:
    """A closed database with one deployment more than its newest backup has."""
    add(state, created())
    take_backup(paths, clock.now)
    add(state, created("rose"))
    state.close()
    return paths


def restored(paths: PlatformPaths, *expected: str) -> str:
    """Check that the backup was put back, and return what was said."""
    with pytest.raises(CorruptContent, match="database is damaged"):
        open_state(paths)
    found, told = said(paths)
    assert tuple(found) == (expected or ("iris",))
    (text,) = told
    assert "restored from the backup of 20270115T080000Z" in text
    assert said(paths) == (found, [])  # once
    return text


def test_a_damaged_database_is_set_aside_and_the_backup_put_back(backed_up: PlatformPaths) -> None:
    damaged = backed_up.database.read_bytes()
    damaged = damaged[:5000] + b"\xff" * 50_000 + damaged[55_000:]
    backed_up.database.write_bytes(damaged)
    text = restored(backed_up)
    (aside,) = backed_up.root.glob("damaged-*")
    assert str(aside) in text
    assert (aside / "platform.db").read_bytes() == damaged
    assert stat.S_IMODE(backed_up.database.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None])
def test_a_file_that_is_no_database_is_damage(
    backed_up: PlatformPaths, content: bytes | None
) -> None:
    if content is None:
        backed_up.database.unlink()
    else:
        backed_up.database.write_bytes(content)
    restored(backed_up)


def test_a_value_that_sqlite_thinks_sound_is_damage(backed_up: PlatformPaths) -> None:
    data = backed_up.database.read_bytes()
    at = data.rindex(b'"max_replicas":1')
    backed_up.database.write_bytes(data[:at] + b'"max_replicas":9' + data[at + 16 :])
    with closing(sqlite3.connect(backed_up.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with pytest.raises(CorruptContent, match="is not what was written"):
        open_state(backed_up)
    assert "iris" in said(backed_up)[0]


def test_the_newest_sound_backup_is_taken(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    add(state, created())
    take_backup(paths, clock.now)
    add(state, created("rose"))
    broken = take_backup(paths, clock.now + 1000)
    state.close()
    for path in (broken.path, paths.database):
        data = bytearray(path.read_bytes())
        data[4096 * 2 : 4096 * 3] = bytes(4096)
        path.write_bytes(data)
    restored(paths, "iris", "rose")  # the second one's rows are whole in the damaged file
    assert broken.path.exists()


def test_without_a_sound_backup_nothing_is_moved(
    state: PlatformState, paths: PlatformPaths, created: Created
) -> None:
    add(state, created())
    state.close()
    paths.database.write_bytes(b"rubbish" * 1000)
    before = {path: path.read_bytes() for path in paths.root.iterdir()}
    with pytest.raises(CorruptContent, match=r"no sound backup.*to begin anew"):
        open_or_recover(paths, say=print)
    assert {path: path.read_bytes() for path in paths.root.iterdir()} == before


def test_who_is_killed_while_restoring_is_followed_by_who_does_it_again(
    backed_up: PlatformPaths,
) -> None:
    # The damaged file is set aside already, its log not yet, and the copy is half written.
    aside = backed_up.root / "damaged-before"
    aside.mkdir()
    backed_up.database.rename(aside / "platform.db")
    log_of(backed_up.database).write_bytes(b"of the damaged file")
    (backed_up.root / ".restoring").mkdir()
    (backed_up.root / ".restoring" / "plain").write_bytes(b"half")
    found, told = said(backed_up)
    assert found == ["iris"]
    assert len(told) == 1
    assert not (backed_up.root / ".restoring").exists()
    kept = [path.read_bytes() for path in backed_up.root.glob("damaged-*/platform.db-wal")]
    assert kept == [b"of the damaged file"]


def test_a_migration_is_preceded_by_a_copy_and_fails_as_a_whole(
    paths: PlatformPaths, created: Created
) -> None:
    state = open_state(paths)
    add(state, created())
    state.close()
    assert backups_of(paths) == []
    # As if it were of an earlier schema: making the tables fails, for they are there.
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
    with pytest.raises(StorageError, match="already exists"):
        open_state(paths)
    (backup,) = backups_of(paths)
    assert check_sound(backup.path, read_only=True) == 1
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    assert said(paths) == (["iris"], [])


def test_other_files_in_the_folder_are_no_backups(paths: PlatformPaths) -> None:
    paths.backups.mkdir(parents=True)
    for name in ("platform.db", "platform-20270115T080000Z-x.db", "notes.txt"):
        (paths.backups / name).touch()
    assert backups_of(paths) == []


def test_an_index_without_frames_is_no_loss(backed_up: PlatformPaths) -> None:
    for content in (b"", b"short", bytes(32768), b"\xff" * 32768):
        index_of(backed_up.database).write_bytes(content)
        if content != b"\xff" * 32768:
            assert said(backed_up) == (["iris", "rose"], [])
