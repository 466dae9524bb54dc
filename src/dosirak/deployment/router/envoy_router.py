"""`Router`, by Envoy: renders the table, writes what changed in the order that loses nothing.

    clusters (new beside old) ─▶ routes ─▶ listeners ─▶ probe        later: old clusters go

Each arrow waits until Envoy says that it follows what was written. The probe is a private listener
whose answer comes from the thread that serves: what it says is in effect there, with all that was
written before it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.router.access_log import AccessLogFile
from dosirak.deployment.router.admin import Admin, RouterSilent
from dosirak.deployment.router.bootstrap import bootstrap
from dosirak.deployment.router.certificates import certificate_secret
from dosirak.deployment.router.claims import Claims, claims_of
from dosirak.deployment.router.clusters import RevisionName, clusters
from dosirak.deployment.router.file_names import BOOTSTRAP
from dosirak.deployment.router.files import WatchedFiles, replace_file
from dosirak.deployment.router.listeners import listeners, own_ports
from dosirak.deployment.router.old_clusters import OldClusters
from dosirak.deployment.router.ports import check_free, holder_of, is_free
from dosirak.deployment.router.process import EnvoyProcess
from dosirak.deployment.router.publication import FileRefused, Publication, wait_until
from dosirak.deployment.router.reachable import reachable
from dosirak.deployment.router.resources import Resource
from dosirak.deployment.router.routes import main_routes, probe_routes
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.router.traffic import COUNTERS, TIMES, traffic_of
from dosirak.deployment.routing import RevisionTraffic, RoutingTable
from dosirak.errors import InvalidConfiguration, Unavailable

_START_S = 30.0
_END_S = 5.0


class EnvoyRouter:
    """The data plane of one home.

    Args:
        paths: where its folder is.
        settings: where it listens and what it bears.
    """

    def __init__(self, paths: PlatformPaths, settings: RouterSettings) -> None:
        self._folder = paths.router.absolute()
        self._settings = settings
        self._files = WatchedFiles(self._folder)
        self._admin = Admin(self._folder)
        self._process = EnvoyProcess(self._folder)
        self._publication = Publication(self._files, self._admin, self._process)
        self._old = OldClusters(self._admin)
        self._access_log = AccessLogFile(self._folder, self._admin, settings.access_log_bytes)
        self._loaded = False
        self._adopted = False
        self._claims: Claims | None = None
        self._unreachable: tuple[str, ...] = ()
        self._refused_ports: dict[str, int] = {}
        self._refused_certificate = ""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What was asked for in vain: replicas, hosts, ports, certificates; as sentences."""
        disputes = self._claims.disputes if self._claims else ()
        taken = (
            f"The port {port} of the deployment {name!r} belongs to {holder_of(port)}."
            for name, port in self._refused_ports.items()
        )
        return (*self._unreachable, *disputes, *taken, *filter(None, [self._refused_certificate]))

    def ensure_running(self) -> None:
        """Start Envoy, or adopt the one that runs; it goes on with the files that are there.

        To be called now and then: it also removes clusters that have become idle, reads
        certificates that have changed, opens ports that were another's, and bounds the logs.

        Raises:
            MissingDependency: Envoy is not installed.
            InvalidConfiguration: the address or the certificate cannot be used.
            Unavailable: the port is another process's, or Envoy does not start.
        """
        self._load()
        if not self._process.running:
            self._start()
        if not self._adopted:
            self._await_ready()
            self._adopted = True
        self._tidy()

    def apply(self, table: RoutingTable) -> int:
        """Write the table; return its version once Envoy's main thread follows it.

        While Envoy does not run, the files are written all the same.

        Raises:
            Unavailable: Envoy refuses what was written, or does not take it up in time.
        """
        self._load()
        table, self._unreachable = reachable(table)
        self._claims = claims = claims_of(table, self._settings)
        wanted = clusters(table, self._settings)
        routes = {"main": main_routes(table, claims, self._settings)}
        version = self._files.newest + 1
        held = self._old.without_idle(self._files.held("clusters"))
        changed = self._publication.write("clusters", {**held, **wanted}, version)
        changed |= self._publication.write("routes-main", routes, version)
        self._old.note(self._files.held("clusters"), wanted)
        changed |= self._listen(version)
        if not changed and 0 < self._files.complete == self._files.newest:
            return self._files.complete
        self._publication.write("routes-probe", {"probe": probe_routes(version)}, version)
        return version

    def applied_version(self) -> int:
        """Return the version that requests follow now, from the thread that serves them."""
        try:
            return int(self._admin.probed())
        except (RouterSilent, ValueError):
            return 0

    def in_flight(self, replica: str) -> int:
        """Return how many requests a replica has from the router; 0 while Envoy does not run.

        Raises:
            Unavailable: Envoy runs and does not say.
        """
        try:
            hosts = self._admin.hosts()
        except RouterSilent as error:
            if self._process.running:
                raise Unavailable(
                    "The router does not say what is under way.", remedy="Try again in a moment."
                ) from error
            return 0
        return sum(host.requests_active for host in hosts if host.replica == replica)

    def traffic(self) -> tuple[RevisionTraffic, ...]:
        """Return what Envoy counted since it was started; nothing while it does not run."""
        self._load()
        named = (RevisionName.of_cluster(name) for name in self._files.held("clusters"))
        revisions = {name for name in named if name is not None}
        try:
            return traffic_of(revisions, self._admin.stats(COUNTERS), self._admin.quantiles(TIMES))
        except RouterSilent:
            return ()

    def stop(self) -> None:
        """End Envoy, once its requests have ended or the drain timeout has passed.

        Raises:
            Unavailable: its process does not end.
        """
        if not self._folder.exists() or not self._process.running:
            return
        # Where it does not answer, the signal is all that is left.
        with contextlib.suppress(RouterSilent):
            self._admin.tell("/drain_listeners?graceful&skip_exit")
            wait_until(self._idle, self._settings.drain_timeout_s)
        self._process.end(within_s=_END_S)
        self._adopted = False

    def _load(self) -> None:
        if not self._loaded:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            self._files.load()
            self._loaded = True

    def _start(self) -> None:
        check_free(self._settings.host, self._settings.port, "The router")
        self._write_first_files()
        self._adopted = False
        self._process.start(
            [
                *("-c", BOOTSTRAP, "--concurrency", str(self._settings.threads)),
                *("--disable-hot-restart", "--log-level", self._settings.log_level),
                *("--drain-time-s", str(max(1, int(self._settings.drain_timeout_s)))),
                *("--drain-strategy", "immediate"),
            ]
        )

    def _write_first_files(self) -> None:
        first = bootstrap(self._folder, self._settings)
        replace_file(self._folder / BOOTSTRAP, json.dumps(first).encode())
        nothing = RoutingTable()
        claims = claims_of(nothing, self._settings)
        version = self._files.newest
        empty: dict[str, dict[str, Resource]] = {
            "clusters": {},
            "routes-main": {"main": main_routes(nothing, claims, self._settings)},
            "routes-probe": {"probe": probe_routes(0)},
        }
        for name, resources in empty.items():
            if not self._files.word(name):
                self._files.write(name, resources, version)
        self._files.write("secrets", self._secrets(), version)
        ports = own_ports(self._files.held("listeners"))
        opened = self._listeners(port for port in ports if self._is_free(port))
        self._files.write("listeners", opened, version)

    def _await_ready(self) -> None:
        def ready_or_ended() -> bool:
            return self._admin.ready() or not self._process.running

        if not wait_until(ready_or_ended, _START_S) or not self._process.running:
            raise Unavailable(
                f"The router does not start: {self._process.said(lines=3)}",
                remedy="Look at the router's log.",
            )

    def _tidy(self) -> None:
        self._renew_certificate()
        if self._files.complete == self._files.newest:
            held = self._files.held("clusters")
            kept = self._old.without_idle(held)
            if len(kept) < len(held):
                self._publication.write("clusters", kept, self._files.newest)
            if self._refused_ports:
                self._listen(self._files.newest)
        self._access_log.bound()
        self._process.bound_log()

    def _listen(self, version: int) -> bool:
        """Open the ports that can be had; say whether anything changed."""
        wanted = self._claims.ports if self._claims else {}
        ours = own_ports(self._files.held("listeners")) if self._process.running else frozenset()
        free = {port for port in wanted.values() if port in ours or self._is_free(port)}
        try:
            changed = self._publication.write("listeners", self._listeners(free), version)
        except FileRefused:
            # Another process was quicker; the ports that there were stay open.
            free &= ours
            changed = self._publication.write("listeners", self._listeners(free), version)
        self._refused_ports = {name: port for name, port in wanted.items() if port not in free}
        return changed

    def _listeners(self, ports: Iterable[int]) -> dict[str, Resource]:
        return listeners(self._folder, ports, self._settings)

    def _is_free(self, port: int) -> bool:
        return is_free(self._settings.host, port)

    def _secrets(self) -> dict[str, Resource]:
        certificate, key = self._settings.certificate, self._settings.key
        if certificate is None and key is None:
            return {}
        if certificate is None or key is None:
            raise InvalidConfiguration(
                "The router has a certificate or a key alone.", remedy="Give both, or neither."
            )
        return {"certificate": certificate_secret(certificate, key)}

    def _renew_certificate(self) -> None:
        try:
            self._files.write("secrets", self._secrets(), self._files.newest)
            self._refused_certificate = ""
        except InvalidConfiguration as error:
            # It goes on with the pair that it has.
            self._refused_certificate = error.message

    def _idle(self) -> bool:
        return not any(host.requests_active for host in self._admin.hosts())
