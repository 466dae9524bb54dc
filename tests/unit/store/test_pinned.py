"""A pinned store: a reference means what it first meant, and its files stay."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from dosirak.errors import ModelNotFound
from dosirak.store import Entry, Pin, PinnedStore, Store

Save = Callable[..., Entry]


def test_a_name_goes_on_meaning_the_version_that_it_first_meant(store: Store, save: Save) -> None:
    first = save("iris", "1", {"a": b"1"})
    pinned = PinnedStore(store.root)
    assert pinned.resolve("models", "iris") == first
    save("iris", "2", {"a": b"2"})
    assert pinned.resolve("models", "iris:latest") == first
    assert pinned.resolve("models", "iris:2").version == "2"
    pinned.close()


def test_what_was_not_there_at_first_is_not_there_later(store: Store, save: Save) -> None:
    pinned = PinnedStore(store.root)
    with pytest.raises(ModelNotFound):
        pinned.resolve("models", "iris")
    save("iris", "1")
    with pytest.raises(ModelNotFound):
        pinned.resolve("models", "iris")
    assert PinnedStore(store.root, pinned.pins).pins == pinned.pins
    with pytest.raises(ModelNotFound):
        PinnedStore(store.root, pinned.pins).resolve("models", "iris")


def test_a_deleted_version_is_found_by_its_pins_as_long_as_it_is_held(
    store: Store, save: Save
) -> None:
    entry = save("iris", "1", {"a": b"1"})
    finder = PinnedStore(store.root)
    finder.resolve("models", "iris")
    holder = PinnedStore(store.root, finder.pins)
    holder.hold()
    finder.close()
    store.delete("models", "iris:1")
    assert store.collect_garbage().blobs == 0
    for reference in ("iris", "iris:1"):
        assert PinnedStore(store.root, finder.pins).resolve("models", reference) == entry
    store.verify(entry.digest)
    holder.close()
    assert store.collect_garbage().blobs == 1


def test_pins_travel_between_processes(store: Store, save: Save) -> None:
    save("iris", "1", labels={"team": "a"}, provenance={"git": {"dirty": False}})
    pinned = PinnedStore(store.root)
    pinned.resolve("models", "iris")
    with pytest.raises(ModelNotFound):
        pinned.resolve("models", "rose")
    sent = msgspec.msgpack.encode(pinned.pins)
    assert msgspec.msgpack.decode(sent, type=tuple[Pin, ...]) == pinned.pins
    pinned.close()
