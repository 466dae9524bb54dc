"""F-26: requests that two readers of HTTP might cut differently.

Each case is what one client sends on one connection: a request with the id `outer`, mostly dubious,
and behind it bytes which, if they were taken for a request, would be recorded by the victim under
the id `smuggled`. What the front answered and what the worker recorded must be the same. Where the
standard (RFC 9112, section 6) leaves no doubt that the bytes are a second, pipelined request, or
lets a reader take them for one, the case is `lawful`; in any other nothing may be `smuggled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

_INNER = (
    b"POST /record HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled\r\n"
    b'Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{"value":6}'
)
_PLAIN = b'{"value":5}'

_ENCODINGS = (
    "chunked", "Chunked", " chunked", "chunked ", "\tchunked", "xchunked", "chunkedx",
    "chunked, identity", "identity, chunked", "identity", "chunked,chunked", "chunked;q=1",
    '"chunked"', "chunked\x0b", "gzip, chunked", ",chunked", "chunked,", "cow", "",
)  # fmt: skip
_LENGTHS = (
    "+{n}", "-{n}", "{n},{n}", "{n}, {n}", "0x{n:x}", "{n}.0", "{n} {n}", "{n}\x0b", "0{n}", "",
    "{n}e0", "00000000000000000000000000000000{n}", "٣", "{n}\x00",
    "184467440737095516{n}",
)  # fmt: skip
# A list of one value twice may be read as that value, and zeros in front say nothing.
_LAWFUL_LENGTHS = ("{n},{n}", "{n}, {n}", "0{n}", "00000000000000000000000000000000{n}")
_LAWFUL_ENCODINGS = (
    "chunked",
    "Chunked",
    " chunked",
    "chunked ",
    "\tchunked",
    ",chunked",
    "chunked,",
)
_CHUNKS = (
    b"%x\r\n%b\r\n0\r\n\r\n", b"%x\n%b\n0\n\n", b"0x%x\r\n%b\r\n0\r\n\r\n",
    b"%x;a=b\r\n%b\r\n0\r\n\r\n", b"%x ;a\r\n%b\r\n0\r\n\r\n", b"+%x\r\n%b\r\n0\r\n\r\n",
    b"-%x\r\n%b\r\n0\r\n\r\n", b"%x\r\n%bxx0\r\n\r\n", b"%x\r\n%b\n0\r\n\r\n", b"%x\r%b\r0\r\r",
    b" %x\r\n%b\r\n0\r\n\r\n", b"%x\r\n%b\r\n00\r\n\r\n", b"%x\r\n%b\r\n0\r\nA: b\r\n\r\n",
    b"f000000000000000%x\r\n%b\r\n0\r\n\r\n", b"%x;\n\r\n%b\r\n0\r\n\r\n", b"%x\r\n%b\r\n0\r\n",
)  # fmt: skip
# An extension, one with a space before it, a longer zero, and a trailer.
_LAWFUL_CHUNKS = (_CHUNKS[0], _CHUNKS[3], _CHUNKS[4], _CHUNKS[11], _CHUNKS[12])
_NAMES = (
    "Content-Length :", "Content-Length\t:", " Content-Length:", "Content_Length:",
    "Content-Length\x00:", "Content-Length\r\n :", "\x0bContent-Length:", "Content-Length::",
)  # fmt: skip


@dataclass(frozen=True)
class Smuggle:
    """One connection's bytes."""

    name: str
    data: bytes
    lawful: bool = False


def _outer(*lines: str, body: bytes) -> bytes:
    head = ["POST /record HTTP/1.1", "Host: localhost", "X-Request-Id: outer",
            "Content-Type: application/json", *lines]  # fmt: skip
    return "\r\n".join([*head, "", ""]).encode("utf-8") + body


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def cases() -> Iterator[Smuggle]:
    """Yield every case."""
    whole = len(_PLAIN) + len(_INNER)
    for encoding, (name, length) in product(
        _ENCODINGS, (("short", len(_PLAIN)), ("long", whole), ("zero", 0))
    ):
        for body in (_PLAIN + _INNER, _chunked(_PLAIN) + _INNER):
            lines = (f"Content-Length: {length}", f"Transfer-Encoding: {encoding}")
            form = "chunks" if body[:1] == b"b" else "plain"
            yield Smuggle(
                f"{name} length, encoding {encoding!r}, {form}", _outer(*lines, body=body)
            )
    for encoding in _ENCODINGS:
        body = b"0\r\n\r\n" + _INNER
        lines = ("Transfer-Encoding: chunked", f"Transfer-Encoding: {encoding}")
        yield Smuggle(f"encodings chunked and {encoding!r}", _outer(*lines, body=body))
        yield Smuggle(f"encodings {encoding!r} and chunked", _outer(*lines[::-1], body=body))
        data = _outer(lines[1], body=body)
        yield Smuggle(f"only encoding {encoding!r}", data, encoding in _LAWFUL_ENCODINGS)
    for length in _LENGTHS:
        text = length.format(n=len(_PLAIN))
        data = _outer(f"Content-Length: {text}", body=_PLAIN + _INNER)
        yield Smuggle(f"length {text!r}", data, length in _LAWFUL_LENGTHS)
        two = (f"Content-Length: {len(_PLAIN)}", f"Content-Length: {text}")
        yield Smuggle(f"two lengths, {text!r} last", _outer(*two, body=_PLAIN + _INNER))
        yield Smuggle(f"two lengths, {text!r} first", _outer(*two[::-1], body=_PLAIN + _INNER))
    for pattern in _CHUNKS:
        chunk = pattern % (len(_PLAIN), _PLAIN)
        data = _outer("Transfer-Encoding: chunked", body=chunk + _INNER)
        yield Smuggle(f"chunks {pattern!r}", data, pattern in _LAWFUL_CHUNKS)
    for name in _NAMES:
        data = _outer(f"{name} {len(_PLAIN)}", body=_PLAIN + _INNER)
        yield Smuggle(f"name {name!r}", data)
    plain = _outer(f"Content-Length: {len(_PLAIN)}", body=_PLAIN)
    yield Smuggle("line feeds", plain.replace(b"\r\n", b"\n") + _INNER, lawful=True)
    yield Smuggle("a body for GET", plain.replace(b"POST", b"GET") + _INNER, lawful=True)
    yield Smuggle("two requests", plain + _INNER, lawful=True)
    yield Smuggle("nothing but a length", _outer(f"Content-Length: {whole}", body=_PLAIN + _INNER))
