from __future__ import annotations

from pathlib import Path

import pytest

from dosirak import models

sklearn_tree = pytest.importorskip("sklearn.tree")


@pytest.fixture
def saved() -> models.Model:
    model = sklearn_tree.DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    return models.save(
        "tree",
        model,
        version="1",
        metadata={"accuracy": 0.9},
        labels={"team": "a"},
        examples=[[0.0]],
    )


def test_an_empty_store_lists_nothing(dosirak) -> None:
    assert dosirak("models", "list", "-o", "json").data == []
    assert "models.save" in dosirak("models", "list").err


def test_a_saved_model_is_listed_and_shown(dosirak, saved: models.Model) -> None:
    (row,) = dosirak("models", "list", "-o", "json").data
    assert (row["reference"], row["framework"], row["format"]) == ("tree:1", "sklearn", "skops")
    assert row["metadata"] == {"accuracy": 0.9}
    table = dosirak("models", "list").out.splitlines()
    assert table[0].split()[0] == "MODEL"
    assert table[1].split()[0] == "tree:1"
    shown = dosirak("models", "get", "tree", "-o", "json").data
    assert shown["id"] == saved.id
    assert shown["examples"] == 1
    assert shown["pickle"] is False
    assert "scikit-learn" in shown["library_versions"]


def test_a_name_narrows_the_list(dosirak, saved: models.Model) -> None:
    assert len(dosirak("models", "list", "tree", "-o", "json").data) == 1
    assert dosirak("models", "list", "bush", "-o", "json").data == []


@pytest.mark.parametrize(
    "words", [("get", "bush"), ("verify", "bush"), ("delete", "bush", "--yes")]
)
def test_what_is_not_there_is_not_found(dosirak, words: tuple[str, ...]) -> None:
    done = dosirak("models", *words)
    assert done.code == 3
    assert done.out == ""
    assert "bush" in done.err


def test_a_bad_name_is_a_usage_error(dosirak) -> None:
    done = dosirak("models", "get", "../tree")
    assert (done.code, done.out) == (2, "")


def test_deleting_needs_a_yes(dosirak, saved: models.Model) -> None:
    refused = dosirak("models", "delete", "tree:1")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert len(models.list()) == 1
    assert dosirak("models", "delete", "tree:1", "--yes").code == 0
    assert len(models.list()) == 0


def test_deleting_a_name_without_a_version_is_refused_and_lists_the_versions(
    dosirak, saved: models.Model
) -> None:
    refused = dosirak("models", "delete", "tree", "--yes")
    assert refused.code == 2
    assert "tree:1" in refused.err
    assert "--all" in refused.err
    assert len(models.list()) == 1


@pytest.mark.parametrize("said", ["tree:latest", "tree:2", "tree:"])
def test_deleting_guesses_no_version(said: str, dosirak, saved: models.Model) -> None:
    models.save("tree", saved.load(), version="20261123")
    refused = dosirak("models", "delete", said, "--yes")
    assert refused.code == 2
    assert len(models.list()) == 2


def test_all_versions_of_a_name_are_deleted_on_demand_and_no_others(
    dosirak, saved: models.Model
) -> None:
    for name, version in (("tree", "2"), ("bush", "1")):
        models.save(name, saved.load(), version=version)
    assert dosirak("models", "delete", "tree", "--all", "--yes").code == 0
    assert [str(model.reference) for model in models.list()] == ["bush:1"]


def test_nothing_is_deleted_when_one_of_several_is_not_there(dosirak, saved: models.Model) -> None:
    assert dosirak("models", "delete", "tree:1", "bush:1", "--yes").code == 3
    assert len(models.list()) == 1


def test_an_exported_model_comes_back_the_same(
    dosirak, saved: models.Model, tmp_path: Path
) -> None:
    archive = tmp_path / "tree.dosirak"
    assert dosirak("models", "export", "tree:1", archive).out.strip() == str(archive)
    dosirak("models", "delete", "tree:1", "--yes")
    freed = dosirak("gc", "-o", "json").data
    assert freed["freed_bytes"] > 0
    imported = dosirak("models", "import", archive, "-o", "json")
    assert imported.data["id"] == saved.id
    assert models.get("tree:1").load().predict([[1.0]]).tolist() == [1]


def test_a_broken_archive_is_refused(dosirak, tmp_path: Path) -> None:
    archive = tmp_path / "broken.dosirak"
    archive.write_bytes(b"not an archive")
    done = dosirak("models", "import", archive)
    assert done.code == 5
    assert "is not a dosirak archive" in done.err
    assert models.list() == ()


def test_a_flipped_bit_is_found(dosirak, saved: models.Model, home: Path) -> None:
    assert dosirak("models", "verify", "tree:1").code == 0
    largest = max((home / "store" / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)
    assert dosirak("models", "verify", "tree:1").code == 5


def test_garbage_collection_leaves_what_is_saved(dosirak, saved: models.Model) -> None:
    assert dosirak("gc", "-o", "json").data["blobs"] == 0
    assert models.get("tree:1").load() is not None


def test_golden_examples_are_told_in_words(dosirak, saved: models.Model) -> None:
    told = dosirak("models", "get", "tree").out
    assert any(
        line.split() == ["examples", "1", "recorded", "(1", "row)"] for line in told.splitlines()
    )
    data = dosirak("models", "get", "tree", "-o", "json").data
    assert (data["examples"], data["example_rows"]) == (1, 1)
    models.save("bare", saved.load())
    assert "none recorded" in dosirak("models", "get", "bare").out
