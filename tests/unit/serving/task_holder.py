"""Claims tasks of a store and finishes them, telling of each step, until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dosirak.payload.wire import WireResponse
from dosirak.serving.task_store import TaskLimits, TaskStore
from dosirak.serving.task_store_redis import RedisTaskStore
from dosirak.serving.task_store_sqlite import SqliteTaskStore


def main(where: str, service: str, lease_s: str) -> None:
    limits = TaskLimits(lease_s=float(lease_s))
    redis = where.startswith("unix:")
    store: TaskStore = (
        RedisTaskStore(where, service, limits) if redis else SqliteTaskStore(Path(where), limits)
    )
    store.open()
    print("open", flush=True)
    while True:
        store.take_over()
        task = store.claim()
        if task is None:
            time.sleep(0.01)
            continue
        print("ran", task.id, task.attempts, flush=True)
        answer = WireResponse(f'"{task.id} {task.attempts}"'.encode(), "application/json")
        if store.finish(task, answer):
            print("finished", task.id, task.attempts, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
