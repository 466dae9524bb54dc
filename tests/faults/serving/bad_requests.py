"""Requests that nobody should send: what each is, its bytes, and which answers are right.

Every case is for the victim `Recording`, served with a limit of 1 MiB for a body. It is refused:
4xx or a closed connection; one that is `harmless` may be answered as well, because the standards
allow either. Never a 5xx, never a worker's end.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from numbered import head, post

LIMIT_BYTES = 2**20
_HOST = "Host: localhost"


@dataclass(frozen=True)
class Case:
    """One bad request.

    Attributes:
        fault: its number in the catalogue.
        name: what is wrong with it.
        data: its bytes, perhaps with more than one request in them.
        harmless: an answer with 2xx is right as well.
    """

    fault: str
    name: str
    data: bytes
    harmless: bool = False


def _typed(path: str, media: str, body: bytes, *more: str) -> bytes:
    return post(path, body, *more).replace(b"application/json", media.encode(), 1)


def _raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def bodies() -> Iterator[Case]:
    """F-23: bodies that a decoder might choke on."""
    values = {
        "empty": b"",
        "half": b'{"value": ',
        "deep": b'{"value":' * 50_000,
        "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "an integer of 100000 digits": b'{"value":' + b"9" * 100_000 + b"}",
        "an exponent": b'{"value":1e999999}',
        "a fraction": b'{"value":1.5}',
        "NaN": b'{"value":NaN}',
        "infinity": b'{"value":-Infinity}',
        "text": b'{"value":"seven"}',
        "null": b'{"value":null}',
        "a lone surrogate": b'{"value":"\\ud800"}',
        "bytes that are no text": b'{"value":"\xff\xfe"}',
        "a byte order mark": b'\xef\xbb\xbf{"value":7}',
        "two byte order marks": b'\xff\xfe{"value":7}',
        "trailing bytes": b'{"value":7}{"value":8}',
        "trailing comma": b'{"value":7,}',
        "another name": b'{"valve":7}',
        "a list": b"[7]",
        "a comment": b'{"value":7/**/}',
        "single quotes": b"{'value':7}",
        "a zero byte": b'{"value":7\x00}',
        "only spaces": b" " * 10_000,
    }
    for name, body in values.items():
        yield Case("F-23", f"json: {name}", post("/echo", body))
    many = json.dumps({f"k{number}": number for number in range(20_000)}).encode()
    yield Case("F-23", "json: many keys", post("/echo", many))
    twice = b'{"value":7,"value":8}'
    yield Case("F-23", "json: a key twice", post("/echo", twice), harmless=True)
    rows = {
        "ragged": (b'{"rows":[[1,2],[3]]}', True),
        "no rows": (b'{"rows":[]}', True),
        "text among numbers": (b'{"rows":[[1,"x"]]}', False),
        "not nested": (b'{"rows":[1,2]}', False),
        "nested too deep": (b'{"rows":[[[1]]]}', False),
    }
    for name, (body, harmless) in rows.items():
        yield Case("F-23", f"rows: {name}", post("/mean", body), harmless)
    yield from _binary_bodies()


def _binary_bodies() -> Iterator[Case]:
    npy = b"\x93NUMPY\x01\x00"

    def array(description: str, data: bytes = b"") -> bytes:
        header = description.encode().ljust(117) + b"\n"
        return npy + struct.pack("<H", len(header)) + header + data

    arrays = {
        "negative": array("{'descr':'<f8','fortran_order':False,'shape':(-1,2)}"),
        "overflow": array("{'descr':'<f8','fortran_order':False,'shape':(2**62,2**62)}"),
        "huge": array("{'descr':'<f8','fortran_order':False,'shape':(99999999999,)}"),
        "objects": array("{'descr':'|O','fortran_order':False,'shape':(1,)}", b"\x80\x04N."),
        "code": array("__import__('os').system('true')"),
        "short": array("{'descr':'<f8','fortran_order':False,'shape':(4,)}", b"1234"),
        "no header": npy,
        "version 9": b"\x93NUMPY\x09\x00" + b"\xff" * 8,
        "a header of 4 GiB": b"\x93NUMPY\x03\x00" + b"\xff\xff\xff\xff",
    }
    for name, body in arrays.items():
        yield Case("F-23", f"npy: {name}", _typed("/mean", "application/x-npy", body))
    packed = {
        "a map of 2^32-1": b"\xdf\xff\xff\xff\xff",
        "an array of 2^32-1": b"\xdd\xff\xff\xff\xff",
        "text of 2^32-1": b"\x81\xa5value\xdb\xff\xff\xff\xff",
        "an extension": b"\x81\xa5value\xd4\x01\x00",
        "deep": b"\x91" * 100_000,
        "reserved": b"\xc1",
        "trailing": b"\x81\xa5value\x07\x07",
    }
    for name, body in packed.items():
        yield Case("F-23", f"msgpack: {name}", _typed("/echo", "application/msgpack", body))
    arrow = b"\xff\xff\xff\xff"
    for name, body in {
        "no stream": b"ARROW1\x00\x00",
        "a schema of 2 GiB": arrow + b"\xff\xff\xff\x7f",
        "a negative schema": arrow + b"\xff\xff\xff\xff",
        "rubbish": arrow + struct.pack("<I", 64) + b"\x10" * 64,
    }.items():
        media = "application/vnd.apache.arrow.stream"
        yield Case("F-23", f"arrow: {name}", _typed("/mean", media, body))
    yield Case("F-23", "a pickle", _typed("/echo", "application/x-pickle", b"\x80\x04N."))
    yield Case("F-23", "an unknown type", _typed("/echo", "x/y", b"{}"))
    yield Case("F-23", "a type that is none", _typed("/echo", ";;,,", b"{}"))


def compressed() -> Iterator[Case]:
    """F-22: bodies that grow."""
    bomb = gzip.compress(bytes(64 * 2**20), 9)
    for name, encoding, body in (
        ("a bomb", "gzip", bomb),
        ("a deflate bomb", "deflate", zlib.compress(bytes(64 * 2**20), 9)),
        ("many empty members", "gzip", gzip.compress(b"") * 20_000),
        ("a bomb in a bomb", "gzip, gzip", gzip.compress(bomb)),
        ("not what it says", "gzip", b'{"value":7}'),
        ("cut off", "gzip", gzip.compress(b'{"value":7}')[:-5]),
        ("unknown", "br", b"x"),
        ("zstd", "zstd", b"\x28\xb5\x2f\xfd"),
    ):
        data = post("/echo", body, f"Content-Encoding: {encoding}")
        yield Case("F-22", name, data)


def forms() -> Iterator[Case]:
    """F-24: multipart bodies."""
    part = b'--x\r\nContent-Disposition: form-data; name="value"\r\n\r\n7\r\n'
    for name, boundary, body in (
        ("100000 parts", "x", part * 15_000 + b"--x--\r\n"),
        ("no boundary in the body", "x", b"value"),
        ("a long preamble", "x", b"p" * 900_000 + b"\r\n" + part + b"--x--"),
        ("a long epilogue", "x", part + b"--x--" + b"e" * 900_000),
        ("a part with 20000 headers", "x", b"--x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n7\r\n--x--"),
        ("a boundary of dashes", "-" * 60_000, b"--" + b"-" * 60_000),
        ("no end", "x", part),
        ("no name", "x", b"--x\r\nContent-Disposition: form-data\r\n\r\n7\r\n--x--"),
    ):
        media = f"multipart/form-data; boundary={boundary}"
        harmless = name in ("a long preamble", "a long epilogue", "no end")
        yield Case("F-24", name, _typed("/echo", media, body), harmless)
    yield Case("F-24", "no boundary", _typed("/echo", "multipart/form-data", part))


def heads() -> Iterator[Case]:
    """F-25: heads that are too much, or not heads."""
    first = "POST /echo HTTP/1.1"
    ok = 'Content-Length: 11\r\n\r\n{"value":7}'
    yield Case("F-25", "10000 headers", _raw(first, _HOST, *["X: y"] * 10_000, ok))
    yield Case("F-25", "a header of 1 MB", _raw(first, _HOST, "X: " + "y" * 10**6, ok))
    yield Case("F-25", "a name of 1 MB", _raw(first, _HOST, "x" * 10**6 + ": y", ok))
    yield Case("F-25", "a target of 1 MB", _raw(f"POST /{'x' * 10**6} HTTP/1.1", _HOST, ok))
    yield Case("F-25", "a folded header", _raw(first, _HOST, "X: y", " z", ok), harmless=True)
    yield Case("F-25", "a zero byte", _raw(first, _HOST, "X: y\x00z", ok))
    yield Case("F-25", "a carriage return", _raw(first, _HOST, "X: y\rz", ok))
    yield Case("F-25", "a bad host", _raw(first, "Host: evil.example", ok))
    yield Case("F-25", "a host that is none", _raw(first, "Host: a b", ok))
    yield Case("F-25", "two hosts", _raw(first, _HOST, "Host: evil.example", ok))
    yield Case("F-25", "no host", _raw(first, ok))
    yield Case("F-25", "a name with a space", _raw(first, _HOST, "X Y: z", ok))
    yield Case("F-25", "an empty name", _raw(first, _HOST, ": z", ok))
    yield Case("F-25", "no colon", _raw(first, _HOST, "nothing", ok))
    yield Case("F-25", "no version", _raw("POST /echo", _HOST, ok))
    yield Case("F-25", "version 3", _raw("POST /echo HTTP/3.0", _HOST, ok))
    yield Case("F-25", "no method", _raw("/echo HTTP/1.1", _HOST, ok))
    yield Case("F-25", "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
    yield Case("F-25", "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(20))
    yield Case("F-25", "rubbish", bytes(random.Random(1).randbytes(2000)))


def large() -> Iterator[Case]:
    """F-21: bodies over the limit."""
    yield Case("F-21", "a length of 1 TB", head("/echo", 10**12))
    yield Case("F-21", "a length of 10^30", head("/echo", 10**30))
    yield Case("F-21", "one byte over the limit", post("/echo", b" " * (LIMIT_BYTES + 1)))
    chunked = _raw("POST /echo HTTP/1.1", _HOST, "Transfer-Encoding: chunked")
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    yield Case("F-21", "chunks over the limit", chunked + piece * 20 + b"0\r\n\r\n")
    yield Case("F-21", "50000 chunks of a byte", chunked + b"1\r\n \r\n" * 50_000 + b"0\r\n\r\n")


def oddities() -> Iterator[Case]:
    """F-28: HTTP that is right, or nearly, and rare."""
    body = '{"value":7}'
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH"):
        yield Case("F-28", method, _raw(f"{method} /echo HTTP/1.1", _HOST), method == "OPTIONS")
    yield Case("F-28", "CONNECT", _raw("CONNECT example.com:443 HTTP/1.1", _HOST))
    yield Case("F-28", "another api", _raw("POST /nothing HTTP/1.1", _HOST, "Content-Length: 0"))
    yield Case("F-28", "dots", _raw("POST /../../etc/passwd HTTP/1.1", _HOST, "Content-Length: 0"))
    foreign = "POST http://evil.example/echo HTTP/1.1"
    yield Case("F-28", "a host in the target", _raw(foreign, _HOST, "Content-Length: 0"))
    yield Case("F-28", "an unknown expectation",
               post("/echo", body.encode(), "Expect: the-unexpected"), harmless=True)  # fmt: skip
    yield Case("F-28", "an upgrade to WebSocket",
               _raw("GET /echo HTTP/1.1", _HOST, "Connection: Upgrade", "Upgrade: websocket",
                    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
                    "Sec-WebSocket-Version: 13"))  # fmt: skip
    yield Case("F-28", "a deadline that is none", post("/echo", body.encode(),
               "X-Request-Timeout: never"))  # fmt: skip
    yield Case("F-28", "nothing acceptable", post("/echo", body.encode(), "Accept: image/png"))


def all_cases() -> list[Case]:
    """Return every case."""
    kinds = (bodies, compressed, forms, heads, large, oddities)
    return [case for kind in kinds for case in kind()]
