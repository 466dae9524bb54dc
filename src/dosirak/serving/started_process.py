"""Processes that the front has started: importers, and the workers that come of them.

    spawn_importer ─▶ ImporterProcess ─▶ hire_itself ─▶ SpawnedProcess (it is the worker)
                                       └▶ fork ───────▶ ForkedProcess   (its parent is the importer)

How a forked worker ended is told by its parent; when that is gone the system still tells that it
ended. Nothing is polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from dosirak.serving.childrens_environment import childrens_environment
from dosirak.serving.descriptors import set_limit
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
from dosirak.serving.messages import Message, Start
from dosirak.serving.worker_shares import Share

# How an orphan ended is told to nobody.
UNKNOWN_CODE = 255
OnExit = Callable[[int], None]


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
        with contextlib.suppress(ConnectionError):  # It has ended: that is read next.
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
            say(self._line, Hire(variables_of(share), share.cpus), [end.fileno()])
        self._leave()
        return self._process

    async def fork(self, end: socket.socket, share: Share) -> ForkedProcess:
        """Have it fork the worker behind a socket; one at a time.

        Raises:
            ConnectionError: it has ended.
            OSError: the system refuses.
        """
        if self.is_gone:
            raise ConnectionResetError("the importer has ended")
        theirs, lifeline = os.pipe()
        self._hired = self._loop.create_future()
        try:
            hire = Hire(variables_of(share), share.cpus, itself=False)
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
                self._hire(pid, descriptors)
            case Ended(pid, code) if pid in self._forked:
                self._forked.pop(pid).ended(code)
            case _:
                pass
        for descriptor in descriptors:
            os.close(descriptor)  # Of a worker that nobody waits for any more.

    def _hire(self, pid: int, descriptors: list[int]) -> None:
        assert self._hired is not None  # noqa: S101 - a worker is waited for
        if pid and descriptors:
            self._hired.set_result((pid, descriptors.pop()))
        elif pid:
            # Its lifeline, which is closed now, ends it.
            self._hired.set_exception(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        else:
            # Forking fails for lack of memory or processes.
            self._hired.set_exception(OSError(errno.EAGAIN, "a worker could not be forked"))

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


def spawn_importer(variables: Mapping[str, str], open_files: int | None = None) -> ImporterProcess:
    """Start a process that imports what it is ordered to.

    Args:
        variables: added to its environment.
        open_files: its soft limit of descriptors, and that of all that comes of it; this process's
            when None.

    Raises:
        OSError: the system refuses.
    """
    ours, theirs = open_pair()
    with theirs:
        try:
            # -P: the worker's own modules must not be shadowed by files in the current directory.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dosirak.serving.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**childrens_environment(os.environ), **variables},
            )
        except BaseException:
            ours.close()
            raise
    set_limit(process.pid, open_files)
    spawned = SpawnedProcess(process)
    try:
        spawned.watch()
    except RuntimeError as error:  # There may be no further thread.
        process.kill()
        ours.close()
        raise OSError(errno.EAGAIN, "a process cannot be looked after") from error
    return ImporterProcess(spawned, ours)


def variables_of(share: Share) -> dict[str, str]:
    """Return every variable of a share."""
    return {**share.threads, **share.devices}


def _deliver(future: asyncio.Future[Opened], opened: Opened) -> None:
    if not future.done():
        future.set_result(opened)
