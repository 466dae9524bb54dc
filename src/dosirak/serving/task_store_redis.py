"""Tasks in Redis, for servers on several machines: the one file that knows it (`dosirak[redis]`).

    tasks:<service>:waiting   sorted by when they came     tasks:<service>:deliveries   by when due
    tasks:<service>:leases    sorted by when they run out  tasks:<service>:task:<id>    all of one

Every step is one Lua script, so it happens wholly or not at all, whatever dies. Who runs a task
renews its lease; a task whose lease has run out waits again. Its holder may still be alive, and be
back after a pause: `owner` and `attempts` together are what tells its late answer from the right
one. Times are those of Redis's clock alone. Finished tasks expire by themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from dosirak.errors import InvalidConfiguration, MissingDependency, Unavailable
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.task_store import (
    ClaimedTask,
    Delivery,
    TaskLimits,
    TaskRecord,
    TaskStatus,
    pack_request,
    pack_response,
    status_of,
    too_many,
    unpack_request,
    unpack_response,
)

if TYPE_CHECKING:
    from redis import Redis

SCHEMES = ("redis", "rediss", "unix")
_LOOK_EVERY_S = 1.0
_REPLY_TIMEOUT_S = 3.0
_AT_ONCE = 4

# What every script begins with. KEYS[1] is the prefix; the rest of the keys are in the same slot.
_PRELUDE = """
local prefix = KEYS[1]
local waiting, leases = prefix .. 'waiting', prefix .. 'leases'
local deliveries = prefix .. 'deliveries'
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function text(number) return string.format('%.6f', number) end
local function key(id) return prefix .. 'task:' .. id end
local function end_task(id, status, kept_ms)
    redis.call('ZREM', waiting, id)
    redis.call('ZREM', leases, id)
    redis.call('HSET', key(id), 'status', status, 'ended_at', text(now))
    redis.call('PEXPIRE', key(id), kept_ms)
    if redis.call('HGET', key(id), 'webhook') ~= '' then
        redis.call('ZADD', deliveries, text(now), id)
    end
end
local function wait(id)
    redis.call('ZREM', leases, id)
    redis.call('HSET', key(id), 'owner', '')
    redis.call('ZADD', waiting, redis.call('HGET', key(id), 'created_at'), id)
end
local function holds(id, owner, attempts)
    local found = redis.call('HMGET', key(id), 'owner', 'attempts')
    return found[1] == owner and found[2] == attempts
end
local function is_open(id) return redis.call('HGET', key(id), 'status') == 'in_progress' end
local function take_over()
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
        if is_open(id) then wait(id) else redis.call('ZREM', leases, id) end
    end
end
local function is_full(limit)
    return redis.call('ZCARD', waiting) + redis.call('ZCARD', leases) >= tonumber(limit)
end
local function keep(id, api, request, body, webhook)
    redis.call('HSET', key(id), 'api', api, 'status', 'in_progress', 'owner', '', 'attempts', '0',
        'created_at', text(now), 'request', request, 'body', body, 'webhook', webhook)
    redis.call('ZADD', waiting, text(now), id)
    return text(now)
end
"""
_SCRIPTS = {
    "submit": """
        local id, limit, api, request, body, webhook = unpack(ARGV)
        if is_full(limit) then return false end
        return keep(id, api, request, body, webhook)
    """,
    "submit_again": """
        local id, limit, api, old = unpack(ARGV)
        if is_full(limit) then return false end
        local kept = redis.call('HMGET', key(old), 'api', 'request', 'body', 'webhook')
        if kept[1] ~= api then return '' end
        return keep(id, api, kept[2], kept[3], kept[4])
    """,
    "cancel": """
        local id, api, kept_ms = unpack(ARGV)
        if not is_open(id) or redis.call('HGET', key(id), 'api') ~= api then return 0 end
        end_task(id, 'cancelled', kept_ms)
        return 1
    """,
    "claim": """
        local owner, lease_s = unpack(ARGV)
        take_over()
        while true do
            local first = redis.call('ZPOPMIN', waiting)
            if #first == 0 then return false end
            local id = first[1]
            if is_open(id) then
                redis.call('HINCRBY', key(id), 'attempts', 1)
                redis.call('HSET', key(id), 'owner', owner, 'executed_at', text(now))
                redis.call('ZADD', leases, text(now + tonumber(lease_s)), id)
                local kept = redis.call('HMGET', key(id), 'api', 'attempts', 'request', 'body')
                return {id, kept[1], kept[2], kept[3], kept[4]}
            end
        end
    """,
    "renew": """
        local owner, lease_s = ARGV[1], tonumber(ARGV[2])
        local lost = {}
        for i = 3, #ARGV, 2 do
            local id = ARGV[i]
            if is_open(id) and holds(id, owner, ARGV[i + 1]) then
                redis.call('ZADD', leases, text(now + lease_s), id)
            else
                lost[#lost + 1] = id
            end
        end
        return lost
    """,
    "finish": """
        local id, owner, attempts, status, kept_ms, response, body = unpack(ARGV)
        if not holds(id, owner, attempts) then return 0 end
        local known = redis.call('HGET', key(id), 'status')
        if known == 'cancelled' then return 0 end
        -- Said once before, by the same: its reply was lost on the way.
        if known ~= 'in_progress' then return 1 end
        redis.call('HSET', key(id), 'response', response, 'response_body', body)
        end_task(id, status, kept_ms)
        return 1
    """,
    "release": """
        local id, owner, attempts = unpack(ARGV)
        if is_open(id) and holds(id, owner, attempts) then
            redis.call('HINCRBY', key(id), 'attempts', -1)
            wait(id)
        end
    """,
    "take_over": "take_over()",
    "expire_waiting": """
        local waiting_s, kept_ms, response, body = unpack(ARGV)
        local before = text(now - tonumber(waiting_s))
        local apis = {}
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', '(' .. before)) do
            if is_open(id) then
                redis.call('HSET', key(id), 'response', response, 'response_body', body)
                end_task(id, 'failure', kept_ms)
                apis[#apis + 1] = redis.call('HGET', key(id), 'api')
            else
                redis.call('ZREM', waiting, id)
            end
        end
        return apis
    """,
    "claim_delivery": """
        local hold_s = tonumber(ARGV[1])
        while true do
            local due = redis.call('ZRANGEBYSCORE', deliveries, '-inf', text(now), 'LIMIT', 0, 1)
            if #due == 0 then return false end
            local id = due[1]
            if redis.call('EXISTS', key(id)) == 0 then
                redis.call('ZREM', deliveries, id)
            else
                redis.call('ZADD', deliveries, text(now + hold_s), id)
                redis.call('HINCRBY', key(id), 'delivery_attempts', 1)
                local kept = redis.call('HMGET', key(id), 'api', 'status', 'created_at',
                    'executed_at', 'webhook', 'delivery_attempts', 'response', 'response_body')
                return {id, unpack(kept)}
            end
        end
    """,
    "end_delivery": """
        local id, again_in_s = unpack(ARGV)
        if again_in_s == '' then
            redis.call('ZREM', deliveries, id)
        else
            redis.call('ZADD', deliveries, 'XX', text(now + tonumber(again_in_s)), id)
        end
    """,
}

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
    if parts.scheme not in SCHEMES or not usable:
        # Not repeated: it may hold a password.
        raise InvalidConfiguration(
            "The task store is not a URL of Redis.",
            remedy="Write redis://HOST:6379/0, rediss://… for TLS, or unix:///path/to/socket.",
        )
    if find_spec("redis") is None:
        raise MissingDependency(
            "Tasks in Redis need its library.", remedy="Install it: pip install 'dosirak[redis]'."
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

    @property
    def renew_every_s(self) -> float:
        """How often to renew leases: one that is late twice is still in time."""
        return self._limits.lease_s / 3

    def open(self) -> None:
        """Connect, and take over the tasks of servers that are gone."""
        from redis import Redis
        from redis.backoff import NoBackoff
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
            name: cast("Callable[..., Any]", client.register_script(_PRELUDE + text))
            for name, text in _SCRIPTS.items()
        }
        self.take_over()
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
        """Take the oldest waiting task for this server."""
        kept = self._do("claim", self._owner, self._limits.lease_s)
        if kept is None:
            return None
        task_id, api, attempts, request, body = kept
        return ClaimedTask(
            task_id.decode(), api.decode(), int(attempts), unpack_request(request, body)
        )

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
        self._do("take_over")

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
        client = self._redis
        with _reaching():
            return self._scripts[script](keys=[self._prefix], args=arguments, client=client)

    def _fields(self, task_id: str, *names: str) -> list[bytes | None]:
        with _reaching():
            found = self._redis.hmget(f"{self._prefix}task:{task_id}", list(names))
        return cast("list[bytes | None]", found)

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


@contextmanager
def _reaching() -> Generator[None]:
    """Turn what the library raises into an error of ours.

    Raises:
        InvalidConfiguration: Redis refuses the credential.
        Unavailable: Redis cannot be reached, or cannot do this now.
    """
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

    try:
        yield
    except (AuthenticationError, NoPermissionError) as error:
        raise InvalidConfiguration(
            "Redis refuses the credential of the task store.",
            remedy="Correct the user and password in the URL of the task store.",
        ) from error
    except RedisError as error:
        raise Unavailable(
            "The task store cannot be reached.",
            remedy="Check that Redis is running, and the URL of the task store.",
        ) from error
