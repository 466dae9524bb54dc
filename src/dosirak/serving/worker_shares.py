"""What of the machine each worker is given: threads of its libraries, CPUs, GPUs. Pure.

    machine, what the services ask for, what was said on the command line ─▶ a share per worker

Numerical libraries start as many threads as the machine has CPUs; several workers that do so stand
in each other's way. A variable that a person has set is theirs: nothing here overrides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

import msgspec

from dosirak.errors import InvalidConfiguration
from dosirak.serving.machine import Machine

StartMode: TypeAlias = Literal["auto", "fork", "spawn"]

_OPENMP = "OMP_NUM_THREADS"
# These libraries take OpenMP's number where they find none of their own; so does PyTorch.
_LIKE_OPENMP = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_OTHERS = ("VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
_GPUS = "CUDA_VISIBLE_DEVICES"


class ServiceNeeds(msgspec.Struct, frozen=True):
    """What one service asks for, all of its workers together.

    Attributes:
        service: its name.
        workers: processes.
        cpu: cores that they may keep busy; None for all that there are.
        gpu: whole GPUs.
        memory_bytes: None for no bound.
    """

    service: str
    workers: int = 1
    cpu: float | None = None
    gpu: int = 0
    memory_bytes: int | None = None


class Share(msgspec.Struct, frozen=True):
    """What one worker is given.

    Attributes:
        threads: variables that bound its libraries' threads; the same for every worker of a
            service, and set before a library is imported.
        devices: variables that choose its GPUs; set before the first is used.
        cpus: where alone it runs; anywhere when empty.
        memory_bytes: how much it may hold; None for no bound.
    """

    threads: dict[str, str] = {}
    devices: dict[str, str] = {}
    cpus: tuple[int, ...] = ()
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a person may say of how workers are started.

    Attributes:
        start: `fork` from a process that has imported the service, `spawn` each anew, or `auto`.
        threads: of the numerical libraries in each worker; its share of the CPUs when None.
        pin_cpus: give each worker CPUs of its own.
    """

    start: StartMode = "auto"
    threads: int | None = None
    pin_cpus: bool = False


def shares_of(
    machine: Machine, needs: Sequence[ServiceNeeds], options: WorkerOptions
) -> dict[str, tuple[Share, ...]]:
    """Hand out the machine.

    Args:
        machine: what there is.
        needs: what the served service asks for, and each that has workers of its own.
        options: what was said on the command line.

    Returns:
        for each service, the share of each worker.

    Raises:
        InvalidConfiguration: more is asked for than there is.
    """
    total = sum(need.workers for need in needs)
    cpus = iter(_pinned(machine, total) if options.pin_cpus else [()] * total)
    gpus = _dealt_gpus(machine, needs)
    shares: dict[str, tuple[Share, ...]] = {}
    for need in needs:
        fair = _fair_threads(machine, need, total)
        own = [
            _narrowed(places, need) if options.pin_cpus else places
            for places in islice(cpus, need.workers)
        ]
        fewest = min(map(len, own))
        threads = _thread_variables(machine, options.threads or fewest or fair)
        shares[need.service] = tuple(
            Share(threads, _gpu_variables(next(gpus)), places, _memory_bytes(need))
            for places in own
        )
    return shares


def crowded_cpus(shares: Sequence[Share], options: WorkerOptions) -> int | None:
    """Return the CPUs of a worker whose libraries were told to use more threads than those."""
    if not options.pin_cpus or options.threads is None:
        return None
    fewest = min(len(share.cpus) for share in shares)
    return fewest if options.threads > fewest else None


def usable_cpus(machine: Machine) -> int:
    """Return how many CPUs can be kept busy, at least one."""
    if machine.quota is None:
        return max(1, len(machine.cpus))
    return max(1, min(len(machine.cpus), int(machine.quota)))


def _fair_threads(machine: Machine, need: ServiceNeeds, total_workers: int) -> int:
    fair = usable_cpus(machine) // total_workers
    if need.cpu is not None:
        # What the author asks for, where the machine has it: less than everything, or more than
        # an even part of it.
        fair = int(min(need.cpu, usable_cpus(machine)) / need.workers)
    return max(1, fair)


def _thread_variables(machine: Machine, threads: int) -> dict[str, str]:
    if threads == len(machine.cpus):
        # All that a library would find by itself; it may know better how to use it.
        return {}
    names = [_OPENMP, *_LIKE_OPENMP, *_OTHERS]
    if _OPENMP in machine.variables:
        names = list(_OTHERS)
    return {name: str(threads) for name in names if name not in machine.variables}


def _memory_bytes(need: ServiceNeeds) -> int | None:
    return None if need.memory_bytes is None else max(1, need.memory_bytes // need.workers)


def _gpu_variables(gpus: Sequence[str]) -> dict[str, str]:
    return {_GPUS: ",".join(gpus)} if gpus else {}


def _dealt_gpus(machine: Machine, needs: Sequence[ServiceNeeds]) -> Iterator[tuple[str, ...]]:
    """Yield the GPUs of each worker, of one service after the other."""
    wanted = sum(need.gpu for need in needs)
    if wanted > len(machine.gpus):
        here = len(machine.gpus)
        raise InvalidConfiguration(
            f"{wanted} GPU{'s are' if wanted > 1 else ' is'} asked for and there"
            f" {'is' if here == 1 else 'are'} {here or 'none'}.",
            remedy="Ask for fewer (Resources.gpu), or look at CUDA_VISIBLE_DEVICES and the driver.",
        )
    for need in needs:
        if 0 < need.gpu < need.workers:
            raise InvalidConfiguration(
                f"{need.service} has {need.workers} workers and asks for {need.gpu} GPUs in all.",
                remedy="Ask for as many GPUs as workers, use fewer workers, or leave Resources.gpu"
                " out: then every worker sees every GPU.",
            )
    return _deal(machine.gpus, needs)


def _deal(gpus: Sequence[str], needs: Sequence[ServiceNeeds]) -> Iterator[tuple[str, ...]]:
    left = iter(gpus)
    for need in needs:
        for place in range(need.workers):
            more = place < need.gpu % need.workers
            yield tuple(islice(left, need.gpu // need.workers + more))


def _narrowed(places: tuple[int, ...], need: ServiceNeeds) -> tuple[int, ...]:
    if need.cpu is None:
        return places
    return places[: max(1, int(need.cpu / need.workers))]


def _pinned(machine: Machine, workers: int) -> list[tuple[int, ...]]:
    """Return CPUs of its own for each worker, all near one memory where that is possible."""
    if workers > len(machine.cpus):
        raise InvalidConfiguration(
            f"{workers} workers cannot have a CPU each of {len(machine.cpus)}.",
            remedy="Use fewer workers, or leave --pin-cpus out.",
        )
    nodes = machine.nodes or (machine.cpus,)
    if workers < len(nodes):
        return [tuple(cpu for node in group for cpu in node) for group in _grouped(nodes, workers)]
    each = max(len(node) for node in nodes)
    while sum(len(node) // each for node in nodes) < workers:
        each -= 1
    return _spread([_pieces(node, each) for node in nodes], workers)


def _grouped(nodes: Sequence[tuple[int, ...]], groups: int) -> Iterator[Sequence[tuple[int, ...]]]:
    for index in range(groups):
        yield nodes[index * len(nodes) // groups : (index + 1) * len(nodes) // groups]


def _pieces(node: Sequence[int], each: int) -> list[tuple[int, ...]]:
    return [tuple(node[at : at + each]) for at in range(0, len(node) - each + 1, each)]


def _spread(pieces: list[list[tuple[int, ...]]], workers: int) -> list[tuple[int, ...]]:
    """Take one piece of each node in turn, so that every memory has its part of the work."""
    taken: list[tuple[int, ...]] = []
    for turn in range(max(map(len, pieces))):
        taken.extend(node[turn] for node in pieces if turn < len(node))
    return taken[:workers]
