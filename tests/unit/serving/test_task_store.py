"""What every store of tasks promises: one suite over both."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from dosirak.errors import InvalidConfiguration, Overloaded, Unavailable
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.task_plan import TaskPlan
from dosirak.serving.task_store import TaskLimits, TaskStore
from dosirak.serving.task_store_redis import RedisTaskStore
from dosirak.serving.task_store_sqlite import SqliteTaskStore

REQUEST = WireRequest(b"body", "application/json", headers={"authorization": "Bearer x", "a": "b"})
ANSWER = WireResponse(b"1", "application/json", 200, (("x-a", "b"),))
FAILED = WireResponse(b"{}", "application/json", 504)
HOOK = "https://example.com/hook"

Open = Callable[..., TaskStore]


@pytest.fixture(params=["sqlite", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def where(kind, tmp_path, request) -> str:
    return request.getfixturevalue("redis_url") if kind == "redis" else str(tmp_path / "tasks")


@pytest.fixture
def service() -> str:
    return uuid4().hex


@pytest.fixture
def open_store(kind, where, service) -> Iterator[Open]:
    """Open the same store once more, as another server does."""
    opened: list[TaskStore] = []

    def start(**limits: float) -> TaskStore:
        chosen = TaskLimits(**limits)
        store = (
            RedisTaskStore(where, service, chosen)
            if kind == "redis"
            else SqliteTaskStore(Path(where), chosen)
        )
        store.open()
        opened.append(store)
        return store

    yield start
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store) -> TaskStore:
    return open_store(max_waiting=3)


def _wait_for(step: Callable[[], object]) -> object:
    deadline_s = time.monotonic() + 30
    while not (found := step()):
        assert time.monotonic() < deadline_s, "it did not come"
        time.sleep(0.01)
    return found


def test_a_task_is_claimed_once_with_what_was_asked(store, open_store):
    record = store.submit("work", REQUEST)
    claimed = store.claim()
    assert (claimed.id, claimed.attempts) == (record.id, 1)
    assert (claimed.request.body, claimed.request.content_type) == (b"body", "application/json")
    assert store.claim() is None
    assert open_store().claim() is None


def test_the_oldest_is_claimed_first(store):
    ids = [store.submit("work", REQUEST).id for _ in range(3)]
    first = store.claim()
    assert [first.id, store.claim().id] == ids[:2]
    store.release(first)  # It keeps its place in the queue.
    assert [store.claim().id, store.claim().id] == [ids[0], ids[2]]


def test_credentials_are_not_kept(store):
    store.submit("work", REQUEST)
    assert store.claim().request.headers == {"a": "b"}


def test_an_answer_is_kept_and_never_changes(store):
    record = store.submit("work", REQUEST)
    task = store.claim()
    assert store.answer_of("work", record.id) is None
    assert store.finish(task, ANSWER)
    store.finish(task, FAILED)
    assert not store.cancel("work", record.id)
    found = store.find("work", record.id)
    assert (found.status, found.created_at) == ("success", pytest.approx(record.created_at))
    assert found.executed_at is not None
    assert store.answer_of("work", record.id) == ANSWER
    assert store.find("other", record.id) is None
    assert store.answer_of("other", record.id) is None
    assert store.find("work", "nobody") is None
    assert store.answer_of("work", "nobody") is None


def test_a_failure_is_one(store):
    record = store.submit("work", REQUEST)
    store.finish(store.claim(), FAILED)
    assert store.find("work", record.id).status == "failure"


def test_too_many_are_refused_until_one_is_done(store):
    first, *_ = [store.submit("work", REQUEST) for _ in range(3)]
    with pytest.raises(Overloaded, match="3 tasks"):
        store.submit("work", REQUEST)
    task = store.claim()
    with pytest.raises(Overloaded):
        store.submit_again("work", first.id)
    store.finish(task, ANSWER)
    store.submit_again("work", first.id)


def test_a_task_is_run_again_as_a_new_one(store):
    record = store.submit("work", REQUEST, webhook=HOOK)
    store.finish(store.claim(), ANSWER)
    again = store.submit_again("work", record.id)
    assert again.id != record.id
    claimed = store.claim()
    assert (claimed.id, claimed.attempts, claimed.request.body) == (again.id, 1, b"body")
    assert store.submit_again("work", "nobody") is None
    assert store.submit_again("other", record.id) is None


def test_a_cancelled_task_keeps_no_answer(store, open_store):
    record = store.submit("work", REQUEST)
    task = store.claim()
    assert store.renew([task]) == set()
    other = open_store()
    assert not other.cancel("other", record.id)
    assert other.cancel("work", record.id)
    assert not other.cancel("work", record.id)
    assert store.renew([task]) == {record.id}
    assert not store.finish(task, ANSWER)
    store.release(task)
    assert store.find("work", record.id).status == "cancelled"
    assert store.claim() is None


def test_a_released_task_waits_again_and_has_lost_no_attempt(store):
    record = store.submit("work", REQUEST)
    store.release(store.claim())
    claimed = store.claim()
    assert (claimed.id, claimed.attempts) == (record.id, 1)


def test_a_task_that_waits_too_long_has_failed(open_store):
    store = open_store(waiting_s=0.05)
    store.submit("run", REQUEST)
    running = store.claim()
    record = store.submit("wait", REQUEST, webhook=HOOK)
    assert _wait_for(lambda: store.expire_waiting(FAILED)) == ["wait"]
    assert store.expire_waiting(FAILED) == []
    assert store.find("wait", record.id).status == "failure"
    assert store.answer_of("wait", record.id) == FAILED
    assert store.claim_delivery(60).task.id == record.id
    assert store.finish(running, ANSWER)


def test_finished_tasks_expire_and_others_do_not(open_store):
    store = open_store(kept_s=0.05)
    waiting = store.submit("work", REQUEST)
    record = store.submit("work", REQUEST)
    cancelled = store.submit("work", REQUEST, webhook=HOOK)
    store.finish(store.claim(), ANSWER)
    store.cancel("work", cancelled.id)

    def is_gone() -> bool:
        store.forget_expired()
        gone = [store.find("work", task.id) is None for task in (waiting, cancelled)]
        return all(gone)

    _wait_for(is_gone)
    assert store.find("work", record.id).status == "in_progress"
    assert store.claim_delivery(60) is None


def test_tasks_of_a_server_that_is_gone_wait_again(open_store, kind):
    first = open_store(lease_s=0.3)
    record = first.submit("work", REQUEST)
    lost = first.claim()
    second = open_store()
    assert second.claim() is None  # Its owner lives.
    first.close()

    def claim():
        second.take_over()
        return second.claim()

    claimed = _wait_for(claim)
    assert (claimed.id, claimed.attempts) == (record.id, 2)
    if kind == "redis":
        # It was only thought dead: what it says late changes nothing.
        first.open()
        assert first.renew([lost]) == {record.id}
        assert not first.finish(lost, FAILED)
        first.release(lost)
    assert second.finish(claimed, ANSWER)
    assert second.answer_of("work", record.id) == ANSWER


def test_a_lease_that_is_renewed_does_not_run_out(open_store):
    store, other = open_store(lease_s=0.4), open_store()
    store.submit("work", REQUEST)
    task = store.claim()
    until_s = time.monotonic() + 0.8
    while time.monotonic() < until_s:
        assert store.renew([task]) == set()
        other.take_over()
        assert other.claim() is None
        time.sleep(0.02)
    assert store.finish(task, ANSWER)


def test_a_delivery_is_due_until_it_ends(open_store):
    store, other = open_store(), open_store()
    silent = store.submit("work", REQUEST)
    record = store.submit("work", REQUEST, webhook=HOOK)
    store.finish(store.claim(), ANSWER)
    assert store.claim_delivery(60) is None
    store.finish(store.claim(), ANSWER)
    delivery = other.claim_delivery(0.05)
    assert (delivery.task.id, delivery.url, delivery.attempts) == (record.id, HOOK, 1)
    assert (delivery.task.status, delivery.answer) == ("success", ANSWER)
    # Whoever had it says nothing more: it is due again.
    again = _wait_for(lambda: store.claim_delivery(60))
    assert (again.task.id, again.attempts) == (record.id, 2)
    assert store.claim_delivery(60) is None
    store.end_delivery(record.id, 0.01)
    assert _wait_for(lambda: store.claim_delivery(60)).attempts == 3
    store.end_delivery(record.id, None)
    assert store.claim_delivery(60) is None
    assert store.find("work", silent.id).status == "success"


def test_a_cancelled_task_is_told_of_without_an_answer(store):
    record = store.submit("work", REQUEST, webhook=HOOK)
    store.cancel("work", record.id)
    delivery = store.claim_delivery(60)
    assert (delivery.task.status, delivery.answer) == ("cancelled", None)


def test_servers_that_are_killed_lose_no_task_and_show_none_twice(open_store, where, service):
    store = open_store()
    holder = [sys.executable, str(Path(__file__).with_name("task_holder.py"))]
    running = [
        subprocess.Popen([*holder, where, service, "0.2"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ids: set[str] = set()
    lines: list[list[str]] = []
    enough = threading.Event()

    def submit() -> None:
        while not enough.wait(0.005):
            ids.add(store.submit("work", REQUEST).id)

    submitting = threading.Thread(target=submit)
    submitting.start()
    try:
        # Each is killed at another moment: when it has said so many lines.
        for process, said in zip(running, (2, 9), strict=True):
            lines += [process.stdout.readline().split() for _ in range(said)]
            process.kill()
            lines += [line.split() for line in process.communicate()[0].splitlines()]
    finally:
        enough.set()
        submitting.join()

    def finish_the_rest() -> bool:
        store.take_over()
        if task := store.claim():
            lines.append(["ran", task.id, str(task.attempts)])
            store.finish(task, WireResponse(f'"{task.id} {task.attempts}"'.encode(), "text/plain"))
        return all(store.find("work", task_id).status == "success" for task_id in ids)

    _wait_for(finish_the_rest)
    finished = [line[1:] for line in lines if line[0] == "finished" and len(line) == 3]
    assert len({task_id for task_id, _ in finished}) == len(finished)
    shown = {task_id: store.answer_of("work", task_id).body.decode() for task_id in ids}
    # What was said to be finished is what is shown, and each attempt was one server's alone.
    assert [shown[task_id] for task_id, n in finished] == [f'"{i} {n}"' for i, n in finished]
    ran = [tuple(line[1:]) for line in lines if line[0] == "ran" and len(line) == 3]
    assert len(set(ran)) == len(ran)
    assert store.claim() is None


def test_servers_that_submit_at_once_share_one_limit(open_store):
    stores = [open_store(max_waiting=10) for _ in range(3)]
    kept = 0
    for store in itertools.islice(itertools.cycle(stores), 30):
        try:
            store.submit("work", REQUEST)
            kept += 1
        except Overloaded:
            continue
    assert kept == 10


def test_files_are_for_their_owner_only(tmp_path):
    directory = tmp_path / "tasks"
    store = SqliteTaskStore(directory)
    store.open()
    store.submit("work", REQUEST)
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
        assert b"Bearer x" not in path.read_bytes()
    store.close()


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    directory = tmp_path / "tasks"
    store = SqliteTaskStore(directory)
    store.open()
    record = store.submit("work", REQUEST)
    store.close()
    with sqlite3.connect(directory / "tasks.sqlite3") as database:
        database.execute("DROP INDEX tasks_deliveries")
        for column in ("webhook", "delivery_at", "delivery_attempts"):
            database.execute(f"ALTER TABLE tasks DROP COLUMN {column}")
    database.close()
    store.open()
    task = store.claim()
    assert task.id == record.id
    assert store.finish(task, ANSWER)
    store.close()


def test_a_redis_that_is_not_there_is_said_without_its_password(tmp_path):
    pytest.importorskip("redis")
    store = RedisTaskStore(f"unix://:secret@{tmp_path}/none.sock", "service")
    with pytest.raises(Unavailable) as caught:
        store.open()
    assert "secret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@a",
        "redis://",
        "redis://h:x",
        "[",
        "unix:",
        "redis://:secret@h/abc",
        "redis://:secret@h/0?nonsense=1",
        "redis://:secret@h/0?socket_timeout=abc",
        "redis://:secret@h/0?decode_responses=1",
    ],
)
def test_what_is_no_redis_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidConfiguration) as caught:
        TaskPlan(store_url=url).check()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "plan",
    [
        TaskPlan(max_waiting=0),
        TaskPlan(result_s=0.0),
        TaskPlan(waiting_s=-1),
        TaskPlan(lease_s=0.0),
    ],
)
def test_limits_out_of_range_are_refused(plan):
    with pytest.raises(InvalidConfiguration):
        plan.check()


def test_a_disk_that_is_full_is_told_without_its_path_said_once_and_left_whole(tmp_path, caplog):
    store = SqliteTaskStore(tmp_path / "tasks")
    store.open()
    record = store.submit("work", REQUEST)
    task = store.claim()
    database = store._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")  # As full as a disk can be.
    large = WireRequest(b"x" * 100_000, "application/json")
    for attempt in (
        lambda: store.submit("work", large),
        lambda: store.finish(task, WireResponse(large.body, "text/plain")),
        lambda: store.submit("work", large),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert str(tmp_path) not in str(caught.value)
    assert store.find("work", record.id).status == "in_progress"
    assert [str(tmp_path) in line.getMessage() for line in caplog.records] == [True]
    database.execute("PRAGMA max_page_count = 100000")
    assert store.finish(task, ANSWER)
    store.close()


def test_a_place_where_nothing_can_be_kept_is_a_wrong_configuration(tmp_path):
    (tmp_path / "file").write_text("")
    store = SqliteTaskStore(tmp_path / "file" / "tasks")
    with pytest.raises(InvalidConfiguration, match="DOSIRAK_HOME"):
        store.open()
    store.close()


def test_what_is_kept_too_long_is_not_shown_before_it_is_deleted(open_store):
    store = open_store(kept_s=0.05)
    record = store.submit("work", REQUEST)
    store.finish(store.claim(), ANSWER)
    _wait_for(lambda: store.find("work", record.id) is None)
    assert store.answer_of("work", record.id) is None
    assert store.submit_again("work", record.id) is None


def _spoil(kind, where, service, task_id):
    if kind == "redis":
        from redis import Redis

        with Redis.from_url(where) as redis:
            redis.hset(f"dosirak:tasks:{{{service}}}:task:{task_id}", "request", b"\xff\xffjunk")
        return
    with sqlite3.connect(Path(where) / "tasks.sqlite3") as database:
        database.execute("UPDATE tasks SET request = x'ffff' WHERE id = ?", (task_id,))
    database.close()


def test_a_task_that_cannot_be_read_has_failed_and_holds_up_no_other(store, kind, where, service):
    spoiled, good = store.submit("work", REQUEST), store.submit("work", REQUEST)
    _spoil(kind, where, service, spoiled.id)
    assert store.claim().id == good.id
    assert store.find("work", spoiled.id).status == "failure"
    assert store.answer_of("work", spoiled.id).status == 500


@pytest.fixture
def redis_store(redis_url, service, monkeypatch):
    """A store that gives up on Redis soon."""
    monkeypatch.setattr("dosirak.serving.task_store_redis._REPLY_TIMEOUT_S", 0.3)
    monkeypatch.setattr("dosirak.serving.task_store_redis._LEFT_ALONE_S", 600.0)
    store = RedisTaskStore(redis_url, service)
    store.open()
    yield store
    store.close()


def test_a_redis_that_hangs_is_left_alone_and_keeps_nothing_that_was_given_up(
    redis_store, redis_url, monkeypatch
):
    from redis import Redis

    with Redis.from_url(redis_url) as redis:
        process = redis.info()["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            for _ in range(50):  # If each waited, this would take 15 s and end none the wiser.
                with pytest.raises(Unavailable, match="cannot be reached") as caught:
                    redis_store.submit("work", REQUEST)
                assert "edis" not in str(caught.value)
        finally:
            os.kill(process, signal.SIGCONT)
        redis.ping()  # What came before has been read now.
        assert redis.zcard(f"{redis_store._prefix}waiting") == 0
        monkeypatch.setattr(redis_store, "_left_alone_until_s", 0.0)
        record = redis_store.submit("work", REQUEST)
        assert redis_store.claim().id == record.id


def test_a_clock_that_is_set_loses_no_task(redis_store):
    for moved_s in (-1e6, 1e6):
        redis_store._ahead_s += moved_s
        record = redis_store.submit("work", REQUEST)
        assert redis_store.claim().id == record.id


def test_a_redis_that_is_full_is_said_to_be_and_what_runs_can_end(redis_store, redis_url, caplog):
    from redis import Redis

    record = redis_store.submit("work", REQUEST)
    task = redis_store.claim()
    with Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory", "1")
        try:
            with pytest.raises(Unavailable, match="is full"):
                redis_store.submit("work", REQUEST)
            assert redis_store.finish(task, ANSWER)
        finally:
            redis.config_set("maxmemory", "0")
    assert redis_store.answer_of("work", record.id) == ANSWER
    assert [line.getMessage().startswith("Redis is full") for line in caplog.records] == [True]
