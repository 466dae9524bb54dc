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
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import uvloop

from dosirak.errors import InvalidConfiguration
from dosirak.observe.access_log import AccessLog, LogStyle, open_access_log
from dosirak.observe.inference_log import InferenceLogPlan
from dosirak.observe.logs import ROOT_LOGGER, configure_logging
from dosirak.serving.descriptors import raise_limit, set_limit, soft_limit
from dosirak.serving.front import Front
from dosirak.serving.fronts import Fronts
from dosirak.serving.garbage_collection import settle
from dosirak.serving.http.options import MEBIBYTE, HttpOptions
from dosirak.serving.http2 import check_http2
from dosirak.serving.http_server import HttpServer
from dosirak.serving.limits import check_ranges, check_times
from dosirak.serving.listener import (
    check_admin_token,
    check_exposure,
    is_loopback,
    open_listener,
    open_more_listeners,
    url_of,
)
from dosirak.serving.memory_limit import limit_of
from dosirak.serving.plan import (
    Event,
    Reloaded,
    Reloading,
    Report,
    ServePlan,
    Serving,
    Stopping,
    TlsFiles,
)
from dosirak.serving.pool import MOST_OUTSTANDING
from dosirak.serving.task_plan import TaskPlan
from dosirak.serving.tls import server_context
from dosirak.serving.unix_listener import open_unix_listener
from dosirak.serving.worker_shares import StartMode, WorkerOptions
from dosirak.settings import Settings

__all__ = ["Event", "Reloaded", "Reloading", "Report", "Serving", "Stopping", "log_style", "serve"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Next to nothing that the front makes is in a cycle.
_YOUNG_OBJECTS = 50_000
_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    unix_socket: Path | None = None,
    access_file: Path | None = None,
    fronts: int = 1,
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
    start_timeout_s: float = 600.0,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
    http2: bool = False,
    admin_token: str | None = None,
    watch: bool = False,
    reload: bool = False,
    worker_memory_limit_bytes: int | None = None,
    worker_memory_hard_limit_bytes: int | None = None,
    worker_start: StartMode = "auto",
    worker_threads: int | None = None,
    pin_cpus: bool = False,
    quarantine_after: int = 2,
    quarantine_s: float = 600.0,
    access_log: LogStyle = "auto",
    inference_log: InferenceLogPlan | None = None,
    tasks: TaskPlan = TaskPlan(),
    settings: Settings | None = None,
    report: Report | None = None,
) -> int:
    """Serve a target over HTTP until a signal comes; return the exit code.

    Args:
        target: what to serve: `module:Class`, a file, a directory, a bundle or a model.
        host: the address to listen on; one that others can reach needs a token.
        port: 0 takes a free one, which `report` is told.
        unix_socket: a Unix socket to listen on in place of `host` and `port`, for a proxy of the
            same user: any Host is answered, and what it forwards of its callers is believed.
        access_file: a JSON file with hashes of the tokens that callers may have; it may change
            while the server runs, and one that is missing or broken lets nobody in.
        fronts: processes that accept connections on the port; one does until its core is busy.
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
        drain_timeout_s: longest time for requests in progress after a signal, and for those of an
            old revision after a reload.
        hang_grace_s: how long after its deadline a handler may run on before its worker is ended.
        start_timeout_s: how long workers may take to become ready.
        tls_certificate: a PEM file with the server's certificate: the server then speaks HTTPS.
        tls_key: a PEM file with its key, if that is in a file of its own.
        tls_client_ca: clients need a certificate of one of the authorities in this PEM file.
        http2: speak HTTP/2, too: with clients that choose it in their TLS handshake, or begin with
            it. Needs hypercorn.
        admin_token: what `POST /admin/reload` needs; without one the admin routes are closed.
        watch: reload when the store has a newer version of what has no fixed one.
        reload: for development: reload when the service's own files change, too.
        worker_memory_limit_bytes: a worker that holds more is replaced.
        worker_memory_hard_limit_bytes: one that holds more is ended; half as much again as the
            other limit when None.
        worker_start: `fork` workers from a process that has imported the service, once for all and
            in memory that they share; `spawn` each anew; `auto` forks where there are several and
            it is safe. Where it is not safe they are spawned, whatever is said.
        worker_threads: of the numerical libraries in each worker; its share of the CPUs when None.
        pin_cpus: give each worker CPUs of its own.
        quarantine_after: an input that ended as many workers is refused; 0 refuses none.
        quarantine_s: how long, from the last of them.
        access_log: `auto` is text on a terminal and JSON elsewhere.
        inference_log: what to keep of requests and answers, and where; nothing when None.
        tasks: how tasks are kept.
        settings: where the store is; read from the environment when None.
        report: told when the server is ready and when it stops.

    Returns:
        0 after an orderly end; 128 and the signal's number when a second one cut it short.

    Raises:
        InvalidConfiguration: an option is out of range, the port is taken, or others could call
            the service without a token (the caller's fault).
        MissingDependency: the inference log, the store of tasks or HTTP/2 needs a library that is
            not installed.
        DosirakError: the target cannot be served; the message says why.
    """
    open_to_all = token is None and access_file is None
    if open_to_all or token is not None:
        check_exposure("localhost" if unix_socket is not None else host, token)
    if access_file is not None and token is not None:
        raise InvalidConfiguration(
            "There are a token and a file of tokens, and callers can send only one.",
            remedy="Leave --access-file out, or --token-file and DOSIRAK_TOKEN.",
        )
    if admin_token is not None:
        check_admin_token(admin_token, token)
    options = HttpOptions(
        token=token,
        # Whoever is behind a Unix socket has judged the name.
        allowed_hosts=None if unix_socket else _allowed_hosts(host, token, allowed_hosts),
        behind_proxy=unix_socket is not None,
        access_file="" if access_file is None else str(access_file.absolute()),
        max_body_bytes=max_body_bytes,
        timeout_s=timeout_s,
        head_timeout_s=head_timeout_s,
        max_head_bytes=max_head_bytes,
        max_headers=max_headers,
        body_grace_s=body_grace_s,
        body_bytes_per_s=body_bytes_per_s,
        send_timeout_s=send_timeout_s,
        admin_token=admin_token,
    )
    check_ranges(workers, max_outstanding, options, worker_threads, fronts=fronts)
    times_s = (drain_timeout_s, drain_delay_s, hang_grace_s, start_timeout_s, quarantine_s)
    check_times(options, times_s)
    if inference_log is not None:
        inference_log.check()
    tasks.check()
    if http2:
        check_http2()
    plan = ServePlan(
        target=target,
        workers=workers,
        options=options,
        tls=server_context(tls_certificate, tls_key, tls_client_ca, http2=http2),
        tls_files=TlsFiles(tls_certificate, tls_key, tls_client_ca),
        http2=http2,
        fronts=fronts,
        max_outstanding=max_outstanding,
        start_timeout_s=start_timeout_s,
        drain_delay_s=drain_delay_s,
        drain_timeout_s=drain_timeout_s,
        hang_grace_s=hang_grace_s,
        access_log=access_log,
        inference_log=inference_log,
        memory=limit_of(worker_memory_limit_bytes, worker_memory_hard_limit_bytes),
        worker_options=WorkerOptions(worker_start, worker_threads, pin_cpus),
        quarantine_after=quarantine_after,
        quarantine_s=quarantine_s,
        watches_store=watch or reload,
        watches_files=reload,
        tasks=tasks,
        settings=settings or Settings.from_environment(),
        report=report or _say_nothing,
        open_files=soft_limit(),
    )
    with contextlib.ExitStack() as open_sockets:
        opened = (
            open_unix_listener(unix_socket)
            if unix_socket is not None
            else open_listener(host, port)
        )
        listeners = [open_sockets.enter_context(opened)]
        listeners += map(open_sockets.enter_context, open_more_listeners(listeners[0], fronts - 1))
        return uvloop.run(_Server(plan, listeners).run())


class _Server:
    """One run of `serve`."""

    def __init__(self, plan: ServePlan, listeners: Sequence[socket.socket]) -> None:
        self._plan = plan
        # The first is this process's, the others are for acceptors.
        self._listeners = listeners
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> int:
        style = log_style(self._plan.access_log)
        configure_logging(style)
        raise_limit()
        access_log = open_access_log(self._plan.access_log, sys.stderr)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        front = Front(self._plan, log_style=style, access_log=access_log)
        try:
            return await self._run(front, access_log)
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            set_limit(0, self._plan.open_files)

    async def _run(self, front: Front, access_log: AccessLog | None) -> int:
        starting = asyncio.create_task(front.revisions.start())
        stopped = asyncio.create_task(self._signals.get())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return 0
        stopped.cancel()
        starting.result()
        try:
            async with contextlib.AsyncExitStack() as stack:
                if access_log is not None:
                    access_log.start()
                    stack.callback(access_log.close)
                stack.callback(front.close)
                return await self._listen(front)
        finally:
            front.revisions.kill()
            await front.revisions.stop(timeout_s=0.0)

    async def _listen(self, front: Front) -> int:
        server = front.make_server()
        serving = asyncio.create_task(server.serve(sockets=[]))
        accepting = asyncio.create_task(server.accepting.wait())
        await asyncio.wait({accepting, serving}, return_when=asyncio.FIRST_COMPLETED)
        others = front.make_fronts(server, self._listeners[1:])
        try:
            await others.start()
            # Last: whoever is told that the server is ready finds every front.
            await server.listen(self._listeners[0])
            return await self._serve(front, server, serving, others)
        finally:
            others.kill()

    async def _serve(
        self, front: Front, server: HttpServer, serving: asyncio.Task[None], others: Fronts
    ) -> int:
        settle(_YOUNG_OBJECTS)
        self._plan.report(front.introduction(self._url()))
        watching = [asyncio.create_task(watch) for watch in front.watches()]
        number = await self._signals.get()
        self._plan.report(Stopping(number.name))
        for watch in watching:
            watch.cancel()
        draining = asyncio.create_task(self._drain(front, server, serving, others))
        second = asyncio.create_task(self._signals.get())
        await asyncio.wait({draining, second}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*watching, return_exceptions=True)
        if second.done():
            server.force_exit = server.should_exit = True
            draining.cancel()
            serving.cancel()
            await asyncio.wait({draining, serving})
            return 128 + second.result()
        second.cancel()
        draining.result()
        return 0

    def _url(self) -> str:
        return url_of(self._listeners[0], "https" if self._plan.tls is not None else "http")

    async def _drain(
        self, front: Front, server: HttpServer, serving: asyncio.Task[None], others: Fronts
    ) -> None:
        plan = self._plan
        front.revisions.current.pool.drain()
        closing = asyncio.create_task(front.revisions.close())
        until_s = time.monotonic() + plan.drain_delay_s + plan.drain_timeout_s

        async def cut_off() -> None:
            count = await front.revisions.cut_off()
            if count:
                said = "1 call was" if count == 1 else f"{count} calls were"
                _log.warning(
                    "%s cut off after %g s (--drain-timeout-s).", said, plan.drain_timeout_s
                )

        await server.drain(
            self._listeners,
            serving,
            others,
            delay_s=plan.drain_delay_s,
            until_s=until_s,
            cut_off=cut_off,
        )
        await closing
        # Requests have ended or were cut off: this is for the stop hooks.
        await front.revisions.stop(timeout_s=max(1.0, plan.drain_timeout_s))


def _allowed_hosts(host: str, token: str | None, more: Iterable[str]) -> frozenset[str] | None:
    named = frozenset(name.lower() for name in more)
    if not named and not is_loopback(host):
        # Others reach this server by names that it cannot know, and none of them without the token.
        return None
    return _LOOPBACK_NAMES | {host.lower()} | named


def log_style(access_log: LogStyle) -> Literal["text", "json"]:
    """Return how the server and its workers write their logs."""
    if access_log in ("text", "json"):
        return access_log
    return "text" if sys.stderr.isatty() else "json"


def _say_nothing(_event: Event) -> None:
    pass
