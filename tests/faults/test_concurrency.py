"""F-43: many processes at one store lose nothing and never see a half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from operations import save

from dosirak.errors import Conflict
from dosirak.store import Store
from dosirak.store.archive import export_archive

PROCESSES = 32


def together(
    root: Path, start: Path, works: list[list[str]], *, finite: int | None = None
) -> list[list[str]]:
    """Run processes that begin at the same moment; return what each printed."""
    command = [sys.executable, "-W", "error", str(Path(__file__).parent / "many.py")]
    running = [
        subprocess.Popen(
            [*command, str(root), str(start), *work],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for work in works
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()
        start.touch()
        # The last processes go on until the first ones, which do a fixed amount, are done.
        answers = [process.communicate(timeout=240) for process in running[:finite]]
        start.with_name("stop").touch()
        answers += [process.communicate(timeout=240) for process in running[finite:]]
    finally:
        for process in running:
            process.kill()
    codes = [process.returncode for process in running]
    assert "".join(errors for _, errors in answers) == ""
    assert codes == [0] * len(works)
    return [output.splitlines() for output, _ in answers]


def test_32_processes_saving_one_name_lose_nothing(tmp_path):
    printed = together(tmp_path / "s", tmp_path / "go", [["save", "iris", "1"]] * PROCESSES)
    made = dict(line.split() for lines in printed for line in lines)
    store = Store(tmp_path / "s")
    entries = store.entries("models", "iris")
    assert {str(entry.reference): entry.digest for entry in entries} == made
    assert len(made) == PROCESSES
    assert len({entry.created_at_ns for entry in entries}) == PROCESSES
    assert [e.version for e in entries] == sorted((e.version for e in entries), reverse=True)
    assert store.resolve("models", "iris") == entries[0]
    for entry in entries:
        store.verify(entry.digest)
    assert store.collect_garbage().blobs == 0


def test_32_processes_importing_one_archive_make_one_entry(tmp_path):
    source = Store(tmp_path / "source")
    entry = save(source, "iris", "1", {"weights": "w" * 100_000})
    export_archive(source, entry, tmp_path / "iris.tar")
    work = ["import", str(tmp_path / "iris.tar")]
    printed = together(tmp_path / "s", tmp_path / "go", [work] * PROCESSES)
    assert {tuple(lines) for lines in printed} == {(f"iris:1 {entry.digest}",)}
    store = Store(tmp_path / "s")
    assert [found.digest for found in store.entries("models")] == [entry.digest]
    store.verify(entry.digest)


@pytest.mark.parametrize(
    "count", ["12", pytest.param("150", marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_collecting_never_takes_what_is_saved_or_loaded_meanwhile(count, tmp_path):
    stop = str(tmp_path / "stop")
    printed = together(
        tmp_path / "s",
        tmp_path / "go",
        [["save", "iris", count]] * 3
        + [["save", "other", count]]
        + [["load", "iris", stop]] * 3
        + [["collect", stop]] * 2,
        finite=4,
    )
    lines = [line.split() for output in printed for line in output]
    deleted = {line[1] for line in lines if line[0] == "deleted"}
    kept = {line[0]: line[1] for line in lines if ":" in line[0]}
    kept = {reference: digest for reference, digest in kept.items() if reference not in deleted}
    store = Store(tmp_path / "s")
    assert {str(e.reference): e.digest for e in store.entries("models")} == kept
    for digest in kept.values():
        store.verify(digest)
    assert sum(int(line[1]) for line in lines if line[0] == "removed") > 0
    assert all(int(line[1]) > 0 for line in lines if line[0] == "seen")


def test_what_is_leased_outlives_delete_and_collection(tmp_path):
    store = Store(tmp_path / "s")
    entry = save(store, "iris", "1", {"a": "text"})
    with store.view(entry.digest) as directory, store.lease(entry.digest):
        store.delete("models", "iris:1")
        assert store.collect_garbage().blobs == 0
        assert (directory / "a").read_text() == "text"
        store.verify(entry.digest)
    assert store.collect_garbage().blobs == 1


def test_a_collection_that_cannot_have_its_turn_says_so(tmp_path):
    from dosirak.store.layout import Layout
    from dosirak.store.locks import no_collection

    store = Store(tmp_path / "s")
    save(store, "iris", "1", {"a": "text"})
    with no_collection(Layout(store.root)), pytest.raises(Conflict, match=r"0\.05 seconds"):
        store.collect_garbage(wait_s=0.05)
    store.collect_garbage()


def test_a_transaction_in_progress_is_not_collected_nor_in_the_way(tmp_path):
    store = Store(tmp_path / "s")
    with store.writing() as transaction:
        (transaction.directory / "a").write_text("text")
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        assert store.collect_garbage(wait_s=1).scratch == 0
        entry = transaction.commit("models", "iris", "1", {"files": files})
    store.verify(entry.digest)
