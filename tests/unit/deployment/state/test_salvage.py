"""What is newer than the backup and whole in the damaged file is kept; the rest is the backup's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from dosirak.deployment.changes import Asked, BundlePin, Change, update
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.records import DeploymentState, Event, Replica, ReplicaPhase
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.audit_check import verify
from dosirak.deployment.state.audit_lines import AuditEntry
from dosirak.deployment.state.backups import Recovery, take_backup
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.deployment.state.recovery import open_or_recover
from dosirak.deployment.state.tokens import check_token, create_token, revoke_token
from dosirak.errors import CorruptContent, Unauthorized

Created = Callable[..., Change]


def write(state: PlatformState, change: Change, *replicas: str) -> None:
    with state.transaction() as transaction:
        transaction.put_deployment(change.deployment)
        if change.revision is not None:
            transaction.add_revision(change.revision)
        for name in replicas:
            transaction.put_replica(
                Replica(
                    name,
                    change.deployment.name,
                    change.deployment.latest_revision,
                    ReplicaPhase.READY,
                    1.0,
                    1.0,
                )
            )
        for event in change.events:
            transaction.add_event(event)


@pytest.fixture
def changed(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> dict[str, DeploymentState]:
    """A backup with one deployment; after it, that one is updated and another one made."""
    first = created()
    write(state, first, "r1")
    take_backup(paths, clock.now)
    write(state, update(first.deployment, None, Asked(2.0), bundle=BundlePin("iris:2", "2")), "r2")
    write(state, created("rose"), "r3")
    with state.reading() as reading:
        before = {each.deployment.name: each for each in reading.states()}
    state.close()
    return before


def damage(paths: PlatformPaths, *statements: str) -> None:
    """Change the database behind its back."""
    with closing(sqlite3.connect(paths.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def recovered(paths: PlatformPaths) -> tuple[dict[str, DeploymentState], Recovery]:
    with pytest.raises(CorruptContent):
        open_state(paths)
    state, recovery = open_or_recover(paths, say=str)
    with state.reading() as reading:
        found = {each.deployment.name: each for each in reading.states()}
        commits = reading.commits()
    state.close()
    assert recovery is not None
    again, none = open_or_recover(paths, say=str)
    assert again.commits() == commits
    again.close()
    assert none is None
    return found, recovery


def test_everything_but_the_damaged_row_is_as_it_was(
    changed: dict[str, DeploymentState], paths: PlatformPaths
) -> None:
    damage(paths, "UPDATE events SET message = 'x' WHERE id = 1")
    found, recovery = recovered(paths)
    assert found == changed
    assert recovery.salvaged > 5
    assert f"{recovery.salvaged} rows could be read" in str(recovery)


def test_a_damaged_deployment_is_the_backups_with_what_belongs_to_it(
    changed: dict[str, DeploymentState], paths: PlatformPaths
) -> None:
    damage(paths, "UPDATE deployments SET replicas = 77 WHERE name = 'iris'")
    found, _ = recovered(paths)
    assert found["rose"] == changed["rose"]
    assert found["iris"].deployment.latest_revision == 1
    assert found["iris"].deployment.replicas == 1


def test_a_deployment_never_speaks_of_a_revision_that_is_lost(
    changed: dict[str, DeploymentState], paths: PlatformPaths
) -> None:
    damage(
        paths,
        "UPDATE revisions SET note = 'x' WHERE deployment = 'iris' AND number = 2",
        "UPDATE revisions SET note = 'x' WHERE deployment = 'rose'",
    )
    found, _ = recovered(paths)
    assert list(found) == ["iris"]
    assert found["iris"].deployment.latest_revision == 1
    assert sorted(found["iris"].revisions) == [1]
    assert [each.id for each in found["iris"].replicas] == ["r1"]


def test_a_damaged_page_costs_what_is_on_it(
    state: PlatformState, paths: PlatformPaths, created: Created, clock: Any
) -> None:
    write(state, created("d000"))
    take_backup(paths, clock.now)
    for number in range(1, 60):
        write(state, created(f"d{number:03}", environment={"X": "y" * 300}))
    state.close()
    data = bytearray(paths.database.read_bytes())
    at = data.index(b"d030" + b"running") // 4096 * 4096
    data[at : at + 4096] = bytes(4096)
    paths.database.write_bytes(data)
    found, _ = recovered(paths)
    assert 50 <= len(found) < 60
    assert "d030" not in found
    assert {"d000", "d001", "d059"} <= set(found)


def test_a_token_that_was_revoked_stays_so_and_the_audit_log_stays_sound(
    paths: PlatformPaths, clock: Any
) -> None:
    state = open_state(paths, clock=clock)
    audit = AuditLog(paths, state)
    with state.transaction() as transaction:
        token = create_token(transaction, "ci", ["admin"])
        transaction.add_event(Event(1.0, "iris", "kind", "message"))
    take_backup(paths, clock.now)
    with state.transaction() as transaction:
        revoke_token(transaction, "ci")
        audit.note(transaction, AuditEntry(1.0, "local", "token.revoke"))
    audit.flush()
    state.close()
    damage(paths, "UPDATE events SET message = 'x'")
    state, recovery = open_or_recover(paths, say=str, clock=clock)
    assert recovery is not None
    with pytest.raises(Unauthorized):
        check_token(state, token.text, None)
    report = verify(paths, state)
    assert (report.sound, report.entries, report.notes) == (True, 1, ())
    state.close()


def test_what_is_older_than_the_backup_is_not_taken(
    changed: dict[str, DeploymentState], paths: PlatformPaths, clock: Any
) -> None:
    newer = take_backup(paths, clock.now + 1000)
    damage(
        paths,
        "UPDATE events SET message = 'x' WHERE id = 1",
        f"UPDATE turn SET commits = {newer.commits - 1}",
    )
    found, recovery = recovered(paths)
    assert found == changed
    assert recovery.salvaged == 0
    assert "later changes are lost" in str(replace(recovery, salvaged=0))
