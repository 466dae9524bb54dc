"""Tokens by a file of hashes: what lets whom in, and when that changes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dosirak.errors import InvalidConfiguration, Unauthorized
from dosirak.serving.access import AccessList, open_access
from dosirak.serving.heads import HeadReader
from dosirak.serving.http.guard import PUBLIC_PATHS, check_request
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.serve import serve

TOKEN = "dsk_token-of-a-caller"
HEAD = "POST /echo HTTP/1.1\r\nhost: any\r\nauthorization: Bearer {}\r\ncontent-length: 1\r\n\r\n"
ANY_HOST = HttpOptions(allowed_hosts=None)


class Wall:
    """A wall clock that is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.json"


def _write(path: Path, *tokens: dict[str, Any], at: float = 0.0, **other: Any) -> None:
    content = {"version": 1, "deployment": "d", "tokens": tokens, **other}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    os.utime(new, (at, at))
    new.replace(path)


def _entry(token: str, expires_at: float | None = None) -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"id": "t", "sha256": digest, "expires_at": expires_at}


def _passes(access: AccessList, token: str) -> bool:
    try:
        access.check(token)
    except Unauthorized:
        return False
    return True


def test_only_tokens_of_the_file_pass(path: Path, clock: Wall) -> None:
    _write(path, _entry(TOKEN))
    access = AccessList(path, clock)

    assert _passes(access, TOKEN)
    for other in ("", "x", TOKEN[:-1], TOKEN + " ", "ü", "\udcff"):
        assert not _passes(access, other)


def test_a_change_is_seen_and_said_once(path: Path, clock: Wall) -> None:
    _write(path, _entry(TOKEN))
    access = AccessList(path, clock)
    assert not access.refresh()

    _write(path, _entry("another"), at=10.0)
    assert access.refresh()
    assert not access.refresh()
    assert (_passes(access, TOKEN), _passes(access, "another")) == (False, True)


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(
    path: Path, clock: Wall
) -> None:
    _write(path, _entry("aaaa"), at=clock.now)
    access = AccessList(path, clock)
    # In place, of the same length, at the same time.
    path.write_text(path.read_text().replace(_entry("aaaa")["sha256"], _entry("bbbb")["sha256"]))
    os.utime(path, (clock.now, clock.now))

    assert access.refresh()
    assert _passes(access, "bbbb")


def test_a_token_expires(path: Path, clock: Wall) -> None:
    _write(path, _entry(TOKEN, clock.now + 5))
    access = AccessList(path, clock)
    assert _passes(access, TOKEN)

    clock.now += 5
    with pytest.raises(Unauthorized, match="expired"):
        access.check(TOKEN)
    # Whoever remembers verdicts is told.
    assert access.refresh()
    assert not access.refresh()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "tokens": []}', '{"version": 1, "tokens": [{}]}', "\xff"],
)
def test_a_broken_file_lets_nobody_in_until_it_is_whole(path: Path, clock: Wall, text: str) -> None:
    _write(path, _entry(TOKEN))
    access = AccessList(path, clock)
    path.write_bytes(text.encode("latin-1"))
    assert access.refresh()
    assert not _passes(access, TOKEN)

    _write(path, _entry(TOKEN), at=20.0)
    assert access.refresh()
    assert _passes(access, TOKEN)


def test_a_missing_file_lets_nobody_in_and_may_come_later(path: Path, clock: Wall) -> None:
    access = AccessList(path, clock)
    assert not _passes(access, TOKEN)
    _write(path, _entry(TOKEN))
    assert access.refresh()
    assert _passes(access, TOKEN)
    path.unlink()
    assert access.refresh()
    assert not _passes(access, TOKEN)


def test_no_file_is_asked_for_nothing() -> None:
    assert open_access("") is None


def test_the_hot_path_and_the_guard_ask_the_same(path: Path, clock: Wall) -> None:
    _write(path, _entry(TOKEN))
    access = AccessList(path, clock)
    heads = HeadReader([b"/echo"], ANY_HOST, access)

    assert heads.read(HEAD.format(TOKEN).encode()) is not None
    assert heads.read(HEAD.format("another").encode()) is None


def test_an_open_one_asks_for_none_until_it_is_closed(path: Path, clock: Wall) -> None:
    _write(path, _entry(TOKEN), open=True)
    access = AccessList(path, clock)
    scope = {"headers": [(b"host", b"x")], "method": "GET", "path": "/echo"}
    check_request(scope, {}, ANY_HOST, access)

    _write(path, _entry(TOKEN), open=False, at=10.0)
    assert access.refresh()
    with pytest.raises(Unauthorized):
        check_request(scope, {}, ANY_HOST, access)
    path.unlink()
    _write(path, open=True, at=20.0)
    assert access.refresh()
    check_request(scope, {}, ANY_HOST, access)


@pytest.mark.parametrize("public", sorted(PUBLIC_PATHS))
def test_probes_and_the_page_need_none(path: Path, clock: Wall, public: str) -> None:
    scope = {"headers": [(b"host", b"x")], "method": "GET", "path": public}
    check_request(scope, {}, ANY_HOST, AccessList(path, clock))


@pytest.mark.parametrize("path_", ["/echo", "/schema.json", "/metrics", "/openapi.json", "/x"])
def test_everything_else_does(path: Path, clock: Wall, path_: str) -> None:
    scope = {"headers": [(b"host", b"x")], "method": "GET", "path": path_}
    with pytest.raises(Unauthorized):
        check_request(scope, {}, ANY_HOST, AccessList(path, clock))


def test_a_token_and_a_file_of_tokens_are_one_too_many(path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="only one"):
        serve("x", token="long-enough", access_file=path)
