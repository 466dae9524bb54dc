"""Tasks in Redis, for servers on several machines: the one file that knows it (`dosirak[redis]`).

    tasks:<service>:waiting   sorted by when they came     tasks:<service>:deliveries   by when due
    tasks:<service>:leases    sorted by when they run out  tasks:<service>:task:<id>    all of one

Every step is one Lua script (`task_scripts`). Who runs a task renews its lease; a task whose lease
has run out waits again. Its holder may still be alive, and be back after a pause: `owner` and
`attempts` together are what tells its late answer from the right one. Times are those of Redis's
clock alone. Finished tasks expire by themselves. A Redis that hangs is left alone for a moment, and
what it reads late does not count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from dosirak.errors import InvalidConfiguration, MissingDependency, Unavailable
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.problems import problem_response
from dosirak.serving.task_scripts import PRELUDE, SCRIPTS
from dosirak.serving.task_store import (
    ClaimedTask,
    Delivery,
    TaskLimits,
    TaskRecord,
    TaskStatus,
    out_of_reach,
    pack_request,
    pack_response,
    status_of,
    too_many,
    unpack_request,
    unpack_response,
    unreadable,
)
from dosirak.serving.troubles import Troubles

if TYPE_CHECKING:
    from redis import Redis

SCHEMES = ("redis", "rediss", "unix")
_LOOK_EVERY_S = 1.0
_REPLY_TIMEOUT_S = 3.0
_AT_ONCE = 4
# After one call has waited in vain, others do not for a moment.
_LEFT_ALONE_S = 1.0
_FAR_AWAY = 1e12

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.tasks")


def check_redis_url(url: str) -> None:
    """Refuse what cannot be a store in Redis.

    Raises:
        InvalidConfiguration: the URL is not one of Redis (the caller's fault).
        MissingDependency: the library is not installed.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) or (parts.scheme == "unix" and bool(parts.path))
        _ = parts.port
    except ValueError:
        usable = False
        parts = urlsplit("")
    # The library takes a number of a database that is none for 0.
    numbered = parts.scheme == "unix" or not parts.path.strip("/") or parts.path[1:].isdecimal()
    if parts.scheme not in SCHEMES or not usable or not numbered:
        # Not repeated: it may hold a password.
        raise InvalidConfiguration(
            "The task store is not a URL of Redis.",
            remedy="Write redis://HOST:6379/0, rediss://… for TLS, or unix:///path/to/socket.",
        )
    if find_spec("redis") is None:
        raise MissingDependency(
            "Tasks in Redis need its library.", remedy="Install it: pip install 'dosirak[redis]'."
        )
    _check_options(url)


def _check_options(url: str) -> None:
    from redis import ConnectionPool

    try:
        pool = ConnectionPool.from_url(url)  # pyright: ignore[reportUnknownMemberType]
        pool.make_connection()  # It does not connect yet.
        decodes = bool(pool.connection_kwargs.get("decode_responses"))
    except Exception as error:
        # Whatever the library says of an option, it may repeat what follows the password.
        raise _wrong_options() from error
    if decodes:
        raise _wrong_options()


def _wrong_options() -> InvalidConfiguration:
    return InvalidConfiguration(
        "The options in the task store's URL are none that it can have.",
        remedy="Correct what follows the question mark, or leave it out.",
    )


class RedisTaskStore:
    """The tasks of one service in a Redis that servers share (see `task_store.TaskStore`).

    Args:
        url: `redis://`, `rediss://` or `unix://`, with the credentials in it.
        service: whose tasks.
        limits: how much is kept, and for how long.
    """

    at_once = _AT_ONCE
    look_every_s = _LOOK_EVERY_S

    def __init__(self, url: str, service: str, limits: TaskLimits = TaskLimits()) -> None:
        self._url = url
        self._limits = limits
        # In a cluster what is between braces decides where a key is: all of one service together.
        self._prefix = f"dosirak:tasks:{{{service}}}:"
        self._owner = uuid4().hex
        self._client: Redis | None = None
        self._scripts: dict[str, Callable[..., Any]] = {}
        self._troubles = Troubles(_log)
        self._left_alone_until_s = 0.0
        # What to add to our clock to have Redis's.
        self._ahead_s = 0.0

    @property
    def renew_every_s(self) -> float:
        """How often to renew leases: one that is late twice is still in time."""
        return self._limits.lease_s / 3

    def open(self) -> None:
        """Connect, and take over the tasks of servers that are gone.

        Raises:
            InvalidConfiguration: Redis refuses the credential (the operator's fault).
            Unavailable: it cannot be reached; said to the operator.
        """
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import AuthenticationError, NoPermissionError
        from redis.retry import Retry

        # Never repeated unasked: a claim whose reply was lost would take a second task.
        client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            self._url,
            socket_timeout=_REPLY_TIMEOUT_S,
            socket_connect_timeout=_REPLY_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=30,
        )
        self._client = client
        self._scripts = {
            name: cast("Callable[..., Any]", client.register_script(PRELUDE + text))
            for name, text in SCRIPTS.items()
        }
        try:
            self.take_over()
        except Unavailable as error:
            self.close()
            if isinstance(error.__cause__, AuthenticationError | NoPermissionError):
                raise InvalidConfiguration(
                    "Redis refuses the credential of the task store.",
                    remedy="Correct the user and password in the URL of the task store.",
                ) from error
            raise Unavailable(
                "The task store cannot be reached, or does not do what it is asked.",
                remedy="Check that Redis is running and has room, and the URL of the task store.",
            ) from error
        self._look_at_settings(client)

    def close(self) -> None:
        """Leave unfinished tasks to whoever opens the store next."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def submit(self, api: str, request: WireRequest, *, webhook: str = "") -> TaskRecord:
        """Keep a task to be run (see `TaskStore`)."""
        task_id = uuid4().hex
        packed = pack_request(request)
        limit = self._limits.max_waiting
        created = self._do("submit", task_id, limit, api, packed, bytes(request.body), webhook)
        if created is None:
            raise too_many(limit)
        return TaskRecord(task_id, api, "in_progress", float(created), None)

    def submit_again(self, api: str, task_id: str) -> TaskRecord | None:
        """Keep a new task with the request of another (see `TaskStore`)."""
        new_id = uuid4().hex
        created = self._do("submit_again", new_id, self._limits.max_waiting, api, task_id)
        if created is None:
            raise too_many(self._limits.max_waiting)
        return TaskRecord(new_id, api, "in_progress", float(created), None) if created else None

    def find(self, api: str, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        kept = self._fields(task_id, "api", "status", "created_at", "executed_at")
        return _record(task_id, kept) if kept[0] == api.encode() else None

    def answer_of(self, api: str, task_id: str) -> WireResponse | None:
        """Return the answer of a finished task, error or not."""
        found, response, body = self._fields(task_id, "api", "response", "response_body")
        if found != api.encode() or response is None or body is None:
            return None
        return unpack_response(response, body)

    def cancel(self, api: str, task_id: str) -> bool:
        """Mark an unfinished task as cancelled; return whether it was unfinished."""
        return bool(self._do("cancel", task_id, api, self._kept_ms))

    def claim(self) -> ClaimedTask | None:
        """Take the oldest waiting task for this server; one that cannot be read has failed."""
        while (kept := self._do("claim", self._owner, self._limits.lease_s)) is not None:
            task_id, api, attempts, request, body = kept
            try:
                return ClaimedTask(
                    task_id.decode(), api.decode(), int(attempts), unpack_request(request, body)
                )
            except (msgspec.MsgspecError, ValueError, TypeError, AttributeError):
                self._fail_unreadable(task_id, attempts)
        return None

    def _fail_unreadable(self, task_id: bytes, attempts: bytes) -> None:
        shown = task_id.decode(errors="replace")
        _log.error("Task %s cannot be read and has failed.", shown)
        answer = problem_response(unreadable(), request_id=shown)
        packed, body = pack_response(answer), bytes(answer.body)
        about = (task_id, self._owner, attempts, "failure", self._kept_ms)
        self._do("finish", *about, packed, body)

    def renew(self, tasks: Collection[ClaimedTask]) -> set[str]:
        """Say that this server still runs these; return the ids of those it no longer holds."""
        if not tasks:
            return set()
        named = [part for task in tasks for part in (task.id, task.attempts)]
        lost = self._do("renew", self._owner, self._limits.lease_s, *named)
        return {task_id.decode() for task_id in lost}

    def finish(self, task: ClaimedTask, response: WireResponse) -> bool:
        """Keep the answer of a claimed task, unless it is no longer held; may be repeated."""
        return bool(
            self._do(
                "finish",
                task.id,
                self._owner,
                task.attempts,
                status_of(response),
                self._kept_ms,
                pack_response(response),
                bytes(response.body),
            )
        )

    def release(self, task: ClaimedTask) -> None:
        """Give a claimed task back unfinished, to be run again; the attempt does not count."""
        self._do("release", task.id, self._owner, task.attempts)

    def take_over(self) -> None:
        """Make tasks wait again whose leases have run out."""
        self._ahead_s = float(self._do("take_over")) - time.monotonic()

    def expire_waiting(self, response: WireResponse) -> list[str]:
        """Fail tasks that have waited too long with this answer; return the api of each."""
        packed, body = pack_response(response), bytes(response.body)
        apis = self._do("expire_waiting", self._limits.waiting_s, self._kept_ms, packed, body)
        return [api.decode() for api in apis]

    def forget_expired(self) -> None:
        """Nothing to do: Redis forgets them by itself."""

    def claim_delivery(self, hold_s: float) -> Delivery | None:
        """Take a delivery that is due; unless it ends, it is due again after `hold_s`."""
        kept = self._do("claim_delivery", hold_s)
        if kept is None:
            return None
        task_id, *about, webhook, attempts, response, body = kept
        answer = unpack_response(response, body) if response is not None else None
        record = _record(task_id.decode(), about)
        return Delivery(record, webhook.decode(), int(attempts), answer)

    def end_delivery(self, task_id: str, again_in_s: float | None) -> None:
        """Note a delivery as ended for good, or as due again."""
        self._do("end_delivery", task_id, "" if again_in_s is None else again_in_s)

    @property
    def _kept_ms(self) -> int:
        return max(1, int(self._limits.kept_s * 1000))

    @property
    def _redis(self) -> Redis:
        if self._client is None:
            raise RuntimeError("The task store is not open.")
        return self._client

    def _do(self, script: str, *arguments: object) -> Any:
        """Do a step, unless Redis reads of it only when this has been given up."""
        from redis.exceptions import ResponseError

        said_s = time.monotonic()
        with self._reaching():
            try:
                return self._do_in_time(script, arguments)
            except ResponseError as error:
                now = _late(error)
                if now is None or time.monotonic() - said_s > _REPLY_TIMEOUT_S:
                    raise
            # It came in time: it is the clocks that have moved.
            self._ahead_s = now - time.monotonic()
            return self._do_in_time(script, arguments)

    def _do_in_time(self, script: str, arguments: Sequence[object]) -> Any:
        known = self._ahead_s != 0.0
        until = time.monotonic() + self._ahead_s + _REPLY_TIMEOUT_S if known else _FAR_AWAY
        packed = (*arguments, f"{until:.6f}")
        return self._scripts[script](keys=[self._prefix], args=packed, client=self._redis)

    def _fields(self, task_id: str, *names: str) -> list[bytes | None]:
        with self._reaching():
            found = self._redis.hmget(f"{self._prefix}task:{task_id}", list(names))
        return cast("list[bytes | None]", found)

    @contextmanager
    def _reaching(self) -> Generator[None]:
        """Turn what the library raises into an error for callers; the operator reads the log.

        Raises:
            Unavailable: Redis cannot be reached, or cannot do this now.
        """
        from redis import exceptions

        if time.monotonic() < self._left_alone_until_s:
            raise out_of_reach()
        try:
            yield
        except exceptions.RedisError as error:
            if isinstance(error, exceptions.TimeoutError):
                self._left_alone_until_s = time.monotonic() + _LEFT_ALONE_S
            if _is_full(error):
                self._troubles.say("Redis is full", error, "Give it more maxmemory.")
                raise Unavailable(
                    "The task store is full.", remedy="Submit it again later."
                ) from error
            self._troubles.say("Redis does not keep tasks", error, "Check that it runs.")
            raise out_of_reach() from error

    def _look_at_settings(self, client: Redis) -> None:
        """Say what would lose tasks; a Redis that does not tell is taken as it is."""
        from redis.exceptions import RedisError

        try:
            told: dict[str, Any] = client.info()
        except RedisError:
            return
        if not told.get("aof_enabled"):
            _log.warning("Redis keeps no log of writes; set appendonly yes, or tasks end with it.")
        if told.get("maxmemory") and told.get("maxmemory_policy") != "noeviction":
            _log.warning("Redis may drop tasks when it is full: set maxmemory-policy noeviction.")


def _record(task_id: str, kept: Sequence[bytes | None]) -> TaskRecord:
    api, status, created_at, executed_at = kept
    return TaskRecord(
        task_id,
        (api or b"").decode(),
        cast("TaskStatus", (status or b"").decode()),
        float(created_at or 0),
        None if executed_at is None else float(executed_at),
    )


def _late(error: Exception) -> float | None:
    """Return Redis's time, if what it says is that a step came too late."""
    word, _, now = str(error).partition(" ")
    return float(now) if word == "LATE" else None


def _is_full(error: Exception) -> bool:
    from redis.exceptions import OutOfMemoryError

    # In a script it is an error of the script that names the other.
    return isinstance(error, OutOfMemoryError) or "OOM " in str(error)
