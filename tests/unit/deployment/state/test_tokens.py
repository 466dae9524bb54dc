"""Tokens: shown once, kept as hashes, checked; and the files by which replicas check them."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zlib
from typing import Any

import pytest

from dosirak.deployment.configuration import Access
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.access_files import access_file, publish_access
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.tokens import (
    NewToken,
    check_token,
    create_token,
    find_token,
    list_tokens,
    revoke_token,
)
from dosirak.errors import (
    AlreadyExists,
    Forbidden,
    InvalidConfiguration,
    InvalidName,
    NotFound,
    Unauthorized,
)

DAY_S = 86400.0


def made(state: PlatformState, name: str, *scopes: str, **options: Any) -> NewToken:
    with state.transaction() as transaction:
        return create_token(transaction, name, scopes, **options)


def revoked(state: PlatformState, which: str) -> None:
    with state.transaction() as transaction:
        revoke_token(transaction, which)


def test_a_token_is_what_scanners_look_for_and_is_kept_nowhere(
    state: PlatformState, paths: PlatformPaths
) -> None:
    token = made(state, "ci", "infer:iris")
    match = re.fullmatch(r"dsk_([a-z2-7]+)_([a-z2-7]{52})_([0-9a-f]{8})", token.text)
    assert match is not None
    assert match[1] == token.record.id
    assert int(match[3], 16) == zlib.crc32(token.text.rpartition("_")[0].encode())
    assert token.text not in repr(token)
    state.close()
    kept = b"".join(path.read_bytes() for path in paths.root.rglob("*") if path.is_file())
    assert match[2].encode() not in kept
    assert hashlib.sha256(token.text.encode()).hexdigest().encode() in kept


def test_no_two_tokens_are_alike(state: PlatformState) -> None:
    texts = {made(state, f"t{number}", "admin").text for number in range(20)}
    assert len({text.split("_")[1] for text in texts}) == 20
    assert len({text.split("_")[2] for text in texts}) == 20


def test_a_token_opens_what_its_scopes_say(any_state: PlatformState) -> None:
    token = made(any_state, "ci", "infer:iris", "deploy:read:*", created_by="me")
    found = check_token(any_state, token.text, "infer:iris")
    assert (found.id, found.name, found.created_by) == (token.record.id, "ci", "me")
    assert found.scopes == ("deploy:read:*", "infer:iris")
    assert check_token(any_state, token.text, None).id == token.record.id
    with pytest.raises(Forbidden, match="'ci' does not allow infer:rose") as caught:
        check_token(any_state, token.text, "infer:rose")
    assert token.text.split("_")[2] not in str(caught.value)


def test_whoever_shows_a_wrong_token_is_told_nothing_about_it(
    state: PlatformState, clock: Any
) -> None:
    good = made(state, "good", "admin").text
    ended = made(state, "ended", "admin", lifetime_s=10.0).text
    gone = made(state, "gone", "admin").text
    revoked(state, "gone")
    clock.now += 11
    other_secret = _resealed(f"dsk_{good.split('_')[1]}_{gone.split('_')[2]}")
    unknown = _resealed(f"dsk_{'a' * 16}_{gone.split('_')[2]}")
    wrong = [ended, gone, other_secret, unknown, "", "x", good[:-1], good + "0", good.upper()]
    wrong += [f" {good}", good.replace("dsk", "dsc"), "dsk___", "dsk_\ud800_", good + "\n"]
    said: set[str] = set()
    for text in wrong:
        with pytest.raises(Unauthorized) as caught:
            check_token(state, text, "infer:iris")
        said.add(str(caught.value))
    assert len(said) == 1
    check_token(state, good, "infer:iris")


def _resealed(body: str) -> str:
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def test_a_token_ends_after_ninety_days(state: PlatformState, clock: Any) -> None:
    token = made(state, "ci", "admin")
    forever = made(state, "forever", "admin", lifetime_s=None)
    assert token.record.expires_at == clock.now + 90 * DAY_S
    clock.now += 90 * DAY_S - 1
    check_token(state, token.text, "admin")
    clock.now += 1
    with pytest.raises(Unauthorized):
        check_token(state, token.text, "admin")
    clock.now += 1000 * DAY_S
    check_token(state, forever.text, "admin")


def test_a_revoked_token_is_refused_at_once_and_stays_in_the_list(
    any_state: PlatformState, clock: Any
) -> None:
    token = made(any_state, "ci", "admin")
    clock.now += 5
    revoked(any_state, token.record.id)
    clock.now += 5
    revoked(any_state, token.record.id)
    with pytest.raises(Unauthorized):
        check_token(any_state, token.text, "admin")
    with any_state.reading() as reading:
        (listed,) = list_tokens(reading)
    assert listed.revoked_at == clock.now - 5
    again = made(any_state, "ci", "admin")
    revoked(any_state, "ci")  # by its name the valid one is meant
    with any_state.reading() as reading:
        first, second = list_tokens(reading)
        assert (first.revoked_at, second.revoked_at) == (clock.now - 5, clock.now)
        assert find_token(reading, "ci").id == again.record.id  # or the last one that had it
    with pytest.raises(NotFound, match="no token 'cd'"):
        revoked(any_state, "cd")
    made(any_state, "ci", "admin")  # so the name is free


def test_tokens_that_ended_long_ago_are_forgotten(state: PlatformState, clock: Any) -> None:
    made(state, "short", "admin", lifetime_s=1.0)
    made(state, "gone", "admin", lifetime_s=None)
    revoked(state, "gone")
    clock.now += 31 * DAY_S
    made(state, "new", "admin")
    with state.reading() as reading:
        assert [each.name for each in list_tokens(reading)] == ["new"]


def test_use_is_noted_to_the_minute(state: PlatformState, clock: Any) -> None:
    token = made(state, "ci", "admin")
    with state.reading() as reading:
        assert list_tokens(reading)[0].last_used_at is None
    first = clock.now
    check_token(state, token.text, "admin")
    commits = state.commits()
    clock.now += 59
    check_token(state, token.text, "admin")
    assert state.commits() == commits
    clock.now += 1
    check_token(state, token.text, "admin")
    with state.reading() as reading:
        assert list_tokens(reading)[0].last_used_at == first + 60


def test_what_cannot_be_a_token_is_refused(state: PlatformState) -> None:
    made(state, "ci", "admin")
    with pytest.raises(AlreadyExists, match="named 'ci'"):
        made(state, "ci", "admin")
    for name in ("local", "controller", "Not A Name", ""):
        with pytest.raises(InvalidName):
            made(state, name, "admin")
    with pytest.raises(InvalidConfiguration, match="without a scope"):
        made(state, "none")
    with pytest.raises(InvalidConfiguration, match="'infer' is not a scope"):
        made(state, "bad", "admin", "infer")
    for lifetime_s in (0.0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(InvalidConfiguration, match="lifetime"):
            made(state, "bad", "admin", lifetime_s=lifetime_s)


def test_replicas_are_told_of_the_tokens_that_may_call_them(
    state: PlatformState, paths: PlatformPaths, clock: Any
) -> None:
    mine = made(state, "mine", "infer:iris", lifetime_s=10.0)
    every = made(state, "every", "infer:*", lifetime_s=None)
    admin = made(state, "admin", "admin")
    made(state, "other", "infer:rose")
    made(state, "reader", "deploy:write:iris")
    gone = made(state, "gone", "infer:iris")
    revoked(state, "gone")
    publish_access(state, paths, {"iris": Access.TOKEN, "tulip": Access.TOKEN})
    path = access_file(paths, "iris")
    assert path == paths.access / "iris.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_bytes())
    assert list(told) == ["version", "deployment", "open", "tokens"]
    assert told["open"] is False
    assert (told["version"], told["deployment"]) == (1, "iris")
    assert {token["id"]: token for token in told["tokens"]} == {
        token.record.id: {
            "id": token.record.id,
            "sha256": hashlib.sha256(token.text.encode()).hexdigest(),
            "expires_at": token.record.expires_at,
        }
        for token in (mine, every, admin)
    }
    assert gone.record.id not in path.read_text()
    assert len(json.loads(access_file(paths, "tulip").read_bytes())["tokens"]) == 2
    clock.now += 10
    publish_access(state, paths, {"iris": Access.TOKEN})
    assert mine.record.id not in path.read_text()


def test_a_file_that_says_so_already_is_left_alone(
    state: PlatformState, paths: PlatformPaths
) -> None:
    publish_access(state, paths, {"iris": Access.TOKEN})
    before = access_file(paths, "iris").stat()
    publish_access(state, paths, {"iris": Access.TOKEN})
    after = access_file(paths, "iris").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    made(state, "ci", "infer:iris")
    publish_access(state, paths, {"iris": Access.TOKEN})
    assert access_file(paths, "iris").stat().st_ino != before.st_ino
    assert [path.name for path in paths.access.iterdir()] == ["iris.json"]
    publish_access(state, paths, {"rose": Access.PUBLIC})
    assert [path.name for path in paths.access.iterdir()] == ["rose.json"]
    assert json.loads(access_file(paths, "rose").read_bytes())["open"] is True


def test_a_name_cannot_lead_out_of_the_folder(state: PlatformState, paths: PlatformPaths) -> None:
    for name in ("../iris", "a/b", ".", "..", ""):
        with pytest.raises(InvalidName):
            publish_access(state, paths, {name: Access.TOKEN})
