"""F-01, F-56 to F-60: replicas and the control plane killed, the machine restarted."""

from __future__ import annotations

import os
import random
import signal
import socket
import time

import psutil
from deployed import until
from fault_table import SHARE, count
from test_rollouts import await_revision, load_while


def test_f01_a_replica_killed_every_two_seconds_loses_nothing(
    platform, bundles, name, reached, on_loop
):
    kills, rate_per_s = count(2, 30), 200 if SHARE else 50
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    chance = random.Random(1)
    killed: list[int] = []

    def kill() -> None:
        while len(killed) < kills:
            until(lambda: len(ready(platform, name)) == 2)
            victim = chance.choice(ready(platform, name))
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            time.sleep(2.0)

    ledger = on_loop(load_while(platform, name, kill, rate_per_s))
    # While one of two starts, the other may have to refuse: that is an answer, and not a loss.
    whole = ledger.count("right") + ledger.count("refused") == ledger.sent()
    reached(
        "F-01",
        f"{kills} replicas killed, one every two seconds, of two, at {rate_per_s} requests/s",
        "0 lost on idempotent routes",
        str(ledger),
        whole,
    )
    assert whole, str(ledger)


def ready(platform, name) -> list[int]:
    return [one["pid"] for one in platform.replicas(name) if one["phase"] == "ready"]


def test_f56_the_control_plane_killed_at_random_during_rollouts(
    platform, bundles, name, reached, on_loop
):
    kills = count(2, 200)
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    chance = random.Random(2)
    back_s: list[float] = []

    def kill() -> None:
        version = 1
        for number in range(kills):
            version = 3 - version
            until(lambda: platform.view(name) is not None)
            platform.ask(
                "PATCH",
                f"/deployments/{name}",
                {"bundle": bundles[version - 1], "configuration": {"keep_previous_s": 0}},
            )
            time.sleep(chance.random() * 5)
            platform.kill_control()
            began_s = time.monotonic()
            platform.start()
            until(lambda: platform.view(name) is not None)
            back_s.append(time.monotonic() - began_s)
            if number % 4 == 3:
                await_revision(platform, name, version)
        await_revision(platform, name, version)

    ledger = on_loop(load_while(platform, name, kill, 100))
    until(lambda: len(platform.replicas(name)) == 2)
    supervisors = [one for one in psutil.process_iter() if _supervises(platform, one)]
    whole = ledger.count("right") == ledger.sent()
    reached(
        "F-56",
        f"{kills} kills of the control plane at random moments of rollouts, 100 requests/s",
        "0 lost; the state is consistent; no orphan process",
        f"{ledger}; {len(supervisors)} replicas have a process, 2 are wanted; it answers again"
        f" after {sorted(back_s)[len(back_s) // 2]:.1f} s (median)",
        whole and len(supervisors) == 2,
    )
    assert whole, str(ledger)
    assert len(supervisors) == 2


def _supervises(platform, process: psutil.Process) -> bool:
    """Whether a process is the supervisor of one of this platform's replicas."""
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "replica_supervisor" in line and line.split()[-1] in platform.replica_folders()


def test_f56_without_a_control_plane_everything_serves_and_is_adopted(
    platform, bundles, name, reached, on_loop
):
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    before = sorted(ready(platform, name))
    away_s = 3.0 + 600 * SHARE

    def away() -> None:
        platform.kill_control()
        time.sleep(away_s)

    ledger = on_loop(load_while(platform, name, away, 100))
    platform.start()
    until(lambda: len(ready(platform, name)) == 2)
    after = sorted(ready(platform, name))
    whole = ledger.count("right") == ledger.sent()
    reached(
        "F-56",
        f"the control plane killed and away for {away_s:.0f} s",
        "the data plane serves 100 %; replicas are adopted, none is started anew",
        f"{ledger}; the same replicas: {before == after}",
        whole and before == after,
    )
    assert whole, str(ledger)
    assert before == after


def test_f57_what_ran_runs_again_after_the_machine_was_started_anew(
    platform, bundles, name, reached
):
    platform.deploy(name, bundles[0], "--min", "2", "--max", "2")
    for process in platform.processes():
        try:
            process.kill()
        except psutil.Error:
            continue
    until(lambda: not platform.processes())
    began_s = time.monotonic()
    platform.start()
    until(lambda: platform.status_of(name, "version") == 200)
    took_s = time.monotonic() - began_s
    until(lambda: len(ready(platform, name)) == 2)
    reached(
        "F-57",
        "every process of the platform killed, then `platform start`",
        "the desired state is restored",
        f"it answers after {took_s:.1f} s",
        True,
    )
    assert platform.call(name, "double", value=4) == 8


def test_f59_a_port_in_use_is_one_line_that_says_by_whom(platform, bundles, name, reached):
    platform.command("platform", "stop", "--all")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", platform.control_port))
        holder.listen()
        refused = platform.command(
            "platform", "start", "--control-port", str(platform.control_port), expect=None
        )
    reached(
        "F-59",
        "the control plane's port held by another process",
        "one line that names the holder, exit code not 0",
        refused.stderr.strip()[-200:],
        refused.returncode != 0 and str(os.getpid()) in refused.stderr,
    )
    assert refused.returncode != 0
    assert str(os.getpid()) in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
