"""How the front comes by worker processes: each imports for itself, or is forked from one that has.

    start ─▶ an importer, if none is there ─▶ Opened ─▶ decide ─▶ it is the worker (spawn)
                                                         └──────▶ it forks the worker (fork)

What may be forked is known when the service is imported; so is how many workers share the machine,
where only the service says so. Then an importer that was started with other bounds for its
libraries' threads is started once more. An importer that is gone is replaced when it is needed;
the workers that it forked go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.hiring import (
    Ended,
    Hire,
    Hired,
    Open,
    Opened,
    from_importer_decoder,
    hear,
    open_pair,
    say,
)
from dosirak.serving.machine import Machine
from dosirak.serving.messages import Message, Start
from dosirak.serving.worker_shares import Share, WorkerOptions, shares_of

UNKNOWN_CODE = 255
OnExit = Callable[[int], None]

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


class StartedProcess(Protocol):
    """A worker's process."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def kill(self) -> None:
        """End it now; nothing happens when it has ended."""
        ...

    def on_exit(self, told: OnExit) -> None:
        """Tell of its exit code, on the loop; at once when it has ended."""
        ...


class StartFailed(Exception):
    """The process ended before it was a worker.

    Attributes:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SpawnedProcess:
    """A child of this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def on_exit(self, told: OnExit) -> None:
        """Tell of its exit code."""
        self._exit.add_done_callback(lambda exited: told(exited.result()))

    async def exited(self) -> int:
        """Wait until it has ended; return its exit code."""
        return await asyncio.shield(self._exit)

    def watch(self) -> None:
        """Look after it from now on."""
        loop = self._exit.get_loop()

        def wait() -> None:
            code = self._process.wait()
            # The loop may have ended before the process did.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._exit.set_result, code)

        threading.Thread(target=wait, name=f"worker-{self.pid}", daemon=True).start()


class ForkedProcess:
    """A child of an importer.

    Args:
        pid: its id.
        handle: a descriptor of the process, which names it even when its id is another's.
        lifeline: a descriptor whose closing ends it, should this process end.
    """

    def __init__(self, pid: int, handle: int, lifeline: int) -> None:
        self._pid = pid
        self._handle = handle
        self._lifeline = lifeline
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._pid

    def kill(self) -> None:
        """End it now."""
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def on_exit(self, told: OnExit) -> None:
        """Tell of its exit code."""
        self._exit.add_done_callback(lambda exited: told(exited.result()))

    def ended(self, code: int) -> None:
        """Its parent says that it has ended."""
        if not self._exit.done():
            self._exit.get_loop().remove_reader(self._handle)
            os.close(self._handle)
            os.close(self._lifeline)
            self._exit.set_result(code)

    def lose_parent(self) -> None:
        """Nobody will say how it ends: see by itself that it does."""
        if not self._exit.done():
            self._exit.get_loop().add_reader(self._handle, self.ended, UNKNOWN_CODE)


class ImporterProcess:
    """An importer as the front sees it.

    Args:
        process: the process.
        line: to it.
    """

    def __init__(self, process: SpawnedProcess, line: socket.socket) -> None:
        self._process = process
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Opened] = self._loop.create_future()
        self._hired: asyncio.Future[tuple[int, int]] | None = None
        self._forked: dict[int, ForkedProcess] = {}
        self.is_gone = False

    def order(self, start: Start) -> None:
        """Have it import."""
        self._line.setblocking(False)
        with contextlib.suppress(OSError):  # It has ended: that is read next.
            say(self._line, Open(start))
        self._loop.add_reader(self._line, self._receive)

    async def opened(self) -> Opened:
        """Wait until it has imported.

        Raises:
            StartFailed: it ended first.
        """
        try:
            return await asyncio.shield(self._opened)
        except ConnectionError as error:
            raise StartFailed(await self._process.exited()) from error

    def hire_itself(self, end: socket.socket, share: Share) -> SpawnedProcess:
        """Make it the worker behind a socket."""
        with contextlib.suppress(OSError):  # It has ended: its exit code says how.
            say(self._line, Hire(_variables(share), share.cpus), [end.fileno()])
        self._leave()
        return self._process

    async def fork(self, end: socket.socket, share: Share) -> ForkedProcess:
        """Have it fork the worker behind a socket; one at a time.

        Raises:
            ConnectionError: it has ended.
            OSError: the system refuses.
        """
        theirs, lifeline = os.pipe()
        self._hired = self._loop.create_future()
        try:
            hire = Hire(_variables(share), share.cpus, itself=False)
            say(self._line, hire, [end.fileno(), theirs])
            pid, handle = await self._hired
        except BaseException:
            os.close(lifeline)  # Ends a worker that was forked and that nobody waits for.
            raise
        finally:
            os.close(theirs)
        self._forked[pid] = worker = ForkedProcess(pid, handle, lifeline)
        return worker

    def kill(self) -> None:
        """End it now; the workers that it forked go on."""
        self._process.kill()

    async def stop(self) -> None:
        """End it; return when it has."""
        self.kill()
        await self._process.exited()
        self._leave()

    def _receive(self) -> None:
        try:
            data, descriptors = hear(self._line)
        except BlockingIOError:
            return
        if not data:
            self._leave()
            return
        try:
            self._take(from_importer_decoder.decode(data), descriptors)
        except msgspec.DecodeError:
            self.kill()

    def _take(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Opened():
                _deliver(self._opened, message)
            case Hired(pid) if self._hired is not None and not self._hired.done():
                if pid:
                    self._hired.set_result((pid, descriptors.pop()))
                else:
                    self._hired.set_exception(OSError("a worker could not be forked"))
            case Ended(pid, code) if pid in self._forked:
                self._forked.pop(pid).ended(code)
            case _:
                pass
        for descriptor in descriptors:
            os.close(descriptor)  # Of a worker that nobody waits for any more.

    def _leave(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self._loop.remove_reader(self._line)
        self._line.close()
        gone = ConnectionResetError("the importer has ended")
        for waiting in (self._opened, self._hired):
            if waiting is not None and not waiting.done():
                waiting.set_exception(gone)
                waiting.exception()
        for worker in self._forked.values():
            worker.lose_parent()
        self._forked.clear()


class WorkerStarter:
    """Starts the workers of one service.

    Args:
        machine: what there is to hand out.
        options: how a person wants workers started.
        service: which; empty for the target's own.
        workers: how many there will be; what the service says when None.
        shares: what each service's workers are given, once that is decided.
    """

    def __init__(
        self,
        machine: Machine,
        options: WorkerOptions | None = None,
        *,
        service: str = "",
        workers: int | None = None,
        shares: Mapping[str, tuple[Share, ...]] | None = None,
    ) -> None:
        self._machine = machine
        self._options = options or WorkerOptions()
        self._service = service
        self._workers = workers
        self._turn = asyncio.Lock()
        self._importer: ImporterProcess | None = None
        self._opening: set[ImporterProcess] = set()
        self._forks: bool | None = None
        self.shares: Mapping[str, tuple[Share, ...]] = shares or {}

    def below(self, service: str, workers: int) -> WorkerStarter:
        """Return the starter of a service that the served one depends on."""
        return WorkerStarter(
            self._machine,
            self._options,
            service=service,
            workers=workers,
            shares=self.shares,
        )

    async def start(self, end: socket.socket, start: Start, place: int) -> StartedProcess:
        """Start a worker behind one end of a socket.

        Args:
            end: the worker's, which the caller closes.
            start: what it is to serve.
            place: which of the workers it is.

        Raises:
            StartFailed: its process ended while it imported.
            InvalidConfiguration: the service asks for more than the machine has.
            OSError: the system refuses.
        """
        if not self._spawns:
            async with self._turn:
                if not self._spawns:
                    return await self._start_in_turn(end, start, place)
        share = self.share(place)
        importer, _ = await self._open(start, {**share.threads, **share.devices})
        return importer.hire_itself(end, share)

    async def stop(self) -> None:
        """End what only imports; return when it has."""
        importers = {*self._opening, *([self._importer] if self._importer else [])}
        await asyncio.gather(*(importer.stop() for importer in importers))

    @property
    def _spawns(self) -> bool:
        """Whether it is known that nothing is forked."""
        return self._forks is False

    def kill(self) -> None:
        """End what only imports, now."""
        for importer in {*self._opening, *([self._importer] if self._importer else [])}:
            importer.kill()

    async def _start_in_turn(self, end: socket.socket, start: Start, place: int) -> StartedProcess:
        if self._importer is not None and not self._importer.is_gone:
            with contextlib.suppress(ConnectionError):
                return await self._importer.fork(end, self.share(place))
            _log.warning("What workers are forked from has ended; the service is imported again.")
        given = self._common() if self._forks else {}
        importer, opened = await self._open(start, given)
        if not opened.needs:
            return importer.hire_itself(end, Share())  # It cannot be imported, and says why.
        self._decide(opened)
        share = self.share(place)
        needed = self._common() if self._forks else {**share.threads, **share.devices}
        if needed != given:
            await importer.stop()
            importer, opened = await self._open(start, needed)
            self._forks = self._forks and not opened.unsafe
        if not self._forks or not opened.needs:
            return importer.hire_itself(end, share)
        self._importer = importer
        return await importer.fork(end, share)

    def _decide(self, opened: Opened) -> None:
        if not self.shares:
            own, *below = opened.needs
            if self._workers is not None:
                own = msgspec.structs.replace(own, workers=self._workers)
            shares = shares_of(self._machine, (own, *below), self._options)
            # Under the name by which workers are told whose they are.
            self.shares = {"": shares.pop(own.service), **shares}
        mode = self._options.start
        several = len(self._shares_here()) > 1
        self._forks = (mode == "fork" or (mode == "auto" and several)) and not opened.unsafe
        if opened.unsafe and mode != "spawn" and (several or mode == "fork"):
            level = logging.WARNING if mode == "fork" else logging.INFO
            _log.log(level, "Workers import the service each for itself: %s.", opened.unsafe)

    def _shares_here(self) -> tuple[Share, ...]:
        return self.shares.get(self._service) or (Share(),)

    def share(self, place: int) -> Share:
        """Return what the worker in a place is given."""
        shares = self._shares_here()
        return shares[place % len(shares)]

    def _common(self) -> dict[str, str]:
        return self.share(0).threads

    async def _open(
        self, start: Start, variables: Mapping[str, str]
    ) -> tuple[ImporterProcess, Opened]:
        importer = _spawn_importer(variables)
        self._opening.add(importer)
        try:
            importer.order(start)
            return importer, await importer.opened()
        except BaseException:
            importer.kill()
            raise
        finally:
            self._opening.discard(importer)


def _spawn_importer(variables: Mapping[str, str]) -> ImporterProcess:
    ours, theirs = open_pair()
    with theirs:
        try:
            # -P: the worker's own modules must not be shadowed by files in the current directory.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dosirak.serving.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **variables},
            )
        except BaseException:
            ours.close()
            raise
    spawned = SpawnedProcess(process)
    spawned.watch()
    return ImporterProcess(spawned, ours)


def _variables(share: Share) -> dict[str, str]:
    return {**share.threads, **share.devices}


def _deliver(future: asyncio.Future[Opened], opened: Opened) -> None:
    if not future.done():
        future.set_result(opened)
