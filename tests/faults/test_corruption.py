"""F-44: whatever is changed on the disk is noticed before any of it is handed out."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from operations import save

from dosirak.errors import CorruptContent, NotFound
from dosirak.store import Store

FILES = {"model/weights.bin": "w" * 5000, "model/notes.txt": "notes", "examples/0.json": "[1, 2]"}


def handed_out(store: Store) -> dict[str, bytes]:
    """Read everything through the front door."""
    found: dict[str, bytes] = {}
    for name in ("iris", "other"):
        entry = store.resolve("models", name)
        with store.view(entry.digest) as directory:
            for path in sorted(directory.rglob("*")):
                if path.is_file():
                    key = f"{entry.reference}/{path.relative_to(directory)}"
                    found[key] = path.read_bytes()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    save(store, "iris", "1", FILES)
    save(store, "iris", "2", FILES | {"model/weights.bin": "v" * 5000})
    save(store, "other", "1", {"a": "one", "b": "two"})
    return store


def content_files(store: Store) -> list[Path]:
    folders = ("blobs", "manifests", "references")
    found = [path for folder in folders for path in (store.root / folder).rglob("*")]
    return sorted(path for path in found if path.is_file() and path.name != ".lock")


@pytest.mark.parametrize(
    "bits", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_any_flipped_bit_is_noticed_or_changes_nothing(bits: int, store: Store):
    sound = handed_out(store)
    seed = int(os.environ.get("DOSIRAK_TEST_SEED", "20261122"))
    chance = random.Random(seed)
    noticed = 0
    for _ in range(bits):
        path = chance.choice(content_files(store))
        before = path.read_bytes()
        if not before:
            continue
        after = bytearray(before)
        after[chance.randrange(len(after))] ^= 1 << chance.randrange(8)
        path.unlink()
        path.write_bytes(after)
        try:
            assert handed_out(store) == sound, f"other content after a flip in {path}, seed {seed}"
        except CorruptContent:
            noticed += 1
        finally:
            path.unlink(missing_ok=True)
            path.write_bytes(before)
            shutil.rmtree(store.root / "quarantine", ignore_errors=True)
    assert noticed > bits // 2  # the rest was in files that these two references do not need
    assert handed_out(store) == sound


def test_every_bit_of_every_file_a_reference_needs_counts(store: Store):
    """Not one place in a record, manifest or blob may change unnoticed."""
    entry = store.resolve("models", "other")
    blobs = [store.root / "blobs/sha256" / f["sha256"][:2] / f["sha256"]
             for f in store.manifest(entry.digest)["files"]]  # fmt: skip
    manifest = store.root / "manifests/sha256" / entry.digest[:2] / entry.digest
    record = store.root / "references/models/other/1"
    for path in (*blobs, manifest, record):
        before = path.read_bytes()
        for position in range(len(before)):
            after = bytearray(before)
            after[position] ^= 1 << (position % 8)
            path.unlink()
            path.write_bytes(after)
            with (
                pytest.raises(CorruptContent),
                store.view(store.resolve("models", "other:1").digest),
            ):
                pass
            path.unlink(missing_ok=True)
            path.write_bytes(before)


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "empty", "missing", "swapped", "link", "folder"]
)
@pytest.mark.parametrize("which", ["blob", "manifest", "record"])
def test_other_damage_is_noticed(which: str, damage: str, store: Store, tmp_path: Path):
    entry = store.resolve("models", "iris:1")
    other = store.resolve("models", "iris:2")

    def weights(digest: str) -> str:
        files = store.manifest(digest)["files"]
        return next(f["sha256"] for f in files if f["path"] == "model/weights.bin")

    def place(kind: str, digest: str) -> Path:
        return store.root / kind / "sha256" / digest[:2] / digest

    path, twin = {
        "blob": (place("blobs", weights(entry.digest)), place("blobs", weights(other.digest))),
        "manifest": (place("manifests", entry.digest), place("manifests", other.digest)),
        "record": (
            store.root / "references/models/iris/1",
            store.root / "references/models/iris/2",
        ),
    }[which]
    before = path.read_bytes()
    path.unlink()
    if damage == "link":
        (tmp_path / "outside").write_bytes(before)
        path.symlink_to(tmp_path / "outside")
    elif damage == "folder":
        path.mkdir()
    elif damage == "swapped":
        shutil.copy(twin, path)
    elif damage != "missing":
        path.write_bytes({"cut": before[:-1], "longer": before + b"\n", "empty": b""}[damage])
    from dosirak.errors import StorageError

    errors = (CorruptContent, StorageError if damage in ("link", "folder") else CorruptContent)
    if (which, damage) == ("record", "missing"):
        errors = (NotFound, NotFound)
    with pytest.raises(errors), store.view(store.resolve("models", "iris:1").digest):
        pass
    if which == "blob":
        with pytest.raises(errors):
            store.checkout(entry.digest, tmp_path / "out")
        with pytest.raises(errors):
            store.open_blob(weights(entry.digest))
        assert not (tmp_path / "out").exists()
    assert store.resolve("models", "iris:2") == other


def test_a_damaged_blob_goes_to_quarantine_and_a_sound_one_heals(store: Store):
    entry = store.resolve("models", "iris:1")
    file = next(f for f in store.manifest(entry.digest)["files"] if f["size_bytes"] == 5000)
    blob = store.root / "blobs/sha256" / file["sha256"][:2] / file["sha256"]
    blob.chmod(0o600)
    blob.write_bytes(b"x" * 5000)
    with pytest.raises(CorruptContent, match=r"'model/weights\.bin' is damaged"):
        store.verify(entry.digest)
    (kept,) = (store.root / "quarantine").iterdir()
    assert kept.read_bytes() == b"x" * 5000
    with pytest.raises(CorruptContent, match=r"'model/weights\.bin' is missing"):
        store.verify(entry.digest)
    save(store, "iris", "1", FILES)
    store.verify(entry.digest)


def test_an_extra_file_is_never_part_of_what_is_handed_out(store: Store):
    sound = handed_out(store)
    (store.root / "blobs/sha256" / "evil.py").write_text("raise SystemExit")
    (store.root / "blobs/sha256/ff").mkdir(exist_ok=True)
    (store.root / "blobs/sha256/ff" / ("f" * 64)).write_text("raise SystemExit")
    assert handed_out(store) == sound


def test_an_edited_manifest_stored_under_its_new_digest_needs_an_edited_record(store: Store):
    """Whoever rewrites manifest and blob consistently still meets the record's checksum."""
    record = store.root / "references/models/iris/2"
    old = store.resolve("models", "iris:1").digest
    new = store.resolve("models", "iris:2").digest
    record.write_bytes(record.read_bytes().replace(new.encode(), old.encode()))
    with pytest.raises(CorruptContent, match="iris:2"):
        store.resolve("models", "iris:2")


def test_damage_stops_a_collection_before_it_removes_anything(store: Store):
    entry = store.resolve("models", "iris:1")
    manifest = store.root / "manifests/sha256" / entry.digest[:2] / entry.digest
    before = content_files(store)
    text = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(text.replace(b"notes", b"nutes"))
    store.delete("models", "other:1")
    with pytest.raises(CorruptContent, match="iris:1 in models is damaged"):
        store.collect_garbage()
    gone = set(before) - set(content_files(store))
    assert {path.parent.name for path in gone} == {"other"}  # only the deleted record
