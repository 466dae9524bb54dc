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
import socket
from collections.abc import Mapping

import msgspec

from dosirak.errors import InvalidConfiguration
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.hiring import (
    Opened,
)
from dosirak.serving.machine import Machine
from dosirak.serving.messages import Start
from dosirak.serving.started_process import (
    ImporterProcess,
    StartedProcess,
    spawn_importer,
    variables_of,
)
from dosirak.serving.worker_shares import (
    ServiceNeeds,
    Share,
    WorkerOptions,
    crowded_cpus,
    shares_of,
    usable_cpus,
)

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


class WorkerStarter:
    """Starts the workers of one service.

    Args:
        machine: what there is to hand out.
        options: how a person wants workers started.
        service: which; empty for the target's own.
        workers: how many there will be; what the service says when None.
        expected: what the service will probably ask for: it is imported with that, and once more
            if it asks for something else.
        shares: what each service's workers are given, once that is decided.
    """

    def __init__(
        self,
        machine: Machine,
        options: WorkerOptions | None = None,
        *,
        service: str = "",
        workers: int | None = None,
        expected: ServiceNeeds | None = None,
        shares: Mapping[str, tuple[Share, ...]] | None = None,
    ) -> None:
        self._machine = machine
        self._options = options or WorkerOptions()
        self._service = service
        self._workers = workers
        self._expected = expected or ServiceNeeds(service)
        self._turn = asyncio.Lock()
        self._importer: ImporterProcess | None = None
        self._opening: set[ImporterProcess] = set()
        self._forks: bool | None = None
        self.shares: Mapping[str, tuple[Share, ...]] = shares or {}

    @property
    def has_one_cpu(self) -> bool:
        """Whether the front and all workers have one CPU between them."""
        return usable_cpus(self._machine) == 1

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
        importer, _ = await self._open(start, variables_of(share))
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
        if self._importer is not None:
            with contextlib.suppress(ConnectionError):
                return await self._importer.fork(end, self.share(place))
            self._importer = None
            _log.warning("What workers are forked from has ended; the service is imported again.")
        given = self._variables(self.share(0)) if self._forks else self._expected_variables()
        importer, opened = await self._open(start, given)
        if not opened.needs:
            return importer.hire_itself(end, Share())  # It cannot be imported, and says why.
        try:
            self._decide(opened)
        except BaseException:
            importer.kill()  # It is nobody's: a reload that is refused must not leave it behind.
            raise
        share = self.share(place)
        needed = self._variables(share)
        if needed != given and (opened.is_bound or opened.unsafe):
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
            crowded = crowded_cpus([one for each in shares.values() for one in each], self._options)
            if crowded is not None:
                _log.warning(
                    "%d threads of each worker share the CPUs that --pin-cpus gives it (%d): leave"
                    " --worker-threads out, or give no more.",
                    self._options.threads,
                    crowded,
                )
            # Under the name by which workers are told whose they are.
            self.shares = {"": shares.pop(own.service), **shares}
        mode = self._options.start
        several = len(self._shares_here()) > 1
        self._forks = (mode == "fork" or (mode == "auto" and several)) and not opened.unsafe
        if opened.unsafe and mode != "spawn" and (several or mode == "fork"):
            asked = mode == "fork"
            _log.log(
                logging.WARNING if asked else logging.INFO,
                "%s import the service each for itself: %s.",
                "Workers are not forked, though --worker-start fork asks for it; they"
                if asked
                else "Workers",
                opened.unsafe,
            )

    def _shares_here(self) -> tuple[Share, ...]:
        return self.shares.get(self._service) or (Share(),)

    def share(self, place: int) -> Share:
        """Return what the worker in a place is given."""
        shares = self._shares_here()
        return shares[place % len(shares)]

    def _expected_variables(self) -> dict[str, str]:
        """Return what an importer is given before the service has said what it asks for."""
        expected = self._expected
        if self._workers is not None:
            expected = msgspec.structs.replace(expected, workers=self._workers)
        try:
            shares = shares_of(self._machine, [expected], self._options)[expected.service]
        except InvalidConfiguration:
            return {}  # The service may ask for less than that; if not, it is said then.
        first, *others = shares
        forks = self._options.start == "fork" or others
        return first.threads if forks else variables_of(first)

    def _variables(self, share: Share) -> dict[str, str]:
        """Return the variables with which an importer starts: of all workers, or of the one."""
        return share.threads if self._forks else variables_of(share)

    async def _open(
        self, start: Start, variables: Mapping[str, str]
    ) -> tuple[ImporterProcess, Opened]:
        importer = spawn_importer(variables, self._machine.open_files)
        self._opening.add(importer)
        try:
            importer.order(start)
            return importer, await importer.opened()
        except BaseException:
            importer.kill()
            raise
        finally:
            self._opening.discard(importer)
