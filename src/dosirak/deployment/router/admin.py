"""Envoy's own words about itself, over Unix sockets that only its owner reaches.

Every question is one short request; `RouterSilent` says that there was no answer.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosirak.deployment.router.file_names import ADMIN_SOCKET, PROBE_SOCKET

_TIMEOUT_S = 5.0
_WORDS = {
    "cluster_manager.cds.version_text": "clusters",
    "listener_manager.lds.version_text": "listeners",
    "http.main.rds.main.version_text": "routes-main",
    "http.probe.rds.probe.version_text": "routes-probe",
}
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")


class RouterSilent(Exception):
    """Envoy does not answer: it is not running, or still starting."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What the main thread follows.

    Attributes:
        words: by file, as `WatchedFiles.word` has them.
        warming: clusters and listeners that are taken up just now.
        rejected: how many files it has refused so far.
    """

    words: dict[str, str]
    warming: int
    rejected: int


@dataclass(frozen=True, slots=True)
class SeenHost:
    """A replica in a cluster."""

    cluster: str
    replica: str
    requests_active: int


class Admin:
    """Questions to the Envoy of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def followed(self) -> Followed:
        """Ask which files it follows.

        Raises:
            RouterSilent: there is no answer.
        """
        kinds = "(version_text|update_rejected|warming_clusters|listeners_warming)$"
        stats = self.stats(kinds)
        return Followed(
            words={name: str(stats.get(stat, "")) for stat, name in _WORDS.items()},
            warming=sum(int(stats.get(stat, 0)) for stat in _WARMING),
            rejected=sum(
                int(value) for name, value in stats.items() if name.endswith("update_rejected")
            ),
        )

    def probed(self) -> str:
        """Ask the thread that serves which version it follows.

        Raises:
            RouterSilent: there is no answer.
        """
        return self._ask(PROBE_SOCKET, "GET", "/").decode()

    def hosts(self) -> list[SeenHost]:
        """Ask for the replicas of all clusters.

        Raises:
            RouterSilent: there is no answer.
        """
        seen: Any = json.loads(self._ask(ADMIN_SOCKET, "GET", "/clusters?format=json"))
        return [
            SeenHost(str(cluster["name"]), str(host.get("hostname", "")), _active(host))
            for cluster in seen.get("cluster_statuses", [])
            for host in cluster.get("host_statuses", [])
        ]

    def stats(self, pattern: str) -> dict[str, Any]:
        """Ask for counters, gauges and words whose name has a pattern.

        Raises:
            RouterSilent: there is no answer.
        """
        answer = self._ask(ADMIN_SOCKET, "GET", f"/stats?format=json&filter={_quoted(pattern)}")
        stats: list[dict[str, Any]] = json.loads(answer)["stats"]
        return {str(one["name"]): one["value"] for one in stats if "name" in one}

    def quantiles(self, pattern: str) -> dict[str, Any]:
        """Ask for histograms.

        Raises:
            RouterSilent: there is no answer.
        """
        path = f"/stats?format=json&type=Histograms&filter={_quoted(pattern)}"
        stats: list[dict[str, Any]] = json.loads(self._ask(ADMIN_SOCKET, "GET", path))["stats"]
        return next((one["histograms"] for one in stats if "histograms" in one), {})

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return self._ask(ADMIN_SOCKET, "GET", "/ready").strip() == b"LIVE"
        except RouterSilent:
            return False

    def tell(self, path: str) -> None:
        """Have it do something.

        Raises:
            RouterSilent: there is no answer.
        """
        self._ask(ADMIN_SOCKET, "POST", path)

    def _ask(self, name: str, method: str, path: str) -> bytes:
        connection = _Connection(self._folder, name)
        try:
            connection.request(method, path, headers={"Host": "router"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RouterSilent(f"{name}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise RouterSilent(f"{name} {path}: {answer.status}")
        return body


class _Connection(http.client.HTTPConnection):
    """To a Unix socket in a folder, whose own path may be longer than a socket's name may be."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__("router", timeout=_TIMEOUT_S)
        self._folder = folder
        self._name = name

    def connect(self) -> None:
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_TIMEOUT_S)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._name}")
        finally:
            os.close(folder)


def _active(host: dict[str, Any]) -> int:
    stats: list[dict[str, Any]] = host.get("stats", [])
    return next((int(one.get("value", 0)) for one in stats if one["name"] == "rq_active"), 0)


def _quoted(pattern: str) -> str:
    return "".join(f"%{ord(letter):02X}" if not letter.isalnum() else letter for letter in pattern)
