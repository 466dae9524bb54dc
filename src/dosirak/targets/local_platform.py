"""The platform on this machine, put together: state, replicas, Envoy, controller, API, console.

    settings ─▶ state (recovered if damaged) ─▶ router, target ─▶ controller (a thread)
                                             └▶ operations ─▶ API and console (uvicorn)

This process may end at any time: replicas and Envoy go on, and the next one adopts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import uvicorn
from fastapi import FastAPI

from dosirak import __version__
from dosirak.deployment.administration import Administration
from dosirak.deployment.api.application import build_application
from dosirak.deployment.api.guard import LOOPBACK_NAMES, GuardOptions
from dosirak.deployment.api.token_access import access_of
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.mounting import mount_console
from dosirak.deployment.console.sessions import Sessions
from dosirak.deployment.control.bundle_facts import BundleFacts
from dosirak.deployment.control.controller import Controller
from dosirak.deployment.control.orders import Orders
from dosirak.deployment.control.process import ControlRecord, owned_home, write_record
from dosirak.deployment.control.traffic_collector import (
    Onlookers,
    TrafficCollector,
    ready_replicas,
)
from dosirak.deployment.control.traffic_history import TrafficHistory
from dosirak.deployment.ledger import Ledger
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_facts import PlatformFacts
from dosirak.deployment.platform_settings import PlatformSettings
from dosirak.deployment.records import ReplicaPhase
from dosirak.deployment.router.envoy_router import EnvoyRouter
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.state.access_files import publish_access
from dosirak.deployment.state.backups import BackupSchedule
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.deployment.state.recovery import open_or_recover
from dosirak.deployment.state.secrets import resolve_secrets
from dosirak.errors import DosirakError, InvalidConfiguration
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.listener import is_loopback, open_listener
from dosirak.store import Store
from dosirak.targets.local import LocalTarget
from dosirak.targets.service_options import validate_service_options

_logger = logging.getLogger(f"{ROOT_LOGGER}.platform")
_KEEPING_S = 5.0
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class LocalPlatform:
    """The parts of one control plane."""

    settings: PlatformSettings
    state: PlatformState
    target: LocalTarget
    router: EnvoyRouter
    controller: Controller
    traffic: TrafficCollector
    application: FastAPI


def run(paths: PlatformPaths, store: Store) -> None:
    """Be the control plane of a home until SIGTERM or SIGINT.

    Raises:
        Conflict: another control plane owns the home.
        InvalidConfiguration: an address cannot be used.
    """
    settings = PlatformSettings.read(paths.root)
    _check_exposure(settings)
    with (
        owned_home(paths),
        contextlib.closing(open_listener(settings.control_host, settings.control_port)) as socket_,
        _opened_state(paths, settings) as state,
    ):
        record = ControlRecord(_control_url(settings), os.getpid(), time.time(), __version__)
        platform = _assembled(paths, store, settings, state, record)
        with _in_thread("controller", platform.controller.run, platform.controller.stop):
            keeper, traffic = _Keeper(paths, platform), platform.traffic
            with (
                _in_thread("keeper", keeper.run, keeper.stop),
                _in_thread("traffic", traffic.run, traffic.stop),
            ):
                asyncio.run(_serve(platform.application, socket_, paths, record))


def stop_everything(paths: PlatformPaths) -> int:
    """End the replicas and Envoy of a home whose control plane does not run; return how many.

    What is wanted stays written down: the next start brings it back.
    """
    settings = PlatformSettings.read(paths.root)
    target = LocalTarget(paths)
    alive = [name for name, seen in target.look().items() if seen.alive]
    _router(paths, settings).stop()
    if alive:
        _note_stop(paths, settings, alive)
    for name in alive:
        target.stop(name)
    deadline = time.monotonic() + _END_S
    while any(seen.alive for seen in target.look().values()):
        if time.monotonic() > deadline:
            for name, seen in target.look().items():
                if seen.alive:
                    target.kill(name)
        time.sleep(0.05)
    return len(alive)


def _note_stop(paths: PlatformPaths, settings: PlatformSettings, replicas: list[str]) -> None:
    """Write down that these are told to stop, so that the next start takes none for a crash."""
    try:
        with (
            contextlib.closing(open_state(paths, settings.database_url)) as state,
            state.transaction() as transaction,
        ):
            for replica in transaction.replicas():
                if replica.id in replicas and replica.phase.alive:
                    stopping = replace(
                        replica, phase=ReplicaPhase.STOPPING, since_at=transaction.now
                    )
                    transaction.put_replica(stopping)
    except DosirakError as error:
        _logger.warning("It is not written down that the replicas are told to stop. %s", error)


def _assembled(
    paths: PlatformPaths,
    store: Store,
    settings: PlatformSettings,
    state: PlatformState,
    record: ControlRecord,
) -> LocalPlatform:
    target, router = LocalTarget(paths), _router(paths, settings)
    controller = Controller(
        state,
        target,
        router,
        orders=Orders(paths, _secret_values(state, paths)),
        idempotent_paths=BundleFacts().idempotent_paths,
        publish_access=partial(publish_access, state, paths),
        note_uses=lambda uses: store.note_uses("platform", {"bundles": uses}),
    )
    ledger = Ledger.of(paths, state)
    ledger.flush()
    operations = PlatformOperations(
        state=state,
        store=store,
        ledger=ledger,
        wake=controller.wake,
        clock=time.time,
        log_source=target,
        router_url=_router_url(settings),
        check_options=validate_service_options,
    )
    administration = Administration(state, paths, ledger, controller.wake)
    facts = PlatformFacts(
        version=__version__,
        pid=record.pid,
        url=record.url,
        router_url=_router_url(settings),
        started_at=record.started_at,
        require_tokens=settings.require_tokens,
    )
    application = build_application(
        operations,
        administration,
        access_of(administration, time.time, require_tokens=settings.require_tokens),
        facts,
        guard=GuardOptions(allowed_hosts=LOOPBACK_NAMES | {settings.control_host}),
    )
    history, onlookers = TrafficHistory(), Onlookers()
    mount_console(
        application,
        ConsoleParts(
            operations=operations,
            history=history,
            onlookers=onlookers,
            administration=administration,
            sessions=Sessions(),
            router_trust=_router_trust(settings),
        ),
    )
    traffic = TrafficCollector(history, router, lambda: ready_replicas(state, target), onlookers)
    return LocalPlatform(settings, state, target, router, controller, traffic, application)


def _router_trust(settings: PlatformSettings) -> ssl.SSLContext | None:
    """Trust the router's own certificate, whoever signed it: it is the one that was given here."""
    if settings.tls_certificate is None:
        return None
    trust = ssl.create_default_context(cafile=str(settings.tls_certificate))
    # It is reached at this machine's address, which need not be among the certificate's names.
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return trust


def _secret_values(
    state: PlatformState, paths: PlatformPaths
) -> Callable[[tuple[str, ...]], Mapping[str, str]]:
    def values(names: tuple[str, ...]) -> Mapping[str, str]:
        if not names:
            return {}
        with state.reading() as reading:
            return resolve_secrets(reading, paths, names)

    return values


def _router(paths: PlatformPaths, settings: PlatformSettings) -> EnvoyRouter:
    return EnvoyRouter(
        paths,
        RouterSettings(
            host=settings.host,
            port=settings.port,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            threads=settings.router_threads,
        ),
    )


class _Server(uvicorn.Server):
    """uvicorn, which says that it has started and leaves signals to who runs it."""

    def __init__(self, application: FastAPI, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=3,
            )
        )
        self._application = application
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then say so."""
        await super().startup(sockets)
        self._say_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Have open streams end, then wait for what is being answered."""
        self._application.state.stopping = True
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop at a signal; uvicorn's own way would send it to this process once more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve(
    application: FastAPI, listener: socket.socket, paths: PlatformPaths, record: ControlRecord
) -> None:
    """Answer until a signal comes; say where once it does."""

    def started() -> None:
        write_record(paths, record)
        _logger.info("The control plane is at %s.", record.url)

    await _Server(application, started).serve(sockets=[listener])


@contextlib.contextmanager
def _opened_state(paths: PlatformPaths, settings: PlatformSettings) -> Generator[PlatformState]:
    """Open the state; a damaged database is set aside and the best backup put in its place."""
    state, _ = open_or_recover(paths, settings.database_url, say=_logger.warning)
    try:
        yield state
    finally:
        state.close()


@contextlib.contextmanager
def _in_thread(name: str, work: Callable[[], None], stop: Callable[[], None]) -> Generator[None]:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(_END_S)


class _Keeper:
    """Makes backups when they are due, and says what troubles the router; each once."""

    def __init__(self, paths: PlatformPaths, platform: LocalPlatform) -> None:
        self._platform = platform
        self._schedule = BackupSchedule(paths) if platform.state.is_embedded else None
        self._stopping = threading.Event()
        self._told: tuple[str, ...] = ()

    def run(self) -> None:
        """Look every few seconds until it is stopped."""
        while not self._stopping.wait(_KEEPING_S):
            troubles = (*self._backup_trouble(), *self._platform.router.troubles)
            for trouble in troubles:
                if trouble not in self._told:
                    _logger.error("%s", trouble)
            self._told = troubles

    def stop(self) -> None:
        """End after the present look."""
        self._stopping.set()

    def _backup_trouble(self) -> tuple[str, ...]:
        if self._schedule is None:
            return ()
        try:
            self._schedule.take_if_due(self._platform.state.commits(), time.time())
        except DosirakError as error:
            return (f"No backup was made. {error}",)
        return ()


def _check_exposure(settings: PlatformSettings) -> None:
    if settings.require_tokens or is_loopback(settings.control_host):
        return
    raise InvalidConfiguration(
        f"The control plane on {settings.control_host} would let anybody change deployments.",
        remedy="Add --require-tokens, after making a token with `dosirak tokens create`, or leave"
        " it on 127.0.0.1.",
    )


def _control_url(settings: PlatformSettings) -> str:
    return f"http://{_in_url(settings.control_host)}:{settings.control_port}"


def _router_url(settings: PlatformSettings) -> str:
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{_in_url(settings.host)}:{settings.port}"


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - as it is called from here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
