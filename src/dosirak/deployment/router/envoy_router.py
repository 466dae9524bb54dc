"""`Router`, by Envoy: renders the table, writes what changed in the order that loses nothing.

    clusters (new beside old) ─▶ routes ─▶ listeners ─▶ probe        later: old clusters go

Each arrow waits until Envoy says that it follows what was written. The probe is a private listener
that is written last and answered by the thread that serves: what it says is in effect there, with
all that was written before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.router.admin import Admin, Followed, RouterSilent
from dosirak.deployment.router.bootstrap import bootstrap, certificate_secret
from dosirak.deployment.router.claims import Claims, claims_of
from dosirak.deployment.router.clusters import RevisionName, clusters
from dosirak.deployment.router.files import WatchedFiles, replace_file
from dosirak.deployment.router.listeners import listeners
from dosirak.deployment.router.ports import check_free, is_free
from dosirak.deployment.router.process import EnvoyProcess
from dosirak.deployment.router.resources import Resource
from dosirak.deployment.router.routes import main_routes, probe_routes
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.router.traffic import COUNTERS, TIMES, traffic_of
from dosirak.deployment.routing import RevisionTraffic, RoutingTable
from dosirak.errors import Unavailable

_START_S = 30.0
_FOLLOW_S = 15.0
# A request that is to be repeated still means the cluster that it had, for a moment.
_LINGER_S = 5.0


class EnvoyRouter:
    """The data plane of one home.

    Args:
        paths: where its folder is.
        settings: where it listens and what it bears.
    """

    def __init__(self, paths: PlatformPaths, settings: RouterSettings) -> None:
        self._folder = paths.router
        self._settings = settings
        self._files = WatchedFiles(self._folder)
        self._admin = Admin(self._folder)
        self._process = EnvoyProcess(self._folder)
        self._loaded = False
        self._left_at_s: dict[str, float] = {}
        self._troubles: tuple[str, ...] = ()

    @property
    def troubles(self) -> tuple[str, ...]:
        """Host names and ports that the last table asked for in vain, as sentences."""
        return self._troubles

    def ensure_running(self) -> None:
        """Start Envoy, or adopt the one that runs; it goes on with the files that are there.

        Raises:
            MissingDependency: Envoy is not installed.
            Unavailable: the port is another process's, or Envoy does not start.
        """
        self._load()
        if self._process.running:
            self._await_ready()
            self._tidy()
            return
        check_free(self._settings.host, self._settings.port, "The router")
        self._write_first_files()
        self._process.start(
            [
                *("-c", "bootstrap.json", "--concurrency", str(self._settings.threads)),
                *("--disable-hot-restart", "--log-level", self._settings.log_level),
                *("--drain-time-s", str(max(1, int(self._settings.drain_timeout_s)))),
                *("--drain-strategy", "immediate"),
            ]
        )
        self._await_ready()

    def apply(self, table: RoutingTable) -> int:
        """Write the table; return its version once Envoy's main thread follows it.

        While Envoy does not run, the files are written all the same.

        Raises:
            Unavailable: Envoy refuses what was written, or does not take it up in time.
        """
        self._load()
        claims = self._claims(table)
        wanted = clusters(table, self._settings)
        routes = {"main": main_routes(table, claims, self._settings)}
        opened = listeners(self._folder, claims, self._settings)
        version = self._files.newest + 1
        changed = self._write("clusters", {**self._still_used(wanted), **wanted}, version)
        changed |= self._write("routes-main", routes, version)
        self._note_left(wanted)
        changed |= self._write("listeners", opened, version)
        if not changed and self._files.complete == self._files.newest:
            return self._files.complete
        self._write("routes-probe", {"probe": probe_routes(version)}, version)
        return version

    def applied_version(self) -> int:
        """Return the version that requests follow now, from the thread that serves them."""
        try:
            return int(self._admin.probed())
        except (RouterSilent, ValueError):
            return 0

    def in_flight(self, replica: str) -> int:
        """Return how many requests a replica has from the router; 0 while Envoy does not run."""
        try:
            hosts = self._admin.hosts()
        except RouterSilent:
            if self._process.running:
                raise Unavailable(
                    "The router does not say what is under way.", remedy="Try again in a moment."
                ) from None
            return 0
        return sum(host.requests_active for host in hosts if host.replica == replica)

    def traffic(self) -> tuple[RevisionTraffic, ...]:
        """Return what Envoy counted since it was started; nothing while it does not run."""
        self._load()
        named = (RevisionName.of_cluster(name) for name in self._files.held("clusters"))
        revisions = {name for name in named if name is not None}
        try:
            counted = self._admin.stats(COUNTERS)
            times = self._admin.quantiles(TIMES)
        except RouterSilent:
            return ()
        return traffic_of(revisions, counted, times)

    def stop(self) -> None:
        """End Envoy, once its requests have ended or the drain timeout has passed."""
        if not self._folder.exists() or not self._process.running:
            return
        try:
            self._admin.tell("/healthcheck/fail")
            self._admin.tell("/drain_listeners?graceful&skip_exit")
            self._wait(self._idle, self._settings.drain_timeout_s)
        except RouterSilent:
            pass  # It does not listen to us: the signal is all that is left.
        self._process.end(within_s=5.0)

    def _load(self) -> None:
        if not self._loaded:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            self._files.load()
            self._loaded = True

    def _write_first_files(self) -> None:
        text = _json(bootstrap(self._folder, self._settings))
        replace_file(self._folder / "bootstrap.json", text)
        nothing = RoutingTable()
        claims = claims_of(nothing, self._settings)
        version = max(1, self._files.newest)
        first: dict[str, dict[str, Resource]] = {
            "clusters": {},
            "routes-main": {"main": main_routes(nothing, claims, self._settings)},
            "routes-probe": {"probe": probe_routes(0)},
        }
        for name, resources in first.items():
            if not self._files.word(name):
                self._files.write(name, resources, version)
        self._write_secret(version)
        self._files.write("listeners", self._first_listeners(claims), version)

    def _first_listeners(self, none: Claims) -> dict[str, Resource]:
        """Return the listeners that there were, on the settings' address, where they can be had."""
        ports = {
            name.removeprefix("deployment "): _port(listener)
            for name, listener in self._files.held("listeners").items()
            if name.startswith("deployment ")
        }
        free = {name: port for name, port in ports.items() if self._free(port)}
        return listeners(self._folder, Claims(none.hosts, free, ()), self._settings)

    def _write_secret(self, version: int) -> None:
        certificate, key = self._settings.certificate, self._settings.key
        if certificate is not None and key is not None:
            secret = certificate_secret(certificate.absolute(), key.absolute())
            self._files.write("secrets", {"certificate": secret}, version)

    def _claims(self, table: RoutingTable) -> Claims:
        claims = claims_of(table, self._settings)
        listening = self._files.held("listeners") if self._process.running else {}
        ours = {_port(one) for name, one in listening.items() if name.startswith("deployment ")}
        free = {
            name: port for name, port in claims.ports.items() if port in ours or self._free(port)
        }
        taken = tuple(
            f"The port {port} of the deployment {name!r} belongs to another process."
            for name, port in claims.ports.items()
            if name not in free
        )
        self._troubles = (*claims.disputes, *taken)
        return Claims(claims.hosts, free, self._troubles)

    def _free(self, port: int) -> bool:
        return is_free(self._settings.host, port)

    def _write(self, name: str, resources: Mapping[str, Resource], version: int) -> bool:
        """Write a file and wait until Envoy follows it; say whether it changed."""
        rejected = self._rejected()
        changed = self._files.write(name, resources, version)
        if rejected is not None:
            self._await_followed(name, rejected)
        return changed

    def _rejected(self) -> int | None:
        try:
            return self._admin.followed().rejected
        except RouterSilent:
            return None

    def _await_followed(self, name: str, rejected: int) -> None:
        word = self._files.word(name)

        def followed() -> bool:
            seen = self._admin.followed()
            if seen.rejected > rejected:
                raise Unavailable(
                    f"The router refuses a table: {self._process.said(lines=2)}",
                    remedy="Look at the router's log.",
                )
            return _follows(seen, name, word)

        try:
            if self._wait(followed, _FOLLOW_S):
                return
        except RouterSilent:
            return  # It has ended; the one after it reads the files.
        raise Unavailable(
            f"The router does not follow a new table: {self._process.said(lines=2)}",
            remedy="Look at the router's log.",
        )

    def _still_used(self, wanted: Mapping[str, Resource]) -> dict[str, Resource]:
        """Return the clusters that the table does not want and that may not go yet."""
        held = self._files.held("clusters")
        old = {name: one for name, one in held.items() if name not in wanted}
        idle = self._idle_clusters() if old else set[str]()
        return {name: one for name, one in old.items() if name not in idle}

    def _note_left(self, wanted: Mapping[str, Resource]) -> None:
        now_s = time.monotonic()
        left = (name for name in self._files.held("clusters") if name not in wanted)
        self._left_at_s = {name: self._left_at_s.get(name, now_s) for name in left}

    def _idle_clusters(self) -> set[str]:
        """Return the clusters that no route leads to any more and that have no request."""
        if self.applied_version() != self._files.complete:
            return set()
        since_s = time.monotonic() - _LINGER_S
        left = {name for name, at_s in self._left_at_s.items() if at_s <= since_s}
        try:
            hosts = self._admin.hosts() if left else []
        except RouterSilent:
            return set()
        return left - {host.cluster for host in hosts if host.requests_active}

    def _tidy(self) -> None:
        """Remove clusters that have become idle, and bound the logs."""
        held = self._files.held("clusters")
        if not self._left_at_s.keys() & held.keys():
            return
        idle = self._idle_clusters()
        if idle:
            kept = {name: one for name, one in held.items() if name not in idle}
            self._files.write("clusters", kept, self._files.newest)
            self._left_at_s = {n: at for n, at in self._left_at_s.items() if n not in idle}

    def _idle(self) -> bool:
        return not any(host.requests_active for host in self._admin.hosts())

    def _await_ready(self) -> None:
        def ready_or_ended() -> bool:
            return self._admin.ready() or not self._process.running

        if self._wait(ready_or_ended, _START_S) and self._process.running:
            return
        raise Unavailable(
            f"The router does not start: {self._process.said(lines=3)}",
            remedy="Look at the router's log.",
        )

    def _wait(self, holds: Callable[[], bool], within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        pause_s = 0.001
        while not holds():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(pause_s)
            pause_s = min(0.05, pause_s * 1.5)
        return True


def _follows(seen: Followed, name: str, word: str) -> bool:
    return seen.words[name] == word and not seen.warming


def _port(listener: Resource) -> int:
    return int(listener["address"]["socket_address"]["port_value"])


def _json(resource: Resource) -> str:
    return json.dumps(resource)
