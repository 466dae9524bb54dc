"""`serve`: a listener, a pool of workers, and an orderly end.

    bind ─▶ workers ready ─▶ listen ─▶ … ─▶ SIGTERM ─▶ not ready ─▶ drain ─▶ stop hooks ─▶ exit

The port is bound first, so that a taken one is said at once; connections are accepted when every
worker is ready. On a signal the server says that it is not ready and asks clients to reconnect
elsewhere, but goes on answering for a moment: a request that was already on its way is not lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import uvicorn
import uvloop

from dosirak.bundles.targets import pinned_target
from dosirak.observe.access_log import LogStyle, open_access_log
from dosirak.observe.logs import configure_logging
from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.garbage_collection import settle
from dosirak.serving.heads import HeadReader
from dosirak.serving.hot_protocol import HotRoute, HotServer
from dosirak.serving.hot_routes import HotAccount, hot_routes
from dosirak.serving.http.application import create_http_application
from dosirak.serving.http.connection import bounded_connections
from dosirak.serving.http.guard import Guard
from dosirak.serving.http.options import MEBIBYTE, HttpOptions
from dosirak.serving.limits import check_ranges, check_times
from dosirak.serving.listener import (
    check_exposure,
    ignore_new_connections,
    is_loopback,
    open_listener,
    url_of,
    waiting_connections,
)
from dosirak.serving.messages import Start
from dosirak.serving.pool import MOST_OUTSTANDING, Pool
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.task_store import TaskStore
from dosirak.settings import Settings
from dosirak.store import Store

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# How long clients that keep a connection open may go on using it after a signal.
_LINGER_S = 1.0
# How long connections that were begun may take to be accepted, and when none is left.
_ACCEPT_S = 1.0
_QUIET_S = 0.02
# Next to nothing that the front makes is in a cycle.
_YOUNG_OBJECTS = 50_000
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Serving:
    """The server is ready."""

    url: str
    service: str
    routes: tuple[str, ...]
    workers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stopping:
    """A signal came; requests in progress are finished."""

    signal: str


Report = Callable[[Serving | Stopping], None]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that `serve` was asked for."""

    target: str
    workers: int | None
    options: HttpOptions
    max_outstanding: int
    drain_delay_s: float
    drain_timeout_s: float
    hang_grace_s: float
    access_log: LogStyle
    settings: Settings
    report: Report


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int | None = None,
    token: str | None = None,
    allowed_hosts: Iterable[str] = (),
    max_body_bytes: int = 100 * MEBIBYTE,
    max_head_bytes: int = 64 * 1024,
    max_headers: int = 200,
    max_outstanding: int = MOST_OUTSTANDING,
    timeout_s: float = 60.0,
    head_timeout_s: float = 10.0,
    body_grace_s: float = 10.0,
    body_bytes_per_s: int = 1024,
    send_timeout_s: float = 60.0,
    drain_delay_s: float = 0.0,
    drain_timeout_s: float = 30.0,
    hang_grace_s: float = 5.0,
    access_log: LogStyle = "auto",
    settings: Settings | None = None,
    report: Report | None = None,
) -> int:
    """Serve a target over HTTP until a signal comes; return the exit code.

    Args:
        target: what to serve: `module:Class`, a file, a directory, a bundle or a model.
        host: the address to listen on; one that others can reach needs a token.
        port: 0 takes a free one, which `report` is told.
        workers: processes that load the models; what the service asks for when None.
        token: what callers must send as `Authorization: Bearer`.
        allowed_hosts: names, besides loopback and `host`, by which clients may call the server.
        max_body_bytes: largest request body.
        max_head_bytes: largest target and headers together.
        max_headers: most headers.
        max_outstanding: calls accepted and not answered; more are refused.
        timeout_s: longest time for a call whose api says nothing else.
        head_timeout_s: longest time for a request's head to arrive.
        body_grace_s: time before a body must arrive at `body_bytes_per_s`.
        body_bytes_per_s: slowest pace of a body after that.
        send_timeout_s: longest time for a client to take a piece of a stream.
        drain_delay_s: after a signal, how long to say that the server is not ready and still accept
            connections: time for a load balancer to notice.
        drain_timeout_s: longest time for requests in progress after a signal.
        hang_grace_s: how long after its deadline a handler may run on before its worker is ended.
        access_log: `auto` is text on a terminal and JSON elsewhere.
        settings: where the store is; read from the environment when None.
        report: told when the server is ready and when it stops.

    Returns:
        0 after an orderly end; 128 and the signal's number when a second one cut it short.

    Raises:
        InvalidConfiguration: an option is out of range, the port is taken, or others could call
            the service without a token (the caller's fault).
        DosirakError: the target cannot be served; the message says why.
    """
    check_exposure(host, token)
    options = HttpOptions(
        token=token,
        allowed_hosts=_allowed_hosts(host, token, allowed_hosts),
        max_body_bytes=max_body_bytes,
        timeout_s=timeout_s,
        head_timeout_s=head_timeout_s,
        max_head_bytes=max_head_bytes,
        max_headers=max_headers,
        body_grace_s=body_grace_s,
        body_bytes_per_s=body_bytes_per_s,
        send_timeout_s=send_timeout_s,
    )
    check_ranges(workers, max_outstanding, options)
    check_times(options, (drain_timeout_s, drain_delay_s, hang_grace_s))
    plan = _Plan(
        target=target,
        workers=workers,
        options=options,
        max_outstanding=max_outstanding,
        drain_delay_s=drain_delay_s,
        drain_timeout_s=drain_timeout_s,
        hang_grace_s=hang_grace_s,
        access_log=access_log,
        settings=settings or Settings.from_environment(),
        report=report or _say_nothing,
    )
    listener = open_listener(host, port)
    with listener:
        return uvloop.run(_Server(plan, listener).run())


class _Server:
    """One run of `serve`."""

    def __init__(self, plan: _Plan, listener: socket.socket) -> None:
        self._plan = plan
        self._listener = listener
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> int:
        style = _log_style(self._plan.access_log)
        configure_logging(style)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            return await self._run_pool(
                Pool(
                    self._start_message(style),
                    workers=self._plan.workers,
                    max_outstanding=self._plan.max_outstanding,
                )
            )
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def _run_pool(self, pool: Pool) -> int:
        starting = asyncio.create_task(pool.start())
        stopped = asyncio.create_task(self._signals.get())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return 0
        stopped.cancel()
        description = starting.result()
        try:
            return await self._run_server(pool, description)
        finally:
            pool.kill()
            await pool.stop(timeout_s=0.0)

    async def _run_server(self, pool: Pool, description: ServiceDescription) -> int:
        metrics = ServingMetrics(service=description.name)
        pool.report_to(metrics)
        access_log = open_access_log(self._plan.access_log, sys.stderr)
        tasks = self._task_queue(pool, description, metrics)
        application = create_http_application(
            description,
            pool,
            options=self._plan.options,
            metrics=metrics,
            tasks=tasks,
            access_log=access_log,
        )
        account = HotAccount(metrics, access_log)
        pool.on_batch(account.take_batch)
        routes = hot_routes(description, pool, account, timeout_s=self._plan.options.timeout_s)
        server = _Uvicorn(_uvicorn_config(application, self._plan), routes, self._plan.options)
        async with contextlib.AsyncExitStack() as stack:
            if access_log is not None:
                access_log.start()
                stack.callback(access_log.close)
            if tasks is not None:
                await tasks.start()
                stack.push_async_callback(tasks.stop)
            return await self._listen(server, application, pool, description)

    async def _listen(
        self,
        server: _Uvicorn,
        application: Guard,
        pool: Pool,
        description: ServiceDescription,
    ) -> int:
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        accepting = asyncio.create_task(server.accepting.wait())
        await asyncio.wait({accepting, serving}, return_when=asyncio.FIRST_COMPLETED)
        settle(_YOUNG_OBJECTS)
        self._plan.report(
            Serving(
                url_of(self._listener),
                description.name,
                tuple(api.route for api in description.apis),
                pool.pids,
            )
        )
        number = await self._signals.get()
        self._plan.report(Stopping(number.name))
        draining = asyncio.create_task(self._drain(application, pool, server, serving))
        second = asyncio.create_task(self._signals.get())
        await asyncio.wait({draining, second}, return_when=asyncio.FIRST_COMPLETED)
        if second.done():
            server.force_exit = server.should_exit = True
            draining.cancel()
            serving.cancel()
            await asyncio.wait({draining, serving})
            return 128 + second.result()
        second.cancel()
        draining.result()
        return 0

    async def _drain(
        self,
        application: Guard,
        pool: Pool,
        server: _Uvicorn,
        serving: asyncio.Task[None],
    ) -> None:
        pool.drain()
        application.closes_connections = server.hot.draining = True
        await asyncio.sleep(self._plan.drain_delay_s)
        ignore_new_connections(self._listener)
        await self._accept_waiting()
        server.close_listeners()
        # Clients with an open connection are told to leave with their next answer; closing it
        # under them could lose a request that is already on its way.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_LINGER_S, self._plan.drain_timeout_s)):
                while server.server_state.connections or server.hot.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(0.02)
        server.hot.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.drain_timeout_s):
                while server.hot.connections:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
        server.hot.abort()
        server.should_exit = True
        await serving
        await pool.stop(timeout_s=max(1.0, self._plan.drain_timeout_s))

    async def _accept_waiting(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACCEPT_S):
                quiet_s = 0.0
                while quiet_s < _QUIET_S:
                    await asyncio.sleep(0.005)
                    waiting = waiting_connections(self._listener)
                    quiet_s = 0.0 if waiting else quiet_s + 0.005

    def _task_queue(
        self, pool: Pool, description: ServiceDescription, metrics: ServingMetrics
    ) -> TaskQueue | None:
        if not any(api.kind == "task" for api in description.apis):
            return None
        store = TaskStore(self._plan.settings.home / "state" / "tasks" / description.name)
        concurrency = max(1, (self._plan.workers or description.workers) * description.threads)
        return TaskQueue(store, pool, description, metrics, concurrency=concurrency)

    def _start_message(self, style: Literal["text", "json"]) -> Start:
        return Start(
            target=pinned_target(
                self._plan.target, store=Store(self._plan.settings.home / "store")
            ),
            home=str(self._plan.settings.home),
            log_style=style,
            hang_grace_s=self._plan.hang_grace_s,
        )


class _Uvicorn(uvicorn.Server):
    """Uvicorn behind the hot path, and without its signal handling: ours drains first."""

    def __init__(
        self, config: uvicorn.Config, routes: Mapping[bytes, HotRoute], options: HttpOptions
    ) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()
        self.hot = HotServer(
            heads=HeadReader(routes, options),
            routes=routes,
            hand_over=self._make_protocol,
            options=options,
            idle_s=config.timeout_keep_alive,
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections, and say so."""
        await super().startup([])
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            self.servers.append(
                await loop.create_server(
                    self.hot.connect, sock=listener, backlog=self.config.backlog
                )
            )
        self.accepting.set()

    async def on_tick(self, counter: int) -> bool:
        """Look after time, ten times a second (uvicorn calls this)."""
        if counter % 5 == 0:
            self.hot.sweep()
        return await super().on_tick(counter)

    def _make_protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def close_listeners(self) -> None:
        """Refuse new connections; those accepted go on."""
        for server in self.servers:
            server.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def _uvicorn_config(application: Guard, plan: _Plan) -> uvicorn.Config:
    # Every answer and error is logged by the guard; what uvicorn would add is noise: a stream that
    # a handler broke is, to uvicorn, an application that failed.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    return uvicorn.Config(
        application,
        loop="none",
        http=bounded_connections(plan.options),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(plan.drain_timeout_s)),
        backlog=2048,
    )


def _allowed_hosts(host: str, token: str | None, more: Iterable[str]) -> frozenset[str] | None:
    named = frozenset(name.lower() for name in more)
    if not named and not is_loopback(host):
        # Others reach this server by names that it cannot know, and none of them without the token.
        return None
    return _LOOPBACK_NAMES | {host.lower()} | named


def _log_style(access_log: LogStyle) -> Literal["text", "json"]:
    if access_log in ("text", "json"):
        return access_log
    return "text" if sys.stderr.isatty() else "json"


def _say_nothing(_event: Serving | Stopping) -> None:
    pass
