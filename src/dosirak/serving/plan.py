"""What `serve` was asked for, checked, and what it tells of itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dosirak.observe.access_log import LogStyle
from dosirak.observe.inference_log import InferenceLogPlan
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.memory_limit import MemoryLimit
from dosirak.serving.reloads import Outcome
from dosirak.serving.task_plan import TaskPlan
from dosirak.serving.worker_shares import WorkerOptions
from dosirak.settings import Settings


@dataclass(frozen=True, slots=True)
class Serving:
    """The server is ready."""

    url: str
    service: str
    routes: tuple[str, ...]
    workers: tuple[int, ...]
    revision: str = ""
    watched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopping:
    """A signal came; requests in progress are finished."""

    signal: str


@dataclass(frozen=True, slots=True)
class Reloading:
    """Something changed and another revision is being prepared."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A reload ended.

    Attributes:
        error: why the new revision was refused, its remedy included.
    """

    outcome: Outcome
    revision: str
    changes: tuple[str, ...]
    took_s: float
    error: str = ""


Event: TypeAlias = Serving | Stopping | Reloading | Reloaded
Report: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate, key and authorities for clients are."""

    certificate: Path | None
    key: Path | None
    client_ca: Path | None

    def named(self) -> tuple[str, str, str]:
        """Return their absolute paths; empty for those that are not given."""
        one, two, three = (
            str(Path(path).absolute()) if path is not None else ""
            for path in (self.certificate, self.key, self.client_ca)
        )
        return one, two, three


@dataclass(frozen=True, slots=True)
class ServePlan:
    """Everything that `serve` was asked for.

    Attributes:
        open_files: the soft limit of descriptors at its start, which workers keep.
    """

    target: str
    workers: int | None
    options: HttpOptions
    tls: ssl.SSLContext | None
    tls_files: TlsFiles
    http2: bool
    fronts: int
    max_outstanding: int
    start_timeout_s: float
    drain_delay_s: float
    drain_timeout_s: float
    hang_grace_s: float
    access_log: LogStyle
    inference_log: InferenceLogPlan | None
    memory: MemoryLimit | None
    worker_options: WorkerOptions
    quarantine_after: int
    quarantine_s: float
    watches_store: bool
    watches_files: bool
    tasks: TaskPlan
    settings: Settings
    report: Report
    open_files: int
