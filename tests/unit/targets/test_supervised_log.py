"""A log that is bounded, and a disk that does not take it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from dosirak.targets.replica_logs import LogTail, follow
from dosirak.targets.supervised_log import Log


def _log(folder: Path, *, size_bytes: int = 1 << 20, parts: int = 2, name: str = "log") -> Log:
    return Log(str(folder / name), str(folder / "record"), size_bytes, parts)


def _wait_for_line(path: Path, end: bytes) -> None:
    end_s = time.monotonic() + 30
    while not path.exists() or not path.read_bytes().endswith(end):
        assert time.monotonic() < end_s
        time.sleep(0.002)


def test_what_is_written_is_there_at_the_end_with_the_last_record(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.keep({"stage": "one"})
    for number in range(100):
        log.write(f"line {number}\n".encode())
    log.keep({"stage": "two"})
    log.close()

    assert (tmp_path / "log").read_text().splitlines() == [f"line {n}" for n in range(100)]
    assert json.loads((tmp_path / "record").read_text())["stage"] == "two"
    assert log.last_lines().splitlines()[-1] == "line 99"


def test_it_is_rotated_by_size_and_keeps_so_many_parts(tmp_path: Path) -> None:
    log = _log(tmp_path, size_bytes=1000, parts=2)
    for number in range(20):
        log.write(b"x" * 290 + b"%09d\n" % number)
        _wait_for_line(tmp_path / "log", b"%09d\n" % number)
    log.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_what_a_full_disk_does_not_take_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = _log(tmp_path)
    log.write(b"lost\n")
    end_s = time.monotonic() + 30
    while not log.dropped_bytes:
        assert time.monotonic() < end_s
        time.sleep(0.005)
    (tmp_path / "log").unlink()
    log.write(b"kept\n")
    log.close()

    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1] == "kept"
    assert "5 bytes of output were dropped" in lines[0]


def test_a_stuck_disk_holds_up_nobody(tmp_path: Path) -> None:
    # A pipe that nobody reads: opening it does not return, as writing to a dead disk does not.
    os.mkfifo(tmp_path / "log")
    log = _log(tmp_path)
    for _ in range(64):
        log.write(b"x" * (1 << 16))

    assert log.dropped_bytes >= 2 << 20
    os.close(os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK))


def test_the_end_of_a_log_reaches_into_its_older_part(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("a\nb\nc\n")
    (tmp_path / "log").write_text("d\ne\nun")

    assert LogTail(tmp_path / "log", 4).read() == ["b", "c", "d", "e"]
    assert LogTail(tmp_path / "log", 1).finish() == ["e", "un"]
    assert LogTail(tmp_path / "log", 0).read() == []


def test_a_follower_goes_on_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    tail = LogTail(path, 10)
    assert tail.read() == ["one"]
    with path.open("a") as file:
        file.write("two\nthr")
    path.rename(tmp_path / "log.1")
    with (tmp_path / "log.1").open("a") as file:
        file.write("ee\n")
    path.write_text("four\n")

    assert tail.read() == ["two", "three", "four"]
    path.write_text("four\nfive")
    assert tail.finish() == ["five"]
    tail.close()


def test_following_ends_with_the_replica_and_begins_before_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    alive = iter([True, True, False])

    def is_alive() -> bool:
        now = next(alive)
        if not now:
            path.write_text("late\nlast")
        return now

    assert list(follow(LogTail(path, 5), is_alive)) == ["late", "last"]
