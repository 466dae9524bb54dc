"""Tasks on disk."""

from __future__ import annotations

import pytest

from dosirak.errors import Overloaded
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.task_store import TaskStore

REQUEST = WireRequest(b"body", "application/json", headers={"authorization": "Bearer x", "a": "b"})
ANSWER = WireResponse(b"1", "application/json", 200, (("x-a", "b"),))


@pytest.fixture
def store(tmp_path):
    opened = TaskStore(tmp_path / "tasks", max_waiting=3)
    opened.open()
    yield opened
    opened.close()


def test_a_task_is_claimed_once_with_what_was_asked(store):
    record = store.submit("work", REQUEST)
    claimed = store.claim()
    assert (claimed.id, claimed.attempts) == (record.id, 1)
    assert (claimed.request.body, claimed.request.content_type) == (b"body", "application/json")
    assert store.claim() is None


def test_credentials_are_not_kept(store, tmp_path):
    store.submit("work", REQUEST)
    assert store.claim().request.headers == {"a": "b"}
    kept = b"".join(path.read_bytes() for path in (tmp_path / "tasks").iterdir())
    assert b"Bearer x" not in kept


def test_files_are_for_their_owner_only(store, tmp_path):
    directory = tmp_path / "tasks"
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_answer_is_kept(store):
    record = store.submit("work", REQUEST)
    store.claim()
    assert store.finish(record.id, ANSWER)
    assert store.find("work", record.id).status == "success"
    assert store.answer_of("work", record.id) == ANSWER
    assert store.find("other", record.id) is None


def test_too_many_are_refused(store):
    for _ in range(3):
        store.submit("work", REQUEST)
    with pytest.raises(Overloaded):
        store.submit("work", REQUEST)


def test_a_cancelled_task_keeps_no_answer(store):
    record = store.submit("work", REQUEST)
    store.claim()
    assert store.cancel("work", record.id)
    assert not store.finish(record.id, ANSWER)
    assert store.find("work", record.id).status == "cancelled"


def test_tasks_of_a_server_that_is_gone_wait_again(tmp_path):
    first = TaskStore(tmp_path / "tasks")
    first.open()
    record = first.submit("work", REQUEST)
    first.claim()
    second = TaskStore(tmp_path / "tasks")
    second.open()
    assert second.claim() is None  # Its owner lives.
    first.close()
    second.take_over()
    claimed = second.claim()
    assert (claimed.id, claimed.attempts) == (record.id, 2)
    second.close()


def test_finished_tasks_expire(tmp_path):
    store = TaskStore(tmp_path / "tasks", kept_s=0.0)
    store.open()
    record = store.submit("work", REQUEST)
    store.claim()
    store.finish(record.id, ANSWER)
    store.forget_expired()
    assert store.find("work", record.id) is None
    store.close()
