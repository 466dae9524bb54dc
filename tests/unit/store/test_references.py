from __future__ import annotations

import os
import socket
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosirak.errors import BundleNotFound, CorruptContent, ModelNotFound, UsageError
from dosirak.store import DamagedEntry, Store
from dosirak.store.record import seal
from dosirak.store.references import version_at

NOON_NS = 1_795_367_723_482_913_000


class Clock:
    """A clock that a test sets."""

    def __init__(self, time_ns: int = NOON_NS) -> None:
        self.time_ns = time_ns

    def __call__(self) -> int:
        return self.time_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(tmp_path / "store", clock=clock)


def versions(store: Store, name: str = "iris") -> list[str]:
    return [entry.version for entry in store.entries("models", name)]


def test_versions_are_times():
    assert version_at(NOON_NS) == "20261122-171523-482913"


@given(st.lists(st.integers(0, 4_000_000_000_000_000_000), min_size=2, max_size=2))
def test_versions_order_as_their_times(times):
    first, second = sorted(time // 1000 * 1000 for time in times)
    assert (version_at(first) < version_at(second)) == (first < second)


def test_a_clock_that_stands_still_or_steps_back_keeps_the_order(store, save, clock):
    made = []
    for step_s in (0, 0, -86_400, 0, -10, 3600, -1):
        clock.time_ns += step_s * 10**9
        made.append(save(into=store).version)
    assert made == sorted(made) and len(set(made)) == len(made)
    assert versions(store) == made[::-1]
    assert store.resolve("models", "iris").version == made[-1]


def test_the_order_outlives_the_deleted_latest(store, save, clock):
    save(into=store)
    latest = save(into=store)
    store.delete("models", latest.reference)
    clock.time_ns -= 10**12
    assert save(into=store).version > latest.version


def test_latest_is_the_newest_whatever_versions_are_called(store, save, clock):
    for version in ("z", "a", "10", "9"):
        clock.time_ns += 1000
        save(into=store, version=version)
        assert store.resolve("models", "iris:latest").version == version
    store.delete("models", "iris:9")
    assert store.resolve("models", "iris").version == "10"
    store.delete("models", "iris:z")
    assert store.resolve("models", "iris").version == "10"


def test_a_generated_version_avoids_one_that_was_given(store, save, clock):
    save(into=store, version=version_at(NOON_NS), files={"a": b"1"})
    save(into=store, version=version_at(NOON_NS + 1000), files={"a": b"2"})
    assert save(into=store, files={"a": b"3"}).version == version_at(NOON_NS + 2000)


def test_without_its_order_file_a_name_answers_the_same(store, save, clock):
    for version in ("b", "a", "c"):
        save(into=store, version=version)
    (store.root / "references/models/iris/.order").unlink()
    assert store.resolve("models", "iris").version == "c"
    clock.time_ns -= 10**12
    assert store.resolve("models", save(into=store).reference).version != "c"
    assert store.resolve("models", "iris").created_at_ns > NOON_NS


def test_a_damaged_order_file_is_never_believed(store, save):
    save(into=store, version="a", files={"a": b"1"})
    save(into=store, version="b", files={"a": b"2"})
    order = store.root / "references/models/iris/.order"
    order.write_bytes(order.read_bytes().replace(b'"latest":"b"', b'"latest":"a"'))
    assert store.resolve("models", "iris").version == "b"


def test_a_record_that_came_without_the_hint_is_not_overlooked(store, save):
    """A crash between hint and record leaves a hint that names nothing."""
    save(into=store, version="a", files={"a": b"1"})
    last = save(into=store, version="b", files={"a": b"2"})
    (store.root / "references/models/iris/b").unlink()
    assert store.resolve("models", "iris").version == "a"
    assert save(into=store, files={"a": b"3"}).created_at_ns > last.created_at_ns


def test_a_unique_start_of_a_version_is_enough(store, save):
    for version in ("2026-a", "2026-b", "2027", "20"):
        save(into=store, version=version)
    assert store.resolve("models", "iris:2027").version == "2027"
    assert store.resolve("models", "iris:2026-a").version == "2026-a"
    assert store.resolve("models", "iris:20").version == "20"  # exact goes first
    with pytest.raises(UsageError, match=r"2 versions .* begin with '2026'"):
        store.resolve("models", "iris:2026")
    with pytest.raises(ModelNotFound, match="4 versions"):
        store.resolve("models", "iris:3")


def test_what_is_not_there_is_answered_with_what_was_perhaps_meant(store, save):
    save(into=store, name="iris", version="1")
    save(into=store, name="irid", version="1")
    store.delete("models", "irid:1")  # its name is still there, and is nothing to offer
    save(into=store, name="wine", version="1", kind="bundles")
    with pytest.raises(ModelNotFound, match=r"Did you mean iris\?"):
        store.resolve("models", "irs")
    with pytest.raises(BundleNotFound, match=r"Did you mean wine\?"):
        store.resolve("bundles", "wines:latest")
    with pytest.raises(ModelNotFound, match="There is 1 version of it: 1"):
        store.resolve("models", "iris:9")
    with pytest.raises(BundleNotFound, match="There is one in models"):
        store.resolve("bundles", "iris")
    with pytest.raises(ModelNotFound, match="dosirak models list"):
        store.resolve("models", "entirely-else")


def test_deleting_needs_the_exact_version(store, save):
    save(into=store, version="2026-a")
    for reference in ("iris", "iris:latest"):
        with pytest.raises(UsageError, match="iris:VERSION"):
            store.delete("models", reference)
    with pytest.raises(ModelNotFound):
        store.delete("models", "iris:2026")
    store.delete("models", "iris:2026-a")
    with pytest.raises(ModelNotFound):
        store.delete("models", "iris:2026-a")
    assert store.entries("models") == () and store.names("models") == ()


def test_names_and_versions_are_listed_in_order(store, save):
    for name, version in (("b", "1"), ("a", "1"), ("b", "0")):
        save(name, version, into=store)
    assert [str(entry.reference) for entry in store.entries("models")] == ["a:1", "b:0", "b:1"]
    assert store.names("models") == ("a", "b")


@pytest.mark.parametrize("edit", ["labels", "origin", "bit", "cut", "blank", "swap", "not json"])
def test_an_edited_record_is_noticed_and_can_be_deleted(store, save, edit):
    save(into=store, version="a", files={"a": b"1"}, origin="imported")
    save(into=store, version="b", files={"a": b"2"})
    path = store.root / "references/models/iris/a"
    data = path.read_bytes()
    path.write_bytes(
        {
            "labels": data.replace(b'"labels":{}', b'"labels":{"x":"y"}'),
            "origin": data.replace(b"imported", b"local"),
            "bit": bytes([data[0], data[1] ^ 1]) + data[2:],
            "cut": data[:-1],
            "blank": data.replace(b",", b", ", 1),
            "swap": (path.parent / "b").read_bytes(),
            "not json": b"[]",
        }[edit]
    )
    with pytest.raises(CorruptContent, match="iris:a"):
        store.resolve("models", "iris:a")
    with pytest.raises(CorruptContent, match="iris:a"):
        store.entries("models")
    with pytest.raises(CorruptContent):
        store.collect_garbage()
    assert store.resolve("models", "iris").version == "b"
    store.delete("models", "iris:a")
    assert [entry.version for entry in store.entries("models")] == ["b"]


def test_with_a_damaged_record_an_older_version_is_never_called_latest(store, save):
    for version in ("a", "b", "c"):
        save(into=store, version=version)
    (store.root / "references/models/iris/b").write_bytes(b"{}")
    assert store.resolve("models", "iris").version == "c"
    store.delete("models", "iris:c")
    with pytest.raises(CorruptContent, match="iris:b"):
        store.resolve("models", "iris")


names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,12}[a-z0-9])?", fullmatch=True)
given_versions = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
_numbers = count()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example has its own store
)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["save", "save", "save", "delete"]),
            names.filter(lambda name: ".." not in name),
            st.none() | given_versions.filter(lambda v: ".." not in v and v != "latest"),
            st.integers(-(10**12), 10**12),
        ),
        max_size=12,
    )
)
def test_any_history_lists_and_resolves_as_a_plain_dictionary_would(tmp_path_factory, save, steps):
    clock = Clock()
    store = Store(tmp_path_factory.mktemp(f"history{next(_numbers)}"), clock=clock)
    expected: dict[str, dict[str, int]] = {}
    for number, (action, name, version, step_ns) in enumerate(steps):
        clock.time_ns += step_ns
        of_name = expected.setdefault(name, {})
        if action == "delete":
            if of_name:
                gone = sorted(of_name)[0]
                store.delete("models", f"{name}:{gone}")
                del of_name[gone]
        elif version not in of_name:
            entry = save(name, version, {"a": str(number).encode()}, into=store)
            assert all(entry.created_at_ns > time for time in of_name.values())
            of_name[entry.version] = entry.created_at_ns
    for name, of_name in expected.items():
        newest_first = sorted(of_name, key=lambda version: of_name[version], reverse=True)
        assert [entry.version for entry in store.entries("models", name)] == newest_first
        if of_name:
            assert store.resolve("models", name).version == newest_first[0]


@pytest.mark.parametrize(
    "values", [{}, {"floor_ns": "1"}, {"floor_ns": 1, "latest": 2, "latest_ns": 3}]
)
def test_an_order_that_says_something_else_is_found_again_from_the_records(
    values: dict[str, object], store: Store, clock: Clock
):
    with store.writing() as transaction:
        transaction.commit("models", "iris", "1", {"files": []})
    (store.root / "references" / "models" / "iris" / ".order").write_bytes(seal(values))
    assert store.resolve("models", "iris").version == "1"
    with store.writing() as transaction:
        assert transaction.commit("models", "iris", "2", {"files": []}).version == "2"
    assert versions(store) == ["2", "1"]


def test_strangers_among_the_records_are_passed_over(store: Store):
    with store.writing() as transaction:
        transaction.commit("models", "iris", "1", {"files": []})
    names = store.root / "references" / "models"
    (names / "UPPER").write_text("a file")
    (names / "stray").write_text("a file")
    (names / "Bad Name").mkdir()
    (names / "iris" / "1 (copy)").write_text("a file")
    assert store.names("models") == ("iris",)
    assert [str(entry.reference) for entry in store.entries("models")] == ["iris:1"]
    assert store.collect_garbage().manifests == 0
    store.delete("models", "iris:1")
    assert store.entries("models") == ()


def _put(path: Path, odd: str) -> None:
    path.unlink()
    match odd:
        case "folder":
            path.mkdir()
            (path / "within").write_text("a file")
        case "link":
            path.symlink_to(path.with_name("1"))
        case "dangling":
            path.symlink_to(path.with_name("nothing"))
        case _:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(os.path.relpath(path))


@pytest.mark.parametrize("odd", ["folder", "link", "dangling", "socket"])
def test_what_is_no_file_in_the_place_of_a_record_is_listed_as_damage_and_deleted(
    store: Store, save, odd: str, monkeypatch: pytest.MonkeyPatch
):
    for version in ("1", "2", "3"):
        save(into=store, version=version)
    directory = store.root / "references" / "models" / "iris"
    monkeypatch.chdir(directory)  # a socket's path must be short
    _put(directory / "2", odd)
    with pytest.raises(CorruptContent, match="iris:2"):
        store.resolve("models", "iris:2")
    assert [str(seen.reference) for seen in store.survey("models")] == [
        "iris:3",
        "iris:1",
        "iris:2",
    ]
    assert isinstance(store.survey("models")[-1], DamagedEntry)
    store.delete("models", "iris:2")
    assert versions(store) == ["3", "1"]
    assert not list((store.root / "tmp").iterdir())
    assert (directory / "1").is_file()


@pytest.mark.parametrize("odd", ["folder", "link", "dangling", "socket"])
def test_what_is_no_file_in_the_place_of_the_order_is_replaced(
    store: Store, save, odd: str, monkeypatch: pytest.MonkeyPatch
):
    for version in ("1", "2"):
        save(into=store, version=version, files={"a": version.encode()})
    order = store.root / "references" / "models" / "iris" / ".order"
    monkeypatch.chdir(order.parent)
    _put(order, odd)
    assert store.resolve("models", "iris").version == "2"
    save(into=store, version="3", files={"a": b"3"})
    assert order.is_file() and not order.is_symlink()
    assert versions(store) == ["3", "2", "1"]


def test_a_pipe_in_the_place_of_a_record_is_damage_and_no_reason_to_wait(store: Store):
    with store.writing() as transaction:
        transaction.commit("models", "iris", "1", {"files": []})
    path = store.root / "references" / "models" / "iris" / "1"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorruptContent, match="iris:1"):
        store.entries("models")
