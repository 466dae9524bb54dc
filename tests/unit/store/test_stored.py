"""The doors to one kind of stored things, whatever the kind shows of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dosirak.bundles import Bundle
from dosirak.errors import AlreadyExists, CorruptContent, ModelNotFound, UsageError
from dosirak.models import Model
from dosirak.store import Entry, Shelf, Store, Stored


@pytest.fixture
def shelf() -> Shelf[Stored]:
    return Shelf("models", Stored)


@pytest.fixture
def stored(store: Store, save: Callable[..., Entry]) -> Stored:
    files = {"weights": b"12345"}
    entry = save("iris", "1", files, labels={"team": "a"}, provenance={"python": "3"})
    return Stored(store, entry)


def test_models_and_bundles_are_stored_things() -> None:
    assert issubclass(Model, Stored)
    assert issubclass(Bundle, Stored)
    assert not {"name", "version", "reference", "id", "labels"} & {*vars(Model), *vars(Bundle)}


def test_what_is_stored_says_what_its_record_and_manifest_say(stored: Stored) -> None:
    assert (stored.name, stored.version, str(stored.reference)) == ("iris", "1", "iris:1")
    assert (stored.labels, stored.provenance) == ({"team": "a"}, {"python": "3"})
    assert stored.size_bytes == 5
    assert [file.path for file in stored.files] == ["weights"]
    assert repr(stored) == f"<Stored iris:1 ({stored.id[:12]})>"
    stored.verify()


def test_the_doors_find_list_and_delete(stored: Stored, shelf: Shelf[Stored]) -> None:
    store = stored.store
    assert shelf.get("iris", store=store) == stored
    assert shelf.list(store=store) == shelf.list("iris", store=store) == (stored,)
    with pytest.raises(UsageError):
        shelf.delete("iris", store=store)
    assert shelf.delete("iris:1", store=store) == stored.reference
    with pytest.raises(ModelNotFound):
        shelf.get("iris", store=store)


def test_the_doors_export_and_import(stored: Stored, shelf: Shelf[Stored], tmp_path: Path) -> None:
    archive, other = tmp_path / "iris.tar", Store(tmp_path / "other")
    assert shelf.export("iris", archive, store=stored.store) == archive
    with pytest.raises(AlreadyExists):
        shelf.export("iris", archive, store=stored.store)
    assert shelf.import_(archive, store=other).id == stored.id
    assert shelf.get("iris:1", store=other).entry.origin == "imported"


def test_an_import_that_its_kind_refuses_leaves_nothing(stored: Stored, tmp_path: Path) -> None:
    def refuse(found: Stored) -> None:
        raise CorruptContent(f"{found.reference} is not whole.")

    careful = Shelf("models", Stored, check=refuse)
    archive, other = tmp_path / "iris.tar", Store(tmp_path / "other")
    careful.export("iris", archive, store=stored.store)
    with pytest.raises(CorruptContent):
        careful.import_(archive, store=other)
    assert other.entries("models") == ()
