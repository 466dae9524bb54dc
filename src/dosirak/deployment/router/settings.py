"""What a person may set about the router; the table says the rest.

A change takes effect when Envoy is started again, certificates excepted: those are watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dosirak.serving.listener import is_loopback


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Where the router listens and what it bears.

    Attributes:
        host: the address of every listener; whoever offers another than loopback sees to tokens.
        port: of the main listener, which outlives every version.
        certificate: a file of PEM certificates; with `key` the listeners speak TLS alone.
        key: the file of its private key.
        threads: of Envoy; with more than one, a switch reaches them within a moment of each other.
        max_connections: of all callers together; more are closed at once.
        max_head_bytes: of a request's target and headers, in steps of 1024.
        head_timeout_s: longest time for the head of a request to arrive.
        stream_idle_s: how long a stream, or a WebSocket, may be silent.
        health_path: what replicas are asked now and then; empty for never.
        health_interval_s: how often, while a replica gets requests.
        health_timeout_s: how long it may take to answer.
        drain_timeout_s: longest time for requests under way when the router is stopped.
        access_log_bytes: size at which the access log is put aside; one older one is kept.
        log_level: of Envoy's own log.
    """

    host: str = "127.0.0.1"
    port: int = 8800
    certificate: Path | None = None
    key: Path | None = None
    threads: int = 1
    max_connections: int = 10_000
    max_head_bytes: int = 64 * 1024
    head_timeout_s: float = 10.0
    stream_idle_s: float = 300.0
    health_path: str = "/livez"
    health_interval_s: float = 0.5
    health_timeout_s: float = 0.45
    drain_timeout_s: float = 30.0
    access_log_bytes: int = 64 << 20
    log_level: str = "warning"

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the router."""
        return is_loopback(self.host)

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.certificate else "http"
