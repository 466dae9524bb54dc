"""The process that imports a service, and then is its worker or forks its workers.

    Open ─▶ import ─▶ Opened ─▶ Hire ─▶ be the worker
                                 └────▶ fork a worker, … ─▶ front gone ─▶ exit

No loop runs and no thread is started here before it is a worker: that is what makes a fork of it as
good as a process that has imported the service by itself. Its memory is shared with its workers
until one of them writes to it. It runs no handler and loads no model, so nothing of a request can
end it; and when it ends all the same, its workers go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosirak.bundles.targets import OpenedTarget, open_target
from dosirak.serving.fork_safety import has_bound_libraries, reason_not_to_fork
from dosirak.serving.hiring import (
    Ended,
    FromFront,
    Hire,
    Hired,
    Opened,
    from_front_decoder,
    hear,
    say,
)
from dosirak.serving.identity import ServiceIdentity, identity_of
from dosirak.serving.messages import Start
from dosirak.serving.places import placed_by
from dosirak.serving.worker_shares import ServiceNeeds
from dosirak.spec.dependencies import own_workers_below, services_below
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import PinnedStore


@dataclass(frozen=True, slots=True)
class ImportedService:
    """A service whose code was imported.

    Attributes:
        opened: the target, its models not loaded.
        spec: the service, with those that it depends on where the environment says.
        identity: what it is.
        store: where its models are; it has resolved what they mean.
    """

    opened: OpenedTarget
    spec: ServiceSpec
    identity: ServiceIdentity
    store: PinnedStore


@dataclass(frozen=True, slots=True)
class Duty:
    """A worker's work: where it is told what to do."""

    end: socket.socket


def import_service(start: Start) -> ImportedService:
    """Import what a worker is to serve.

    Raises:
        Exception: whatever the author's code raised, or a `DosirakError`.
    """
    # Its files stay in place until the process ends.
    store = PinnedStore(Path(start.home) / "store", start.pins)
    began_ns = time.time_ns()
    opened = open_target(start.target, store=store, kind=start.kind)
    identity = identity_of(opened, start.target, began_ns=began_ns)
    return ImportedService(opened, placed_by(opened.spec, os.environ), identity, store)


def needs_of(spec: ServiceSpec) -> tuple[ServiceNeeds, ...]:
    """Return what a service asks for, and each below it that has workers of its own."""
    counts = own_workers_below(spec)
    own = _needs(spec, spec.resources.workers)
    below = {service.name: service for service in services_below(spec)}
    return (own, *(_needs(below[name], count) for name, count in counts.items()))


def _needs(spec: ServiceSpec, workers: int) -> ServiceNeeds:
    asked = spec.resources
    return ServiceNeeds(spec.name, workers, asked.cpu, asked.gpu, asked.memory_bytes)


class Importer:
    """A process that has imported a service, or failed to.

    Args:
        line: to the front.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._poll = select.poll()
        self._workers: dict[int, int] = {}  # the pid behind each process descriptor
        self._is_frozen = False

    def run(self, imported: ImportedService | Exception) -> Duty | None:
        """Answer the front; return in each process that is a worker, and None when it is gone."""
        say(self._line, self._opened(imported))
        self._poll.register(self._line, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._line.fileno():
                    self._report_end(descriptor)
                    continue
                message, descriptors = _received(self._line)
                if not isinstance(message, Hire):
                    return None
                duty = self._hire(message, descriptors)
                if duty is not None:
                    return duty

    def _opened(self, imported: ImportedService | Exception) -> Opened:
        if isinstance(imported, Exception):
            return Opened()
        known = {0, 1, 2, self._line.fileno()}
        needs = needs_of(imported.spec)
        return Opened(needs, reason_not_to_fork(known), has_bound_libraries())

    def _hire(self, hire: Hire, descriptors: list[int]) -> Duty | None:
        if hire.itself:
            self._line.close()
            return _begin_duty(hire, descriptors[0])
        self._prepare_forks()
        try:
            pid = os.fork()
        except OSError:
            say(self._line, Hired(0))
            _close(descriptors)
            return None
        if pid == 0:
            self._line.close()
            _close(self._workers)
            _die_when_closed(descriptors[1])
            _reseed()
            return _begin_duty(hire, descriptors[0])
        _close(descriptors)
        process = os.pidfd_open(pid)
        self._workers[process] = pid
        self._poll.register(process, select.POLLIN)
        say(self._line, Hired(pid), [process])
        return None

    def _prepare_forks(self) -> None:
        """Keep the collector from writing to what is shared."""
        if not self._is_frozen:
            _rename("dosirak-import")
            gc.collect()
            gc.freeze()
            self._is_frozen = True

    def _report_end(self, process: int) -> None:
        self._poll.unregister(process)
        pid = self._workers.pop(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        say(self._line, Ended(pid, os.waitstatus_to_exitcode(status)))


def await_order(line: socket.socket) -> Start | None:
    """Return what to import; None when the front is gone."""
    message, _ = _received(line)
    return message.start if message is not None and not isinstance(message, Hire) else None


def _received(line: socket.socket) -> tuple[FromFront | None, list[int]]:
    data, descriptors = hear(line)
    return (from_front_decoder.decode(data) if data else None), descriptors


def _rename(name: str) -> None:
    """Say in lists of processes what this one is."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _begin_duty(hire: Hire, end: int) -> Duty:
    _rename("dosirak-worker")
    os.environ.update(hire.variables)
    if hire.cpus:
        # The CPUs may have been taken from this process meanwhile; it then runs where it may.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, hire.cpus)
    return Duty(socket.socket(fileno=end))


def _die_when_closed(lifeline: int) -> None:
    """Have the kernel end this process when the front's end of a pipe closes.

    Its parent is the importer, so its parent's death says nothing; and it must end with the front
    even while user code holds the interpreter's lock.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, int(signal.SIGKILL))
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    closed = select.poll()
    closed.register(lifeline, 0)
    if closed.poll(0):
        os._exit(0)


def _reseed() -> None:
    """Let no two workers draw the same numbers, unless the author's code has set the seed."""
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None and getattr(numpy.get_bit_generator(), "_seed_seq", None) is not None:
        numpy.seed()


def _close(descriptors: list[int] | Mapping[int, int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
