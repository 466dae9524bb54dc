"""Secrets: encrypted, bound to their names, resolved for replicas and shown to nobody."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import tables
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.secrets import (
    SecretKey,
    delete_secret,
    list_secrets,
    resolve_secrets,
    set_secret,
)
from dosirak.errors import CorruptContent, InvalidConfiguration, InvalidName, NotFound

VALUE = "hunter2-정말-비밀"


def put(state: PlatformState, paths: PlatformPaths, name: str, value: str = VALUE) -> None:
    with state.transaction() as transaction:
        set_secret(transaction, paths, name, value)


def resolved(state: PlatformState, paths: PlatformPaths, *names: str) -> dict[str, str]:
    with state.reading() as reading:
        return resolve_secrets(reading, paths, names)


def test_a_secret_comes_back_for_a_replica_only(
    any_state: PlatformState, paths: PlatformPaths, clock: Any
) -> None:
    made_at = clock.now
    put(any_state, paths, "TOKEN", "old")
    put(any_state, paths, "A_KEY", "")
    clock.now += 5
    put(any_state, paths, "TOKEN")
    assert resolved(any_state, paths, "TOKEN", "A_KEY", "TOKEN") == {"TOKEN": VALUE, "A_KEY": ""}
    assert resolved(any_state, paths) == {}
    with any_state.reading() as reading:
        listed = list_secrets(reading)
    assert [each.name for each in listed] == ["A_KEY", "TOKEN"]
    assert (listed[1].created_at, listed[1].updated_at) == (made_at, clock.now)
    assert VALUE not in repr(listed)


def test_no_file_of_the_platform_holds_a_value(state: PlatformState, paths: PlatformPaths) -> None:
    put(state, paths, "TOKEN")
    state.close()
    for path in paths.home.rglob("*"):
        assert not path.is_file() or VALUE.encode() not in path.read_bytes()
    assert stat.S_IMODE(paths.secret_key.stat().st_mode) == 0o600
    assert paths.root not in paths.secret_key.parents


def test_the_key_is_made_on_first_use(state: PlatformState, paths: PlatformPaths) -> None:
    assert resolved(state, paths) == {}
    assert not paths.secret_key.exists()
    put(state, paths, "A")
    key = paths.secret_key.read_bytes()
    put(state, paths, "B")
    assert paths.secret_key.read_bytes() == key
    assert "data=" not in repr(SecretKey.of_file(paths.secret_key))


def test_who_makes_the_key_second_gets_the_first_ones(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first, second = SecretKey.of_new_file(path), SecretKey.of_new_file(path)
    assert first == second
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_the_same_value_never_looks_the_same(state: PlatformState, paths: PlatformPaths) -> None:
    for name in ("A", "B"):
        put(state, paths, name)
    with state.reading() as reading:
        rows = reading.rows(tables.secrets.select())
    assert rows[0]["ciphertext"][:12] != rows[1]["ciphertext"][:12]
    assert rows[0]["ciphertext"] != rows[1]["ciphertext"]


def test_a_value_cannot_pass_for_anothers(state: PlatformState, paths: PlatformPaths) -> None:
    put(state, paths, "A", "harmless")
    put(state, paths, "B", "dangerous")
    with state.transaction() as transaction:
        rows = {row["name"]: dict(row) for row in transaction.rows(tables.secrets.select())}
        moved = {**rows["A"], "ciphertext": rows["B"]["ciphertext"]}
        moved.pop("seal")
        transaction.put(tables.secrets, tables.secrets.c.name == "A", moved)
    with pytest.raises(CorruptContent, match="'A' cannot be decrypted"):
        resolved(state, paths, "A")


def test_a_lost_or_other_key_is_an_error_and_is_never_replaced(
    state: PlatformState, paths: PlatformPaths
) -> None:
    put(state, paths, "A")
    kept = paths.secret_key.read_bytes()
    paths.secret_key.unlink()
    with pytest.raises(CorruptContent, match="key file is gone"):
        resolved(state, paths, "A")
    with pytest.raises(CorruptContent, match="Put the key file back"):
        put(state, paths, "B")
    assert not paths.secret_key.exists()
    SecretKey.of_new_file(paths.secret_key)
    with pytest.raises(CorruptContent, match="or is another"):
        resolved(state, paths, "A")
    paths.secret_key.write_bytes(kept)
    assert resolved(state, paths, "A") == {"A": VALUE}


def test_a_key_that_others_may_read_or_that_is_none_is_refused(
    state: PlatformState, paths: PlatformPaths
) -> None:
    put(state, paths, "A")
    paths.secret_key.chmod(0o640)
    with pytest.raises(InvalidConfiguration, match="chmod 600"):
        resolved(state, paths, "A")
    paths.secret_key.chmod(0o600)
    for content in (b"", b"rubbish", b"dosirak-secret-key-1 AAAA\n", b"dosirak-secret-key-1 \xff"):
        paths.secret_key.write_bytes(content)
        with pytest.raises(InvalidConfiguration, match="is no key"):
            resolved(state, paths, "A")


def test_missing_secrets_are_named_together(state: PlatformState, paths: PlatformPaths) -> None:
    put(state, paths, "A")
    with pytest.raises(NotFound, match="no secret 'B', 'C'"):
        resolved(state, paths, "C", "A", "B")
    with state.transaction() as transaction:
        delete_secret(transaction, "A")
    with pytest.raises(NotFound, match="'A'"), state.transaction() as transaction:
        delete_secret(transaction, "A")


@pytest.mark.parametrize("name", ["", "1A", "A-B", "a b", "A=B", "Ä", "x" * 257, "A\n"])
def test_a_name_must_be_one_of_a_variable(
    state: PlatformState, paths: PlatformPaths, name: str
) -> None:
    with pytest.raises(InvalidName):
        put(state, paths, name)


@pytest.mark.parametrize("value", ["a\0b", "x" * 65537, "\ud800"])
def test_a_value_must_be_one_of_a_variable(
    state: PlatformState, paths: PlatformPaths, value: str
) -> None:
    with pytest.raises(InvalidConfiguration, match="'A' cannot be kept") as caught:
        put(state, paths, "A", value)
    assert value not in str(caught.value)
    assert caught.value.fields[0].field == "value"


@given(st.text(max_size=200), st.binary(min_size=1, max_size=1), st.data())
def test_a_changed_ciphertext_is_never_decrypted(
    value: str, flip: bytes, data: st.DataObject
) -> None:
    key = SecretKey(bytes(32))
    ciphertext = bytearray(key.encrypted("A", value))
    assert key.decrypted("A", bytes(ciphertext)) == value
    index = data.draw(st.integers(0, len(ciphertext) - 1))
    ciphertext[index] ^= flip[0] or 1
    with pytest.raises(CorruptContent):
        key.decrypted("A", bytes(ciphertext))
    with pytest.raises(CorruptContent):
        key.decrypted("A", bytes(ciphertext[:index]))
