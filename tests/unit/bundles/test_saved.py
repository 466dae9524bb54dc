"""Bundles in the store: found, listed, deleted, carried, verified; never run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dosirak import bundles, models
from dosirak.bundles.manifest import FORMAT, read_manifest
from dosirak.errors import (
    AlreadyExists,
    BundleNotFound,
    CorruptContent,
    UnsafeArchive,
    UsageError,
)
from dosirak.store import Store

from .conftest import write


def test_bundles_are_listed_found_and_deleted(project: Path, store: Store) -> None:
    first = bundles.build(project, version="1", store=store)
    second = bundles.build(project, version="2", store=store)
    assert [bundle.version for bundle in bundles.list("iris", store=store)] == ["2", "1"]
    assert bundles.get("iris:1", store=store).id == first.id
    bundles.delete(second.reference, store=store)
    assert [str(bundle.reference) for bundle in bundles.list(store=store)] == ["iris:1"]
    with pytest.raises(BundleNotFound):
        bundles.get("iris:2", store=store)


def test_a_bundle_keeps_its_models_when_their_reference_is_deleted(
    project: Path, store: Store
) -> None:
    bundle = bundles.build(project, store=store)
    models.delete(bundle.models[0], store=store)
    store.collect_garbage()
    assert models.list(store=store) == ()
    with bundles.load("iris", store=store) as loaded:
        assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]
        assert loaded.models["model"].metadata == {"accuracy": 0.97}


def test_an_archive_carries_the_bundle_and_its_models(
    project: Path, store: Store, tmp_path: Path
) -> None:
    bundle = bundles.build(project, version="1", labels={"a": "b"}, store=store)
    path = bundles.export("iris:1", tmp_path / "iris.tar", store=store)
    other = Store(tmp_path / "other")
    brought = bundles.import_(path, store=other)
    assert (brought.id, brought.version, brought.labels) == (bundle.id, "1", bundle.labels)
    assert brought.provenance == bundle.provenance
    with bundles.load("iris:1", store=other) as loaded:
        assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]
        assert loaded.models["model"].metadata == {"accuracy": 0.97}
    assert bundles.import_(path, store=other).id == bundle.id


def test_an_archive_of_a_model_is_no_bundle(store: Store, iris: object, tmp_path: Path) -> None:
    path = models.export("iris", tmp_path / "model.tar", store=store)
    with pytest.raises(UsageError):
        bundles.import_(path, store=Store(tmp_path / "other"))
    assert bundles.list(store=Store(tmp_path / "other")) == ()


def test_a_damaged_archive_leaves_nothing(project: Path, store: Store, tmp_path: Path) -> None:
    bundles.build(project, store=store)
    path = bundles.export("iris", tmp_path / "iris.tar", store=store)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    other = Store(tmp_path / "other")
    with pytest.raises((CorruptContent, UnsafeArchive)):
        bundles.import_(path, store=other)
    assert bundles.list(store=other) == ()
    assert not list((tmp_path / "other").rglob("blobs/sha256/*/*"))


def test_a_checkout_is_a_whole_bundle(project: Path, store: Store, tmp_path: Path) -> None:
    bundle = bundles.build(project, store=store)
    place = bundle.checkout(tmp_path / "out")
    assert (place / "src" / "service.py").is_file()
    assert json.loads((place / "bundle.json").read_text())["id"] == bundle.id
    with pytest.raises(AlreadyExists):
        bundle.checkout(place)
    with bundles.load(place, store=Store(tmp_path / "empty")) as loaded:
        assert loaded.predict(np.array([[5.0, 5.0]])).tolist() == [1]
        assert loaded.bundle is not None
        assert loaded.bundle.id == bundle.id


def test_any_change_to_a_checkout_is_found(project: Path, store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    write(
        project,
        "my_preparation/__init__.py",
        f"__import__('pathlib').Path({str(canary)!r}).touch()\n",
    )
    bundle = bundles.build(project, store=store)
    canary.unlink()
    place = bundle.checkout(tmp_path / "out")
    for path in sorted(place.rglob("*")):
        if not path.is_file() or path.stat().st_size == 0:
            continue
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CorruptContent):
            pytest.fail(f"{path} passes as {bundles.load(place).bundle}")
        path.write_bytes(original)
    write(place, "src/extra.py")
    with pytest.raises(CorruptContent, match="does not belong"):
        bundles.load(place)
    (place / "src" / "extra.py").unlink()
    (place / "api.json").unlink()
    (place / "api.json").symlink_to("/etc/hostname")
    with pytest.raises(CorruptContent):
        bundles.load(place)
    assert not canary.exists()


def test_unknown_fields_are_kept_readable_and_later_formats_are_named(
    project: Path, store: Store
) -> None:
    values = bundles.build(project, store=store).description
    assert read_manifest({**values, "future": {"x": 1}}, where="x").target == "service:Iris"
    with pytest.raises(UsageError, match="Upgrade") as caught:
        read_manifest({**values, "format": "dosirak/bundle/2"}, where="x")
    assert FORMAT in caught.value.message
    with pytest.raises(CorruptContent):
        read_manifest({**values, "format": "other"}, where="x")
    with pytest.raises(CorruptContent):
        read_manifest({**values, "python": 3}, where="x")


def test_what_a_bundle_does_not_have_is_named(project: Path, store: Store) -> None:
    bundle = bundles.build(project, store=store)
    with pytest.raises(UsageError, match="no file"):
        bundle.read("nothing")
    with pytest.raises(UsageError, match="no model"):
        bundle.model("nothing")
