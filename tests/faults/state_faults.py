"""Processes that are killed while they change the platform's state, as a program of its own.

`python state_faults.py FAULT FOLDER COUNT SEED` prints one JSON object of what it found. It forks,
so it imports everything once and opens the state only in children or with no child alive.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import event
from sqlalchemy.engine import Engine

from dosirak.deployment.changes import Asked, BundlePin, create, update
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.audit_check import verify
from dosirak.deployment.state.audit_lines import AuditEntry
from dosirak.deployment.state.backups import BackupSchedule, backups_of
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.deployment.state.recovery import open_or_recover
from dosirak.deployment.state.soundness import index_of, log_of
from dosirak.errors import CorruptContent, StorageError


def begin(paths: PlatformPaths) -> None:
    """Make the state with one deployment."""
    state = open_state(paths)
    with state.transaction() as transaction:
        change = create("iris", BundlePin("iris:1", "1"), DeploymentConfiguration(), Asked(1.0))
        transaction.put_deployment(change.deployment)
        assert change.revision is not None
        transaction.add_revision(change.revision)
        AuditLog(paths, state).note(transaction, AuditEntry(1.0, "local", "create"))
    state.close()


def change_once(state: PlatformState, audit: AuditLog) -> int:
    """Make one revision with everything that comes with it; return its number."""
    with state.transaction() as transaction:
        deployment = transaction.deployment("iris")
        change = update(deployment, None, Asked(2.0), bundle=BundlePin("iris:n", "n"))
        transaction.put_deployment(change.deployment)
        assert change.revision is not None
        transaction.add_revision(replace(change.revision, note="x" * 3000))
        for each in change.events:
            transaction.add_event(each)
        audit.note(transaction, AuditEntry(2.0, "local", "update", str(change.revision.number)))
    audit.flush()
    return change.revision.number


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def write_until_killed(paths: PlatformPaths, acknowledged: int) -> NoReturn:
    state = open_state(paths)
    audit = AuditLog(paths, state)
    schedule = BackupSchedule(paths, every_s=0.0)
    while True:
        os.write(acknowledged, b"%d\n" % change_once(state, audit))
        if random.random() < 0.2:
            schedule.take_if_due(state.commits(), time.time())


def killed(paths: PlatformPaths) -> int:
    """Start a writer, kill it at some moment, and return the last change that it promised."""
    readable, writable = os.pipe()
    child = fork(lambda: write_until_killed(paths, writable))
    os.close(writable)
    select.select([readable], [], [], 30)  # at least one change is made, or it has failed
    time.sleep(random.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(readable, "rb") as promised:
        return int(promised.read().split()[-1])


def kills(paths: PlatformPaths, count: int) -> dict[str, Any]:
    """F-45: kill -9 in transactions; what was promised is there, once, with its audit entry."""
    begin(paths)
    lost = wrong = 0
    for _ in range(count):
        promised = killed(paths)
        state = open_state(paths)  # checks the whole file
        AuditLog(paths, state).flush()
        with state.reading() as reading:
            changes = reading.deployment("iris").latest_revision
        lost += changes < promised
        wrong += not consistent(paths, state)
        state.close()
    return {"lost": lost, "wrong": wrong, "changes": changes}


def _lines(paths: PlatformPaths) -> list[bytes]:
    """Return the whole lines of the audit log; a torn one may be followed by a whole one."""
    return [line for line in paths.audit_log.read_bytes().split(b"\n") if line.endswith(b'"}')]


def full(paths: PlatformPaths, count: int) -> dict[str, Any]:
    """F-45: the disk fills up at any byte (here: files may not grow); nothing is half written."""
    begin(paths)
    state = open_state(paths)
    audit = AuditLog(paths, state)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    refused = wrong = 0
    for _ in range(count):
        sizes = [path.stat().st_size for path in paths.root.iterdir() if path.is_file()]
        limit = random.choice(sizes) + random.randrange(8000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        try:
            for _ in range(5):
                change_once(state, audit)
        except StorageError:
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        audit.flush()
        wrong += not consistent(paths, state)
    state.close()
    open_state(paths).close()
    return {"refused": refused, "wrong": wrong}


def consistent(paths: PlatformPaths, state: PlatformState) -> bool:
    """Whether every change is there as a whole, with one entry in a sound log."""
    with state.reading() as reading:
        deployment, revisions = reading.deployment("iris"), reading.revisions("iris")
    entries = [json.loads(line) for line in _lines(paths) if line.startswith(b'{"seq"')]
    told = [int(each["object"]) for each in entries if each["action"] == "update"]
    numbers = list(range(1, deployment.latest_revision + 1))
    return sorted(revisions) == numbers and told == numbers[1:] and verify(paths, state).sound


def writers(paths: PlatformPaths, count: int) -> dict[str, Any]:
    """F-45: twenty processes write at the same time, and none is told that it is locked."""
    begin(paths)

    def write() -> None:
        state = open_state(paths)
        audit = AuditLog(paths, state)
        for _ in range(count):
            change_once(state, audit)
        state.close()

    children = [fork(write) for _ in range(20)]
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    state = open_state(paths)
    with state.reading() as reading:
        revisions = len(reading.revisions("iris"))
    return {"failed": failed, "revisions": revisions, "sound": verify(paths, state).sound}


def migrations(paths: PlatformPaths, every: int) -> dict[str, Any]:
    """F-46: killed at each statement of the first migration; the next start migrates anew."""
    points = done = 0
    while not done:
        points += every
        home = PlatformPaths(paths.home / str(points))
        child = fork(partial(_killed_at, home, points))
        status = os.waitpid(child, 0)[1]
        done = status == 0
        assert done or os.WTERMSIG(status) == signal.SIGKILL, status
        begin(home)
    return {"points": points}


def _killed_at(paths: PlatformPaths, point: int) -> None:
    left = point

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    open_state(paths)


def logs(paths: PlatformPaths, count: int) -> dict[str, Any]:
    """F-45: a log (-wal) that was deleted or damaged after a kill is seen, or nothing was lost."""
    begin(paths)
    silent = seen = half = 0
    for _ in range(count):
        promised = killed(paths)
        log = log_of(paths.database)
        kept = {path: path.read_bytes() for path in (paths.database, log, index_of(paths.database))}
        data = bytearray(kept[log])
        if random.random() < 0.3:
            log.unlink()
        else:
            data[random.randrange(len(data))] ^= random.randrange(1, 256)
            log.write_bytes(data)
        try:
            state = open_state(paths)
        except CorruptContent:
            seen += 1
            silent += is_opened(paths)  # what was damage stays damage until it is restored
            half += not is_restored(paths)
        else:
            with state.reading() as reading:
                silent += reading.deployment("iris").latest_revision < promised
            state.close()
        for path, content in kept.items():
            path.write_bytes(content)
    return {"silent": silent, "half": half, "seen": seen}


def is_restored(paths: PlatformPaths) -> bool:
    """Whether a damaged state comes back whole, if there is anything that it can come from."""
    try:
        state, recovery = open_or_recover(paths, say=str)
    except CorruptContent:
        return not backups_of(paths)
    with state.reading() as reading:
        deployment, revisions = reading.deployment("iris"), reading.revisions("iris")
    state.close()
    return recovery is not None and sorted(revisions) == list(
        range(1, deployment.latest_revision + 1)
    )


def is_opened(paths: PlatformPaths) -> bool:
    try:
        open_state(paths).close()
    except CorruptContent:
        return False
    return True


FAULTS = {
    "kills": kills,
    "full": full,
    "writers": writers,
    "migrations": migrations,
    "logs": logs,
}

if __name__ == "__main__":
    _, name, folder, number, seed = sys.argv
    random.seed(int(seed))
    print(json.dumps(FAULTS[name](PlatformPaths(Path(folder)), int(number))))
