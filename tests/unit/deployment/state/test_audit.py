"""The audit log: every change once, and no line changed, removed, added or moved unseen."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.audit_check import verify
from dosirak.deployment.state.audit_lines import AuditEntry
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.errors import StorageError


def entry(action: str = "deployment.update", **other: Any) -> AuditEntry:
    return AuditEntry(**{"at": 1.5, "who": "local", "action": action, **other})


@pytest.fixture
def audit(paths: PlatformPaths, any_state: PlatformState) -> AuditLog:
    return AuditLog(paths, any_state)


def lines(paths: PlatformPaths) -> list[dict[str, Any]]:
    return [json.loads(line) for line in paths.audit_log.read_bytes().splitlines()]


def test_an_entry_says_who_did_what(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    full = entry(
        who="abc",
        object="deployment/iris",
        object_digest="f" * 64,
        from_address="127.0.0.1",
        result="refused: forbidden",
        request_id="r1",
    )
    audit.append(full)
    audit.append(entry("token.revoke"))
    first, second = lines(paths)
    assert {name: first[name] for name in AuditEntry.__slots__} == {
        name: getattr(full, name) for name in AuditEntry.__slots__
    }
    assert (first["seq"], second["seq"]) == (1, 2)
    assert second["prev"] == first["sha256"]
    assert stat.S_IMODE(paths.audit_log.stat().st_mode) == 0o600
    report = verify(paths, any_state)
    assert (report.sound, report.entries, report.pending, report.notes) == (True, 2, 0, ())


def test_no_log_is_sound(paths: PlatformPaths, any_state: PlatformState) -> None:
    report = verify(paths, any_state)
    assert (report.sound, report.entries) == (True, 0)


def test_text_that_could_break_a_line_does_not(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    for text in ('a\n{"seq":1}\n', '"}\\', "\u2028\x00\x7f", "\ud800", "x" * 100_000):
        audit.append(entry(request_id=text, object=text))
    assert verify(paths, any_state).entries == 5
    assert paths.audit_log.read_bytes().count(b"\n") == 5
    assert paths.audit_log.stat().st_size < 100_000


def test_an_entry_is_true_only_with_its_change(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    with pytest.raises(KeyError), any_state.transaction() as transaction:
        audit.note(transaction, entry())
        raise KeyError
    assert audit.flush() == 0
    assert not paths.audit_log.exists()
    with any_state.transaction() as transaction:
        audit.note(transaction, entry())
        audit.note(transaction, entry("second"))
    assert verify(paths, any_state).pending == 2
    assert [AuditLog(paths, any_state).flush(), audit.flush()] == [2, 0]  # as after a crash
    assert [line["action"] for line in lines(paths)] == ["deployment.update", "second"]
    assert verify(paths, any_state).sound


def test_who_is_killed_between_file_and_database_writes_no_entry_twice(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    audit.append(entry("before"))
    with any_state.transaction() as transaction:
        audit.note(transaction, entry("one"))
        audit.note(transaction, entry("two"))
    with pytest.raises(KeyboardInterrupt), any_state.transaction() as transaction:
        audit._flush(transaction)
        raise KeyboardInterrupt
    report = verify(paths, any_state)
    assert (report.sound, report.entries, report.pending) == (True, 3, 0)
    with any_state.transaction() as transaction:
        audit.note(transaction, entry("three"))
    audit.flush()
    assert [line["action"] for line in lines(paths)] == ["before", "one", "two", "three"]
    assert verify(paths, any_state).notes == ()


def test_many_threads_make_one_chain(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    def write(number: int) -> None:
        if number % 2:
            audit.append(entry(str(number)))
        else:
            with any_state.transaction() as transaction:
                audit.note(transaction, entry(str(number)))
            audit.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert sorted(int(line["action"]) for line in lines(paths)) == list(range(40))
    assert verify(paths, any_state).sound


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, -1])
def test_a_line_torn_by_a_crash_is_told_and_is_no_problem(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState, kept_bytes: int
) -> None:
    audit.append(entry("first"))
    before = paths.audit_log.read_bytes()
    # Killed while it wrote: the line is begun, and the database knows nothing of it.
    with pytest.raises(KeyboardInterrupt), any_state.transaction() as transaction:
        audit.note(transaction, entry("torn"))
        audit._flush(transaction)
        raise KeyboardInterrupt
    torn = paths.audit_log.read_bytes()[len(before) :][:-1][:kept_bytes]
    paths.audit_log.write_bytes(before + torn)
    report = verify(paths, any_state)
    assert report.sound
    assert len(report.notes) == (kept_bytes != 0)
    audit.append(entry("next"))
    assert lines_that_are_some(paths)[-1] == "next"
    report = verify(paths, any_state)
    assert report.sound, report.problems
    assert any("torn by a crash" in note for note in report.notes) == (kept_bytes != 0)
    # A part of the line that once was torn is as little to be changed as any other.
    if kept_bytes == 100:
        paths.audit_log.write_bytes(paths.audit_log.read_bytes().replace(torn, torn[:-1] + b"!"))
        assert not verify(paths, any_state).sound


def lines_that_are_some(paths: PlatformPaths) -> list[str]:
    actions: list[str] = []
    for line in paths.audit_log.read_bytes().splitlines():
        try:
            actions.append(json.loads(line)["action"])
        except json.JSONDecodeError:
            continue
    return actions


def test_what_an_older_database_does_not_know_is_told(paths: PlatformPaths, clock: Any) -> None:
    state = open_state(paths, clock=clock)
    audit = AuditLog(paths, state)
    audit.append(entry("one"))
    state.close()
    older = paths.database.read_bytes()
    state = open_state(paths, clock=clock)
    audit = AuditLog(paths, state)
    for action in ("two", "three"):
        audit.append(entry(action))
    state.close()
    paths.database.write_bytes(older)
    state = open_state(paths, clock=clock)
    report = verify(paths, state)
    assert report.sound
    assert report.notes == ("The database knows nothing of the last 2 entries.",)
    AuditLog(paths, state).append(entry("four"))
    actions = [line["action"] for line in lines(paths)]
    assert actions == ["one", "two", "three", "audit.ahead", "four"]
    report = verify(paths, state)
    assert report.sound
    assert "the 2 entries from 2 on" in report.notes[0]
    state.close()


def test_a_log_that_is_gone_or_another_is_a_problem(
    paths: PlatformPaths, state: PlatformState, tmp_path: Path
) -> None:
    AuditLog(paths, state).append(entry("one"))
    first = paths.audit_log.read_bytes()
    paths.audit_log.unlink()
    assert "is gone" in verify(paths, state).problems[0]
    AuditLog(paths, state).append(entry("two"))
    assert "is gone" in verify(paths, state).problems[0]
    paths.audit_log.write_bytes(first)
    assert not verify(paths, state).sound


def test_a_file_that_cannot_be_written_loses_no_entry(
    audit: AuditLog, paths: PlatformPaths, any_state: PlatformState
) -> None:
    paths.audit_log.mkdir(parents=True)
    with any_state.transaction() as transaction:
        audit.note(transaction, entry("kept"))
    with pytest.raises(StorageError, match="Writing the audit log"):
        audit.flush()
    paths.audit_log.rmdir()
    assert audit.flush() == 1
    assert [line["action"] for line in lines(paths)] == ["kept"]


def test_the_end_is_found_however_much_was_written_since(
    paths: PlatformPaths, state: PlatformState
) -> None:
    audit = AuditLog(paths, state)
    audit.append(entry("first"))
    head = paths.audit_log.stat().st_size
    with state.transaction() as transaction:
        for number in range(500):
            audit.note(transaction, entry(str(number), object="x" * 500))
    with pytest.raises(KeyboardInterrupt), state.transaction() as transaction:
        audit._flush(transaction)
        raise KeyboardInterrupt
    assert paths.audit_log.stat().st_size > head + 3 * 65536
    audit.flush()
    assert [line["action"] for line in lines(paths)] == ["first", *map(str, range(500))]
    assert verify(paths, state).sound


# -- tampering ---------------------------------------------------------------------------------

Tamper = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A log of eight entries, some torn, with the database that knows it."""
    paths = PlatformPaths(tmp_path_factory.mktemp("audit"))
    state = open_state(paths)
    audit = AuditLog(paths, state)
    for number in range(4):
        audit.append(entry(f"action{number}", object_digest="0" * 64))
    with paths.audit_log.open("ab") as file:
        file.write(b'{"seq":5,"id":"ab')
    for number in range(3):
        audit.append(entry(f"action{number}"))
    yield paths, state, paths.audit_log.read_bytes()
    state.close()


def found(written: Any, tampered: bytes) -> bool:
    paths, state, _ = written
    paths.audit_log.write_bytes(tampered)
    return not verify(paths, state).sound


def test_the_log_is_sound_before_it_is_tampered_with(written: Any) -> None:
    assert not found(written, written[2])


@given(st.data())
def test_any_changed_byte_is_found(written: Any, data: st.DataObject) -> None:
    tampered = bytearray(written[2])
    index = data.draw(st.integers(0, len(tampered) - 1))
    tampered[index] ^= data.draw(st.integers(1, 255))
    assert found(written, bytes(tampered))


def test_any_removed_doubled_or_moved_line_is_found(written: Any) -> None:
    whole = written[2].splitlines(keepends=True)
    for i in range(len(whole)):
        assert found(written, b"".join(whole[:i] + whole[i + 1 :])), i
        assert found(written, b"".join(whole[: i + 1] + whole[i:])), i
        for j in range(i):
            swapped = [*whole]
            swapped[i], swapped[j] = whole[j], whole[i]
            assert found(written, b"".join(swapped)), (i, j)


def test_any_shorter_log_is_found(written: Any) -> None:
    whole = written[2]
    for size in range(0, len(whole) - 1, 31):
        assert found(written, whole[:size]), size


@given(st.data())
def test_any_part_taken_out_or_put_in_is_found(written: Any, data: st.DataObject) -> None:
    whole = written[2]
    start = data.draw(st.integers(0, len(whole) - 2))
    end = data.draw(st.integers(start + 1, len(whole) - 1))
    assert found(written, whole[:start] + whole[end:])
    added = data.draw(st.binary(min_size=1, max_size=50))
    put_in = whole[:start] + added + whole[start:]
    assert put_in == whole or found(written, put_in)


def test_a_rewritten_chain_is_found(written: Any, tmp_path: Path) -> None:
    """Whoever makes all hashes anew cannot make the one in the database."""
    paths, _, whole = written
    other = PlatformPaths(tmp_path)
    state = open_state(other)
    audit = AuditLog(other, state)
    for number in range(8):
        audit.append(entry(f"forged{number}"))
    state.close()
    assert found(written, other.audit_log.read_bytes())
    paths.audit_log.write_bytes(whole)
