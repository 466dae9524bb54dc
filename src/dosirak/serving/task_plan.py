"""What `serve` was asked for about tasks, checked; and the store that this means."""

from __future__ import annotations

from pathlib import Path

import msgspec

from dosirak.errors import InvalidConfiguration
from dosirak.serving.task_store import TaskLimits, TaskStore
from dosirak.serving.task_store_redis import RedisTaskStore, check_redis_url
from dosirak.serving.task_store_sqlite import SqliteTaskStore
from dosirak.serving.webhooks import WebhookPlan

_DAY_S = 86_400.0
_LEAST_LEASE_S = 0.1


class TaskPlan(msgspec.Struct, frozen=True):
    """How tasks are kept.

    Attributes:
        store_url: a Redis that servers share; empty for SQLite in `DOSIRAK_HOME`.
        max_waiting: tasks not done; more are refused.
        result_s: how long a finished task can be asked for.
        waiting_s: how long one may wait to be begun; then it has failed.
        lease_s: with Redis, how long the tasks of a server that says nothing more are left to it.
        webhooks: who may be told of the end of tasks.
    """

    store_url: str = ""
    max_waiting: int = 10_000
    result_s: float = _DAY_S
    waiting_s: float = 7 * _DAY_S
    lease_s: float = 30.0
    webhooks: WebhookPlan = WebhookPlan()

    @property
    def limits(self) -> TaskLimits:
        """How much is kept, and for how long."""
        return TaskLimits(self.max_waiting, self.result_s, self.waiting_s, self.lease_s)

    def check(self) -> None:
        """Refuse now what would fail later.

        Raises:
            InvalidConfiguration: a value is out of range, or fits no other (the caller's fault).
            MissingDependency: the store needs a library that is not installed.
        """
        if self.max_waiting < 1:
            raise InvalidConfiguration(
                "max_waiting is out of range.", remedy="Let at least one task wait."
            )
        times_s = (self.result_s, self.waiting_s, self.lease_s)
        if not all(0 < time_s < 1e9 for time_s in times_s) or self.lease_s < _LEAST_LEASE_S:
            raise InvalidConfiguration(
                "A time of tasks is out of range.", remedy="Use a positive number of seconds."
            )
        if self.store_url:
            check_redis_url(self.store_url)
        self.webhooks.check()

    def store(self, home: Path, service: str) -> TaskStore:
        """Return the store of a service's tasks, not yet open."""
        if self.store_url:
            return RedisTaskStore(self.store_url, service, self.limits)
        return SqliteTaskStore(home / "state" / "tasks" / service, self.limits)
