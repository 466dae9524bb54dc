"""Replicas as real processes: begun once, found again, ended whole."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dosirak import models
from dosirak.errors import Conflict, InvalidConfiguration, InvalidName
from dosirak.models.framework import framework, framework_names
from dosirak.store import Store
from dosirak.targets.control_groups import make_bounds, remove_groups
from dosirak.targets.local import LocalTarget
from dosirak.targets.processes import kill_marked

FAKES = Path(__file__).parents[2] / "fakes" / "plugins"


@pytest.fixture(scope="module")
def replica(shared_place: Any) -> str:
    """A ready replica that tests only look at."""
    return shared_place.ready(environment={"PASSWORD": "a-secret-value", "PLAIN": "yes"})


def test_a_replica_serves_on_its_socket(shared_place: Any, replica: str) -> None:
    seen = shared_place.seen(replica)

    assert (seen.alive, seen.ready, seen.stage) == (True, True, "serving")
    assert shared_place.call(replica, "double", value=4) == 8
    assert "hello from the start hook" in shared_place.log(replica)


def test_its_variables_are_those_of_the_order_and_not_the_controls(
    shared_place: Any, replica: str
) -> None:
    def variable(name: str) -> str:
        return shared_place.call(replica, "variable", name=name)

    assert variable("PASSWORD") == "a-secret-value"
    assert variable("DOSIRAK_TOKEN") == ""
    assert variable("DOSIRAK_HOME") == str(shared_place.paths.home)


def test_no_secret_is_written_or_shown_in_arguments(shared_place: Any, replica: str) -> None:
    folder = shared_place.paths.replicas / replica

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "order.json").stat().st_mode) == 0o600
    for path in filter(Path.is_file, folder.rglob("*")):
        assert b"a-secret-value" not in path.read_bytes(), path
    record = json.loads((folder / "process.json").read_text())
    for pid in (record["pid"], record["child"]):
        assert b"a-secret-value" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_another_target_finds_it_and_can_start_it_no_second_time(
    shared_place: Any, replica: str
) -> None:
    before = shared_place.seen(replica)
    other = LocalTarget(shared_place.paths)
    try:
        other.start(shared_place.order(replica=replica))
        found = other.look()[replica]
        assert (found.alive, found.pid) == (True, before.pid)
        assert found.upstream == before.upstream
        with pytest.raises(Conflict):
            other.forget(replica)
    finally:
        other.close()


def test_the_supervisor_is_small_and_in_a_session_of_its_own(
    shared_place: Any, replica: str
) -> None:
    pid = shared_place.seen(replica).pid
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kib = int(status.partition("VmRSS:")[2].split()[0])

    assert os.getsid(pid) == pid
    assert resident_kib < 24 * 1024


def test_stopping_finishes_what_is_under_way(place: Any, tmp_path: Path) -> None:
    replica = place.ready()
    pids = place.call(replica, "pids")
    marker = tmp_path / "begun"
    answers: list[str] = []
    asking = Thread(
        target=lambda: answers.append(place.call(replica, "wait", seconds=0.5, marker=str(marker)))
    )
    asking.start()
    place.wait_for(marker.exists)

    place.target.stop(replica)
    seen = place.ended(replica)
    asking.join()

    assert answers == ["done"]
    assert (seen.exit_code, seen.reason, seen.oom) == (0, "It was stopped.", False)
    place.wait_until_gone(*pids)
    # An id that was begun is never begun again.
    place.target.start(place.order(replica=replica))
    assert not place.seen(replica).alive


def test_a_replica_that_ends_by_itself_says_how_and_is_swept(place: Any) -> None:
    replica = place.ready()
    left = place.call(replica, "leave_behind")
    _, front = place.call(replica, "pids")
    assert place.is_running(left)

    os.kill(front, signal.SIGKILL)
    seen = place.ended(replica)

    assert seen.exit_code == -signal.SIGKILL
    assert seen.reason.startswith("It was ended by SIGKILL.")
    assert not place.is_running(left)


def test_with_its_supervisor_everything_ends(place: Any) -> None:
    replica = place.ready()
    pids = place.call(replica, "pids")
    left = place.call(replica, "leave_behind")

    os.kill(place.seen(replica).pid, signal.SIGKILL)
    seen = place.ended(replica)

    assert seen.reason == "Its supervisor was ended, and it with it."
    place.wait_until_gone(*pids, left)
    # Another process comes to the same, from the folder alone.
    other = LocalTarget(place.paths)
    assert other.look()[replica].reason == seen.reason
    other.close()


def test_one_whose_bundle_is_gone_says_so(place: Any) -> None:
    replica = place.started(bundle_id="0" * 64)

    assert "environment could not be made" in place.ended(replica).reason


def test_a_controller_that_ends_between_two_steps_leaves_what_is_found(place: Any) -> None:
    folder = place.paths.replicas / "half-begun"
    folder.mkdir(parents=True)
    assert "never begun" in place.seen("half-begun").reason
    (folder / "order.json").write_text("{}")
    other = LocalTarget(place.paths)
    assert "before it was started" in other.look()["half-begun"].reason
    # Its order was written: it is not begun once more.
    other.start(place.order(replica="half-begun"))
    assert not other.look()["half-begun"].alive
    other.forget("half-begun")
    assert not folder.exists()
    other.close()


def test_a_supervisor_without_its_whole_order_starts_nothing(place: Any, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        supervisor = subprocess.run(
            [sys.executable, "-c", "import sys; from dosirak.targets.replica_supervisor import main"
             "; sys.exit(main(sys.argv[1:]))", str(lock)],
            input=b'{"version": 1, "repl', cwd=tmp_path, pass_fds=(lock,), check=False,
        )  # fmt: skip
    finally:
        os.close(lock)
    assert supervisor.returncode == 1
    assert not (tmp_path / "process.json").exists()


def test_a_full_disk_does_not_stop_it(place: Any) -> None:
    order = place.order()
    logs = place.paths.logs / "tiny"
    logs.mkdir(parents=True, exist_ok=True)
    # Every write fails as on a full disk.
    (logs / f"r1-{order.replica}.log").symlink_to("/dev/full")
    place.target.start(order)
    place.until(order.replica, lambda seen: seen.ready)

    assert place.call(order.replica, "shout", times=3000) == 3000
    place.target.stop(order.replica)
    assert place.ended(order.replica).reason == "It was stopped."
    record = json.loads((place.paths.replicas / order.replica / "process.json").read_text())
    assert record["dropped_bytes"] > 3000 * 90


def test_one_that_needs_more_memory_than_it_may_have_is_seen_to(place: Any) -> None:
    bounds = make_bounds("probe", 64 << 20, None)
    remove_groups(bounds.groups)
    if not bounds.memory:
        pytest.skip("NO CONTROL GROUPS: that the system ends a replica for its memory is not seen.")
    replica = place.started(configuration={"resources": {"memory_bytes": 24 << 20}})
    seen = place.ended(replica)

    assert seen.oom
    assert seen.reason.startswith("It was ended by the system for its memory.")
    groups = json.loads((place.paths.replicas / replica / "order.json").read_text())["groups"]
    place.target.forget(replica)
    assert groups
    assert not any(Path(group).exists() for group in groups)


def test_a_model_that_drifted_never_becomes_ready(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tally-1.0.dist-info").mkdir()
    (tmp_path / "tally-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tally\nVersion: 1.0\n"
    )
    for path in (tmp_path, FAKES):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, FAKES))), prepend=":")
    framework.cache_clear()
    framework_names.cache_clear()
    tally = __import__("dosirak_tally")
    store = Store(place.paths.home / "store")
    model = models.save("votes", tally.Tally([2.0]), examples=[[1.0]], store=store)
    project = tmp_path / "project"
    project.mkdir()
    (project / "service.py").write_text(
        "import os\nimport dosirak\nimport dosirak_tally\n"
        "if 'DRIFT' in os.environ:\n"
        "    dosirak_tally.Tally.predict = lambda self, rows: [0.0 for _ in rows]\n"
        "@dosirak.service\nclass Votes:\n"
        f"    model = dosirak.model('{model.reference}')\n"
        "    @dosirak.api\n    def count(self, rows: list[list[float]]) -> list[float]:\n"
        "        return self.model.predict(rows)\n"
    )
    from dosirak import bundles

    bundle = bundles.build(project, store=store)
    replica = place.started(bundle_id=bundle.id, environment={"DRIFT": "1"})

    framework.cache_clear()
    framework_names.cache_clear()

    seen = place.until(replica, lambda seen: seen.ready or not seen.alive)
    assert not seen.ready
    assert seen.exit_code == 8
    assert "golden examples" in seen.reason


@pytest.mark.parametrize("replica", ["", "../x", "a/b", "A", ".x"])
def test_an_id_that_is_no_file_name_is_refused(place: Any, replica: str) -> None:
    with pytest.raises(InvalidName):
        place.target.start(place.order(replica=replica))


def test_what_is_no_replica_keeps_nobody_from_being_seen(place: Any) -> None:
    replicas, before = place.paths.replicas, set(place.target.look())
    (replicas / "with-a-strange-lock" / "lock").mkdir(parents=True)
    (replicas / "No Id").mkdir()
    (replicas / "a-file").write_text("")
    (replicas / "a-link").symlink_to(replicas / "nowhere")
    (replicas / "seen").mkdir()
    assert set(place.target.look()) == before | {"seen"}
    for strange in ("with-a-strange-lock/lock", "with-a-strange-lock", "No Id"):
        (replicas / strange).rmdir()
    for strange in ("a-file", "a-link"):
        (replicas / strange).unlink()
    place.target.forget("seen")


def test_service_options_reach_the_server_or_are_refused(place: Any) -> None:
    with pytest.raises(InvalidConfiguration, match="port"):
        place.target.start(place.order(configuration={"service_options": {"port": 1}}))


def test_a_controller_killed_at_any_step_of_a_start_leaves_nothing_that_is_not_found(
    place: Any,
) -> None:
    script = Path(__file__).with_name("killed_controllers.py")
    ran = subprocess.run(
        [sys.executable, str(script), str(place.paths.home), place.bundle_id],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    steps, code = map(int, ran.stdout.split())
    assert (steps > 8, code) == (True, 0)

    seen = place.target.look()
    replicas = [f"killed-{step}" for step in range(1, steps + 1)]
    begun = [replica for replica in replicas if replica in seen]
    # The one that nobody killed runs; so may those that were killed after its process was there.
    assert seen[replicas[-1]].alive
    assert len(begun) > 5
    for replica in begun:
        place.target.kill(replica)
    for replica in begun:
        place.ended(replica)
        place.target.forget(replica)
    assert not place.target.look().keys() & set(replicas)
    assert not any(kill_marked(place.paths.replicas / replica) for replica in replicas)


def test_killing_ends_it_with_all_its_processes(shared_place: Any, replica: str) -> None:
    # The last of those that share it.
    place = shared_place
    pids = place.call(replica, "pids")
    left = place.call(replica, "leave_behind")

    place.target.kill(replica)
    seen = place.ended(replica)
    place.target.kill(replica)

    assert seen.reason == "It was ended at once, as asked."
    place.wait_until_gone(*pids, left)
    place.target.forget(replica)
    assert replica not in place.target.look()
    assert "hello from the start hook" in place.log(replica)
