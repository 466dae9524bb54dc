"""What of a machine each worker is given."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import InvalidConfiguration
from dosirak.serving.machine import Machine
from dosirak.serving.worker_shares import (
    ServiceNeeds,
    Share,
    WorkerOptions,
    crowded_cpus,
    shares_of,
)

EIGHT = Machine(tuple(range(8)))
TWO_NODES = Machine(tuple(range(16)), nodes=(tuple(range(8)), tuple(range(8, 16))))
PINNED = WorkerOptions(pin_cpus=True)


def _shares(
    machine: Machine, workers: int, options: WorkerOptions | None = None, **asked: float | int
) -> tuple[Share, ...]:
    needs = ServiceNeeds("own", workers, **asked)  # pyright: ignore[reportArgumentType]
    return shares_of(machine, [needs], options or WorkerOptions())["own"]


def _threads(share: Share) -> str | None:
    return share.threads.get("OMP_NUM_THREADS")


def test_a_worker_with_the_machine_to_itself_is_told_nothing() -> None:
    assert _shares(EIGHT, 1) == (Share(),)


@pytest.mark.parametrize(("workers", "threads"), [(2, "4"), (3, "2"), (8, "1"), (20, "1")])
def test_workers_share_the_cpus_evenly_and_each_has_at_least_one(
    workers: int, threads: str
) -> None:
    shares = _shares(EIGHT, workers)
    assert len(shares) == workers
    assert {_threads(share) for share in shares} == {threads}
    assert {share.threads["OPENBLAS_NUM_THREADS"] for share in shares} == {threads}


@pytest.mark.parametrize(("quota", "threads"), [(2.5, "2"), (0.5, "1"), (100.0, None)])
def test_a_containers_quota_counts_where_the_libraries_see_every_cpu(
    quota: float, threads: str | None
) -> None:
    (share,) = _shares(Machine(tuple(range(8)), quota=quota), 1)
    assert _threads(share) == threads


@pytest.mark.parametrize(("cpu", "threads"), [(4, "2"), (0.5, "1"), (100, "4")])
def test_what_the_author_asks_for_is_shared_as_far_as_it_is_there(cpu: float, threads: str) -> None:
    assert _threads(_shares(EIGHT, 2, cpu=cpu)[0]) == threads


def test_what_is_said_on_the_command_line_wins_over_the_author() -> None:
    (share, _) = _shares(EIGHT, 2, WorkerOptions(threads=3), cpu=2)
    assert _threads(share) == "3"


def test_a_variable_that_a_person_set_is_theirs() -> None:
    machine = Machine(tuple(range(8)), variables={"MKL_NUM_THREADS": "7"})
    variables = _shares(machine, 2)[0].threads
    assert "MKL_NUM_THREADS" not in variables
    assert variables["OPENBLAS_NUM_THREADS"] == "4"


def test_openmps_variable_counts_for_the_libraries_that_take_it() -> None:
    machine = Machine(tuple(range(8)), variables={"OMP_NUM_THREADS": "7"})
    variables = _shares(machine, 2)[0].threads
    assert not {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} & variables.keys()


def test_services_with_workers_of_their_own_share_the_machine() -> None:
    needs = [ServiceNeeds("own", 2), ServiceNeeds("below", 2)]
    shares = shares_of(EIGHT, needs, WorkerOptions())
    assert {_threads(share) for share in chain(*shares.values())} == {"2"}


def test_pinned_workers_have_their_cpus_near_one_memory() -> None:
    shares = _shares(TWO_NODES, 4, PINNED)
    assert [share.cpus for share in shares] == [
        (0, 1, 2, 3), (8, 9, 10, 11), (4, 5, 6, 7), (12, 13, 14, 15),
    ]  # fmt: skip
    assert {_threads(share) for share in shares} == {"4"}


def test_workers_that_do_not_fit_evenly_are_still_each_near_one_memory() -> None:
    shares = _shares(TWO_NODES, 3, PINNED)
    assert [share.cpus for share in shares] == [(0, 1, 2, 3), (8, 9, 10, 11), (4, 5, 6, 7)]


def test_fewer_workers_than_memories_have_whole_ones() -> None:
    (share,) = _shares(TWO_NODES, 1, PINNED)
    assert share.cpus == tuple(range(16))


def test_a_pinned_worker_has_no_more_cpus_than_were_asked_for() -> None:
    assert [share.cpus for share in _shares(EIGHT, 2, PINNED, cpu=4)] == [(0, 1), (4, 5)]


def test_more_pinned_workers_than_cpus_are_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="9 workers cannot have a CPU each of 8"):
        _shares(EIGHT, 9, PINNED)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    workers=st.integers(1, 48),
)
def test_pinned_cpus_are_disjoint_and_every_worker_has_one(sizes: list[int], workers: int) -> None:
    every = iter(range(sum(sizes)))
    nodes = tuple(tuple(next(every) for _ in range(size)) for size in sizes)
    machine = Machine(tuple(range(sum(sizes))), nodes=nodes)
    if workers > sum(sizes):
        with pytest.raises(InvalidConfiguration):
            _shares(machine, workers, PINNED)
        return
    given_cpus = [share.cpus for share in _shares(machine, workers, PINNED)]
    assert len(given_cpus) == workers
    assert all(given_cpus)
    flat = list(chain(*given_cpus))
    assert len(flat) == len(set(flat))
    assert set(flat) <= set(machine.cpus)


def _devices(shares: tuple[Share, ...]) -> list[str | None]:
    return [share.devices.get("CUDA_VISIBLE_DEVICES") for share in shares]


def test_workers_have_gpus_of_their_own() -> None:
    machine = Machine((0,), gpus=("0", "1", "2", "3"))
    assert _devices(_shares(machine, 2, gpu=4)) == ["0,1", "2,3"]
    assert _devices(_shares(machine, 2, gpu=3)) == ["0,1", "2"]
    assert _devices(_shares(machine, 2, gpu=2)) == ["0", "1"]


def test_gpus_are_handed_out_under_the_names_that_an_outer_choice_gave_them() -> None:
    machine = Machine((0,), gpus=("5", "GPU-aa"))
    assert _devices(_shares(machine, 2, gpu=2)) == ["5", "GPU-aa"]


def test_two_services_never_have_the_same_gpu() -> None:
    machine = Machine((0,), gpus=("0", "1"))
    needs = [ServiceNeeds("own", 1, gpu=1), ServiceNeeds("below", 1, gpu=1)]
    shares = shares_of(machine, needs, WorkerOptions())
    assert (_devices(shares["own"]), _devices(shares["below"])) == (["0"], ["1"])


def test_who_asks_for_no_gpu_sees_what_there_is() -> None:
    assert _devices(_shares(Machine((0,), gpus=("0",)), 2)) == [None, None]


def test_more_gpus_than_there_are_is_an_error_that_says_both_numbers() -> None:
    with pytest.raises(InvalidConfiguration, match="2 GPUs are asked for and there is 1"):
        _shares(Machine((0,), gpus=("0",)), 1, gpu=2)


def test_fewer_gpus_than_workers_is_an_error() -> None:
    with pytest.raises(InvalidConfiguration, match="own has 2 workers"):
        _shares(Machine((0,), gpus=("0", "1")), 2, gpu=1)


def test_memory_is_shared_by_the_workers() -> None:
    assert [share.memory_bytes for share in _shares(EIGHT, 2, memory_bytes=1000)] == [500, 500]


def test_more_threads_than_a_pinned_worker_has_cpus_are_noticed() -> None:
    crowded = WorkerOptions(pin_cpus=True, threads=5)
    assert crowded_cpus(_shares(EIGHT, 2, crowded), crowded) == 4
    for options in (WorkerOptions(pin_cpus=True, threads=4), PINNED, WorkerOptions(threads=5)):
        assert crowded_cpus(_shares(EIGHT, 2, options), options) is None
