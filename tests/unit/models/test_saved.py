from __future__ import annotations

import errno
import os
import sys

import numpy as np
import pytest

from dosirak import models
from dosirak.errors import (
    AlreadyExists,
    CorruptContent,
    InvalidName,
    MissingDependency,
    ModelNotFound,
    StorageFull,
    UnsafeArchive,
    UntrustedContent,
    UsageError,
)
from dosirak.models.framework import framework
from dosirak.store import Store


def test_a_model_comes_back_as_it_was_saved(tally):
    saved = models.save(
        "sums", tally([1, 2]), metadata={"accuracy": 0.9}, labels={"team": "search"}
    )
    found = models.get("sums")
    assert found.load().predict([[1, 1], [2, 0]]) == [3, 2]
    assert (found.id, found.reference, found.created_at) == (
        saved.id,
        saved.reference,
        saved.created_at,
    )
    assert (found.name, found.framework, found.saved.format) == ("sums", "tally", "json")
    assert (found.metadata, found.labels) == ({"accuracy": 0.9}, {"team": "search"})
    assert found.saved.library_versions == {"tally": "1.0"}
    assert found.size_bytes == len("[1, 2]") + len("weights, in order")
    assert found.entry.provenance.keys() == {"python", "system", "machine"}


def test_the_id_depends_on_the_content_alone(tally, tmp_path):
    other = Store(tmp_path / "other")
    ids = {
        models.save("a", tally([1]), metadata={"x": 1, "y": 2}).id,
        models.save("b", tally([1]), metadata={"y": 2, "x": 1}, labels={"l": "m"}).id,
        models.save("a", tally([1]), metadata={"x": 1, "y": 2}, version="7", store=other).id,
    }
    assert len(ids) == 1
    assert models.save("a", tally([1]), metadata={"x": 2}).id not in ids


def test_versions_list_newest_first_and_latest_is_the_newest(tally):
    for version in ("1", "2"):
        models.save("sums", tally([int(version)]), version=version)
    models.save("other", tally([0]), version="1")
    assert [str(model.reference) for model in models.list()] == ["other:1", "sums:2", "sums:1"]
    assert [model.version for model in models.list("sums")] == ["2", "1"]
    assert models.get("sums:latest").load().weights == [2]
    models.delete("sums:2")
    assert models.get("sums").version == "1"
    with pytest.raises(ModelNotFound):
        models.get("sums:2")
    with pytest.raises(UsageError):
        models.delete("sums")


def test_saving_the_same_again_is_no_error_and_other_content_is(tally):
    first = models.save("sums", tally([1]), version="1")
    assert models.save("sums", tally([1]), version="1").entry == first.entry
    with pytest.raises(AlreadyExists):
        models.save("sums", tally([2]), version="1")


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"name": "Sums"}, InvalidName, "Sums"),
        ({"version": "latest"}, InvalidName, "latest"),
        ({"metadata": {"when": object()}}, UsageError, r"metadata\['when'\] is a object"),
        ({"metadata": {"runs": [1, {2}]}}, UsageError, r"metadata\['runs'\]\[1\] is a set"),
        ({"metadata": {1: 2}}, UsageError, "key 1 in metadata is not text"),
        ({"metadata": {"loss": float("nan")}}, UsageError, r"metadata\['loss'\] is nan"),
        ({"metadata": {"x": "\ud800"}}, UsageError, r"metadata\['x'\] holds half a character"),
        ({"metadata": {"rows": np.zeros(3)}}, UsageError, r"metadata\['rows'\] is a ndarray"),
        ({"labels": {"team": 1}}, UsageError, "team"),
        ({"framework": "nothing"}, UsageError, "nothing"),
        ({"options": {"colour": 1}}, UsageError, "colour"),
    ],
)
def test_what_cannot_be_kept_is_named_and_nothing_is_saved(wrong, error, words, tally, store):
    arguments = {"name": "sums", "model": tally([1]), **wrong}
    with pytest.raises(error, match=words):
        models.save(**arguments)
    assert models.list() == ()
    assert not list(store.root.glob("tmp/*"))


def test_numpy_scalars_in_metadata_become_json_values(tally):
    metadata = {"a": np.float64(0.5), "n": np.int64(3), "ok": np.bool_(True), "t": (1, 2)}
    saved = models.save("sums", tally([1]), metadata=metadata)
    assert saved.metadata == {"a": 0.5, "n": 3, "ok": True, "t": [1, 2]}
    assert type(saved.metadata["a"]) is float


def test_an_object_that_no_framework_knows_asks_for_pickle():
    with pytest.raises(UntrustedContent, match="allow_pickle=True"):
        models.save("anything", {"a": 1})
    saved = models.save("anything", {"a": 1}, allow_pickle=True)
    assert (saved.framework, saved.saved.pickle) == ("pickle", True)
    assert saved.load() == {"a": 1}
    with pytest.raises(UsageError, match="cannot be served alone"):
        saved.spec()


def test_a_framework_that_is_gone_is_said(tally, monkeypatch):
    saved = models.save("sums", tally([1]))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "plugins" not in path])
    framework.cache_clear()
    with pytest.raises((UsageError, MissingDependency), match="tally"):
        models.Model(saved.store, saved.entry).load()


def test_a_disk_that_fills_up_while_a_library_writes_is_said(tally, monkeypatch):
    import dosirak_tally

    def full(*args, **kwargs):
        raise RuntimeError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")

    monkeypatch.setattr(dosirak_tally, "save", full)
    with pytest.raises(StorageFull, match="is free"):
        models.save("sums", tally([1]))


def test_export_and_import_carry_everything_but_the_trust(tally, tmp_path):
    saved = models.save("sums", tally([1]), metadata={"m": 1}, labels={"l": "x"}, examples=[[2]])
    path = models.export("sums", tmp_path / "sums.tar")
    other = Store(tmp_path / "other")
    found = models.import_(path, store=other)
    assert (found.id, found.reference, found.labels) == (saved.id, saved.reference, {"l": "x"})
    assert (found.entry.origin, saved.entry.origin) == ("imported", "local")
    assert found.load().predict([[3]]) == [3]
    assert models.replay(found) == []
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(UnsafeArchive):
        models.import_(path, store=Store(tmp_path / "third"))


def test_a_damaged_file_stops_the_load_before_the_framework_runs(tally, store, monkeypatch):
    import dosirak_tally

    saved = models.save("sums", tally([1]))
    file = next(f for f in saved.description["files"] if f["path"] == "model/weights.json")
    blob = store.root / "blobs/sha256" / file["sha256"][:2] / file["sha256"]
    blob.unlink()
    blob.write_bytes(b"[2]")
    calls: list[object] = []
    monkeypatch.setattr(dosirak_tally, "load", calls.append)
    with pytest.raises(CorruptContent, match=r"weights\.json"):
        saved.load()
    assert calls == []


def test_what_is_no_model_manifest_is_refused(store):
    with store.writing() as transaction:
        entry = transaction.commit("models", "odd", "1", {"files": [], "format": "dosirak/model/1"})
        newer = transaction.commit("models", "odd", "2", {"files": [], "format": "dosirak/model/2"})
    with pytest.raises(CorruptContent, match="odd:1 is not a model"):
        models.Model(store, entry).load()
    with pytest.raises(UsageError, match="Upgrade"):
        models.Model(store, newer).load()
    assert len(models.list()) == 2


@pytest.mark.parametrize("metadata", [[1, 2], "text", 7])
def test_metadata_that_is_no_dictionary_is_refused_before_anything_is_saved(metadata, tally):
    with pytest.raises(UsageError, match="not a dictionary"):
        models.save("sums", tally([1]), metadata=metadata)
    assert models.list() == ()


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def circle() -> dict[str, object]:
    value: dict[str, object] = {}
    value["itself"] = [value]
    return value


@pytest.mark.parametrize(
    "metadata", [nested(101), nested(5000), circle()], ids=["101", "5000", "circle"]
)
def test_metadata_too_deep_to_be_read_everywhere_is_refused(metadata, tally):
    with pytest.raises(UsageError, match="metadata is nested more than 100 levels"):
        models.save("sums", tally([1]), metadata=metadata)


def test_metadata_of_many_levels_is_kept(tally):
    models.save("sums", tally([1]), metadata=nested(98))
    assert models.get("sums").metadata == nested(98)


def test_a_number_that_only_numpy_has_is_refused(tally):
    with pytest.raises(UsageError, match="has no JSON form"):
        models.save("sums", tally([1]), metadata={"a": np.longdouble("1.5")})


@pytest.mark.parametrize(
    "labels", [["a"], "text", {"a": 1}, {"a": "\ud800"}, {"\ud800": "a"}, {1: "a"}], ids=repr
)
def test_labels_that_are_no_text_are_refused_with_nothing_stored(labels, tally, store):
    with pytest.raises(UsageError, match="label"):
        models.save("sums", tally([1]), labels=labels)
    assert not list(store.root.rglob("blobs/*/*/*"))
    assert models.list() == ()


@pytest.mark.parametrize("given", [{"name": 1}, {"name": None}, {"version": 1}], ids=repr)
def test_a_name_or_version_that_is_no_text_is_refused(given, tally):
    with pytest.raises(InvalidName):
        models.save(**({"name": "sums", "model": tally([1])} | given))


def test_options_that_are_no_dictionary_are_refused(tally):
    with pytest.raises(UsageError, match="not a dictionary"):
        models.save("sums", tally([1]), options=["a"])


@pytest.mark.parametrize("name", ["torch", "onnx", "xgboost", "lightgbm", "catboost", "sklearn"])
def test_a_model_under_the_wrong_framework_is_refused(name, tally):
    with pytest.raises((UsageError, UntrustedContent)):
        models.save("sums", tally([1]), framework=name)
    assert models.list() == ()
