"""Envoy outlives who started it, is found again, and is started again with what there was."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from routed import HERE, Routed, revision, until

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.router.envoy_router import EnvoyRouter
from dosirak.deployment.router.files import WatchedFiles
from dosirak.deployment.router.process import EnvoyProcess, started_at
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream
from dosirak.errors import Unavailable


@pytest.fixture
def alone() -> Iterator[Routed]:
    """A router that is not started, and a replica."""
    one = Routed()
    one.replica("r")
    try:
        yield one
    finally:
        one.close()


def other_control(routed: Routed) -> EnvoyRouter:
    return EnvoyRouter(PlatformPaths(routed.folder / "home"), routed.settings)


def pid_of(routed: Routed) -> int:
    found = EnvoyProcess(routed.folder / "home/platform/router").found()
    assert found is not None
    return found.pid


def served(routed: Routed) -> RoutedDeployment:
    return RoutedDeployment("kept", (revision(1, 100, routed.replicas[0]),))


_OWNER = """
import os, sys, time
from pathlib import Path
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.router.envoy_router import EnvoyRouter
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import *
router = EnvoyRouter(PlatformPaths(Path(sys.argv[2])), RouterSettings(port=int(sys.argv[3])))
router.ensure_running()
replica = RoutedRevision(1, 100, (Upstream("r", sys.argv[4]),))
print(router.apply(RoutingTable((RoutedDeployment("kept", (replica,)),))), flush=True)
time.sleep(600)
"""


def test_it_serves_on_when_its_owner_is_killed_and_is_adopted(alone: Routed) -> None:
    owner = subprocess.Popen(
        [
            *(sys.executable, "-c", _OWNER, str(HERE), str(alone.folder / "home")),
            *(str(alone.port), str(alone.replicas[0].socket)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    version = int(owner.stdout.readline())
    before = pid_of(alone)
    assert os.getsid(before) == before
    assert os.getsid(before) != os.getsid(owner.pid)
    owner.kill()
    owner.communicate()
    assert alone.ask("/kept/x").status == 200
    alone.router.ensure_running()
    assert pid_of(alone) == before
    assert alone.router.applied_version() == version
    assert alone.put(served(alone)) == version
    assert alone.put(RoutedDeployment("more", served(alone).revisions)) > version
    assert alone.ask("/more/x").status == 200


def test_it_inherits_nothing_but_its_lock(alone: Routed) -> None:
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    alone.router.ensure_running()
    os.close(kept)
    folder = alone.folder / "home/platform/router"
    held = [str(one.readlink()) for one in Path(f"/proc/{pid_of(alone)}/fd").iterdir()]
    foreign = [
        path
        for path in held
        if path.startswith("/") and not path.startswith((str(folder), "/dev/null", "/proc"))
    ]
    assert foreign == []
    assert held.count("/dev/null") == 1
    assert Path(f"/proc/{pid_of(alone)}/cwd").readlink() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_it_is_started_again_with_what_there_was(alone: Routed) -> None:
    alone.router.ensure_running()
    version = alone.put(served(alone))
    before = pid_of(alone)
    os.kill(before, signal.SIGKILL)
    until(lambda: not EnvoyProcess(alone.folder / "home/platform/router").running)
    assert alone.router.applied_version() == 0
    assert alone.router.in_flight("r") == 0
    assert alone.router.traffic() == ()
    table = RoutingTable((served(alone), RoutedDeployment("late", served(alone).revisions)))
    later = alone.router.apply(table)
    assert later > version
    alone.router.ensure_running()
    assert pid_of(alone) != before
    assert alone.router.applied_version() == later
    assert {alone.ask(path).status for path in ("/kept/x", "/late/x")} == {200}


def test_who_has_the_port_is_named(alone: Routed) -> None:
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", alone.port))
        foreign.listen()
        with pytest.raises(Unavailable, match=rf"process {os.getpid()} \(") as refused:
            alone.router.ensure_running()
    assert "\n" not in refused.value.message
    alone.router.ensure_running()


def test_a_record_that_names_another_process_is_not_believed(alone: Routed) -> None:
    alone.router.ensure_running()
    record = alone.folder / "home/platform/router/process.json"
    right = record.read_text()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record.write_text(json.dumps({"pid": bystander.pid, "started": 1}))
    assert EnvoyProcess(record.parent).found() is None
    record.write_text(right)
    alone.router.stop()
    assert bystander.poll() is None
    bystander.communicate(b"")


def test_a_damaged_file_does_not_keep_it_from_starting(alone: Routed) -> None:
    alone.router.ensure_running()
    version = alone.put(served(alone))
    alone.router.stop()
    folder = alone.folder / "home/platform/router"
    for name in ("clusters.json", "routes-main.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
    control = other_control(alone)
    control.ensure_running()
    assert alone.ask("/kept/x").status == 404
    assert control.apply(RoutingTable((served(alone),))) > version
    until(lambda: alone.ask("/kept/x").status == 200)


def test_stopping_lets_requests_end(alone: Routed) -> None:
    alone.router.ensure_running()
    alone.put(served(alone))
    pid, answers = pid_of(alone), list[int]()
    asking = threading.Thread(target=lambda: answers.append(alone.ask("/kept/slow?ms=700").status))
    asking.start()
    until(lambda: alone.router.in_flight("r") == 1)
    alone.router.stop()
    asking.join(30)
    assert answers == [200]
    assert started_at(pid) is None
    alone.router.stop()


def test_the_access_log_is_put_aside_when_it_is_long() -> None:
    routed = Routed(access_log_bytes=2000)
    try:
        routed.router.ensure_running()
        log = routed.folder / "home/platform/router/access.log"

        def put_aside() -> bool:
            routed.ask("/nobody")
            routed.router._admin.tell("/reopen_logs")
            routed.router.ensure_running()
            return log.with_name("access.log.1").exists()

        until(put_aside)
        routed.ask("/nobody", {"X-Request-Id": "after"})
        routed.router._admin.tell("/reopen_logs")
        until(lambda: any(line["request_id"] == "after" for line in routed.log))
    finally:
        routed.close()


def test_two_hundred_deployments_are_as_easy_as_they_are_many() -> None:
    routed = Routed(health_path="")
    replica = routed.replica("r").upstream
    sizes = dict[int, int]()

    def deployment(number: int) -> RoutedDeployment:
        revisions = (
            RoutedRevision(1, 0, (replica,)),
            RoutedRevision(2, 100, (replica, Upstream(f"{number}", f"/nowhere/{number}"))),
        )
        return RoutedDeployment(f"d{number}", revisions)

    try:
        routed.router.ensure_running()
        for many in (100, 200):
            routed.put(*(deployment(number) for number in range(many)))
            files = WatchedFiles(routed.folder / "home/platform/router")
            files.load()
            sizes[many] = sum(
                (routed.folder / f"home/platform/router/{name}.json").stat().st_size
                for name in ("clusters", "routes-main")
            )
        assert sizes[200] < 2.1 * sizes[100]
        statuses = {routed.ask(f"/d{number}/x").status for number in range(0, 200, 7)}
        assert statuses == {200}
        # Each file that Envoy watches takes one of the few that a user may have.
        pid = pid_of(routed)
        watching = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum("inotify" in path for path in watching) < 10
    finally:
        routed.close()


def test_a_home_may_have_a_long_path(tmp_path: Path) -> None:
    routed = Routed()
    deep = tmp_path / ("deep" * 30)
    routed.router = EnvoyRouter(PlatformPaths(deep), routed.settings)
    try:
        routed.router.ensure_running()
        assert routed.router.apply(RoutingTable()) == routed.router.applied_version() > 0
    finally:
        routed.close()
