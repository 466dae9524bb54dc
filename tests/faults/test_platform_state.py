"""F-45, F-46: the platform's state under kill -9, flipped bytes, lost logs and many writers.

Few faults of each kind run with the other tests; as many as the catalogue asks for are slow.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from state_faults import begin, change_once

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.backups import take_backup
from dosirak.deployment.state.database import open_state
from dosirak.deployment.state.recovery import open_or_recover
from dosirak.errors import CorruptContent

PROGRAM = Path(__file__).with_name("state_faults.py")
SEED = 20261123
slow = pytest.mark.slow


def faults(name: str, folder: Path, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, name, folder, str(count), str(SEED)],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("count", [4, pytest.param(500, marks=[slow, pytest.mark.timeout(1800)])])
def test_a_killed_writer_loses_nothing_that_it_promised(tmp_path: Path, count: int) -> None:
    found = faults("kills", tmp_path, count)
    assert found.pop("changes") > count
    assert found == {"lost": 0, "wrong": 0}


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=slow)])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, count: int) -> None:
    found = faults("full", tmp_path, count)
    assert found["wrong"] == 0
    assert found["refused"] > 0


@pytest.mark.parametrize("count", [1, pytest.param(30, marks=slow)])
def test_twenty_processes_write_at_the_same_time(tmp_path: Path, count: int) -> None:
    found = faults("writers", tmp_path, count)
    assert found == {"failed": 0, "revisions": 1 + 20 * count, "sound": True}


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=slow)])
def test_a_killed_migration_is_made_anew(tmp_path: Path, every: int) -> None:
    assert faults("migrations", tmp_path, every)["points"] > 20


@pytest.mark.parametrize("count", [4, pytest.param(300, marks=[slow, pytest.mark.timeout(1800)])])
def test_a_lost_or_damaged_log_is_seen(tmp_path: Path, count: int) -> None:
    found = faults("logs", tmp_path, count)
    assert (found["silent"], found["half"]) == (0, 0)
    assert found["seen"] > 0


def everything(paths: PlatformPaths) -> dict[str, Any]:
    """Read all that there is, and write once."""
    state = open_state(paths)
    try:
        with state.reading() as reading:
            found = {
                "states": reading.states(),
                "revisions": reading.revisions("iris"),
                "events": reading.events(),
                "fact": reading.fact("fact"),
            }
        with state.transaction() as transaction:
            transaction.put_fact("fact", "value")
        return found
    finally:
        state.close()


@pytest.mark.parametrize("count", [25, pytest.param(3000, marks=[slow, pytest.mark.timeout(1800)])])
def test_flipped_bytes_are_seen_or_change_nothing(tmp_path: Path, count: int) -> None:
    """Flips where nothing is stored (free space within pages) change nothing and are none."""
    chance = random.Random(SEED)
    paths = PlatformPaths(tmp_path)
    begin(paths)
    state = open_state(paths)
    for _ in range(5):
        change_once(state, AuditLog(paths, state))
    with state.transaction() as transaction:
        transaction.put_fact("fact", "value")
    state.close()
    take_backup(paths, 1_800_000_000.0)
    sound, before = paths.database.read_bytes(), everything(paths)
    seen = 0
    for _ in range(count):
        data = bytearray(sound)
        # Half of them in the first page, where the file's header and the schema are.
        at = chance.randrange(4096 if chance.random() < 0.5 else len(data))
        data[at] ^= chance.randrange(1, 256)
        paths.database.write_bytes(data)
        try:
            assert everything(paths) == before, at
        except CorruptContent:
            seen += 1
            state, recovery = open_or_recover(paths, say=str)
            state.close()
            assert recovery is not None
            assert everything(paths) == before
    assert seen > 0
