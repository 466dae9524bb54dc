"""Everything is stopped as told: the next start finds no crash."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from dosirak.deployment.changes import Asked, BundlePin, create
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.observed import observe
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.records import Replica, ReplicaPhase
from dosirak.deployment.state.database import open_state
from dosirak.targets.local import LocalTarget
from dosirak.targets.local_platform import stop_everything
from dosirak.targets.replica_folder import ReplicaFolder


def _end_when_told(folder: ReplicaFolder, lock: int) -> None:
    """Hold a replica's lock as its supervisor does, until the file is there that says stop."""
    end_s = time.monotonic() + 60
    while not (folder.path / "stop").exists() and time.monotonic() < end_s:
        time.sleep(0.005)
    os.close(lock)


def test_replicas_that_were_told_to_stop_have_not_failed(tmp_path: Path) -> None:
    paths = PlatformPaths(tmp_path)
    change = create("iris", BundlePin("iris:1", "a" * 64), DeploymentConfiguration(), Asked(1.0))
    assert change.revision is not None
    with contextlib.closing(open_state(paths)) as state, state.transaction() as transaction:
        transaction.add_revision(change.revision)
        transaction.put_deployment(change.deployment)
        for name in ("serving", "crashed"):
            transaction.put_replica(Replica(name, "iris", 1, ReplicaPhase.READY, 1.0, 2.0, 2.0))
    folders = [ReplicaFolder.of(paths.replicas, name) for name in ("serving", "crashed")]
    for folder in folders:
        folder.make()
    lock = folders[0].lock()
    assert lock is not None
    supervisor = threading.Thread(target=_end_when_told, args=(folders[0], lock))
    supervisor.start()

    assert stop_everything(paths) == 1
    supervisor.join()

    target = LocalTarget(paths)
    with contextlib.closing(open_state(paths)) as state, state.reading() as reading:
        found = observe(reading.state("iris"), target.look(), reading.now)
    target.close()
    phases = {replica.id: replica.phase for replica in found.state.replicas}
    assert phases == {"serving": ReplicaPhase.STOPPED, "crashed": ReplicaPhase.FAILED}
    assert [event.replica for event in found.events] == ["crashed"]
    assert found.state.deployment.rollout is not None
    assert found.state.deployment.rollout.crashes == 1
