"""Numbered requests to the victims, and whose an answer is."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ledger import Call

FIRST = 1_000_000


def head(path: str, length: int, *more: str) -> bytes:
    """Return the head of a JSON request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        *more,
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *more: str) -> bytes:
    """Return a whole JSON request."""
    return head(path, len(body), *more) + body


def doublings(
    count: int,
    *,
    poison_every: int = 0,
    leave_share: float = 0.0,
    named: bool = False,
    first: int = 0,
    seed: int = 7,
) -> Iterator[Call]:
    """Yield requests to `double`; each has its own value, so each has its own right answer.

    Args:
        count: how many.
        poison_every: one of so many ends the worker that runs it.
        leave_share: so many of the clients go away at a random moment.
        first: the number of the first.
        named: each carries a request id of its own, which its answer must repeat.
        seed: of what is random.
    """
    chance = random.Random(seed)
    for number in range(first, first + count):
        poisoned = bool(poison_every) and number % poison_every == poison_every - 1
        value = (666_000_000 if poisoned else FIRST) + number
        name = f"n{number}"
        more = (f"X-Request-Id: {name}",) if named else ()
        leaves = chance.random() < leave_share
        yield Call(
            number,
            post("/double", b'{"values":[%d]}' % value, *more),
            body=b"[%d]" % (2 * value),
            request_id=name.encode() if named else b"",
            leave_after_s=chance.random() * 0.03 if leaves else None,
            kind="poison" if poisoned else "leaving" if leaves else "good",
        )


def owner_of_doubled(body: bytes) -> int | None:
    """Return the number of the request whose answer this is."""
    try:
        value = int(body.strip(b"[]"))
    except ValueError:
        return None
    return value // 2 - (666_000_000 if value >= 2 * 666_000_000 else FIRST)


def works(
    count: int,
    path: str = "/work",
    *more: str,
    kind: str = "good",
    first: int = 0,
    times: int = 2,
) -> Iterator[Call]:
    """Yield requests to an api that takes one value and returns it, or its double."""
    for number in range(first, first + count):
        value = FIRST + number
        yield Call(
            number,
            post(path, b'{"value":%d}' % value, *more),
            body=b"%d" % (times * value),
            kind=kind,
        )


def owner_of_work(body: bytes) -> int | None:
    """Return the number of the request whose answer this is."""
    return int(body) // 2 - FIRST if body.isdigit() else None
