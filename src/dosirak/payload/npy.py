"""The npy format, read without trusting it: the header is checked before anything is allocated.

    \\x93NUMPY  major  minor  header length  {'descr': '<f4', 'fortran_order': False, …}\\n  data

`numpy.load` evaluates the header and can unpickle; here the header must match one pattern, the
dtype must be plain numbers, booleans, text or times, and the size it declares must equal the bytes
that are present. The array is a view of the body: no copy, read-only when the body is.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

from dosirak.payload.problems import Problem

MAX_DIMENSIONS = 32
_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 4096
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[a-zA-Z]\d{1,9}(?:\[\w{1,8}\])?)', "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[0-9, ]*)\),? ?\} *\n?"
)
# Booleans, signed, unsigned, floats, complex, text, bytes, times. Never O (object) or V (void).
_KINDS = frozenset("biufcUSMm")
_FIRST_SURROGATE, _LAST_SURROGATE, _LAST_CHARACTER = 0xD800, 0xDFFF, 0x10FFFF


def load_npy(body: memoryview) -> Any:
    """Return the array as a view of the body.

    Raises:
        Problem: the bytes are not a plain npy array of exactly the declared size.
    """
    import numpy as np

    header, start = _split(body)
    dtype = _dtype(header)
    shape = _shape(header)
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(body) - start:
        raise Problem(
            f"the npy header declares {expected} bytes of data, and {len(body) - start} are present"
        )
    if dtype.itemsize == 0:
        raise Problem("npy arrays of empty text are not accepted")
    flat = np.frombuffer(body, dtype=dtype, offset=start) if expected else np.empty(0, dtype)
    check_elements(flat)
    try:
        array = flat.reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    except ValueError as error:
        raise Problem("the npy shape is larger than an array can be") from error
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def check_elements(array: Any) -> None:
    """Refuse elements that are no value of their dtype, or of one that other machines lack.

    Raises:
        Problem: a long double, text that no encoding can hold, or a boolean that is neither.
    """
    kind = array.dtype.kind
    if (kind == "f" and array.itemsize > 8) or (kind == "c" and array.itemsize > 16):
        raise Problem("long doubles are not accepted; send float64 or complex128")
    if kind == "U" and _has_wrong_text(array):
        raise Problem("a text holds what is no Unicode character")
    if kind == "b" and array.size and int(array.view("u1").max()) > 1:
        raise Problem("a boolean is neither 0 nor 1")


def _has_wrong_text(array: Any) -> bool:
    points = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
    if not points.size or int(points.max()) < _FIRST_SURROGATE:
        return False
    surrogates = (points >= _FIRST_SURROGATE) & (points <= _LAST_SURROGATE)
    return int(points.max()) > _LAST_CHARACTER or bool(surrogates.any())


def dump_npy(array: Any) -> bytes:
    """Return the array as npy version 1 or 2.

    Raises:
        Problem: its dtype holds Python objects or fields.
    """
    import numpy as np

    if array.dtype.kind not in _KINDS:
        raise Problem(f"an array of dtype {array.dtype} cannot be written as npy")
    fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    descr = np.lib.format.dtype_to_descr(array.dtype)
    header = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {array.shape!r}, }}"
    # The data begins at a multiple of 64, as numpy itself writes it, so that views are aligned.
    padding = -(len(_MAGIC) + 4 + len(header) + 1) % 64
    text = (header + " " * padding + "\n").encode("latin-1")
    data = array.tobytes(order="F" if fortran else "C")
    return b"".join((_MAGIC, b"\x01\x00", struct.pack("<H", len(text)), text, data))


def _split(body: memoryview) -> tuple[re.Match[bytes], int]:
    """Return the parsed header and where the data begins."""
    if bytes(body[:6]) != _MAGIC or len(body) < 10:
        raise Problem("the body is not an npy array")
    if body[6] not in (1, 2, 3):
        raise Problem(f"npy version {body[6]} is not known")
    size_bytes = 2 if body[6] == 1 else 4
    start = 8 + size_bytes
    length = int.from_bytes(body[8:start], "little")
    if length > _MAX_HEADER_BYTES or start + length > len(body):
        raise Problem("the npy header is too long")
    header = _HEADER.fullmatch(bytes(body[start : start + length]))
    if header is None:
        raise Problem("the npy header is malformed, or the array holds objects or fields")
    return header, start + length


def _dtype(header: re.Match[bytes]) -> Any:
    import numpy as np

    text = header["descr"].decode("ascii")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError) as error:
        raise Problem(f"the npy dtype {text!r} is not known") from error
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise Problem(f"npy arrays of dtype {text!r} are not accepted")
    return dtype


def _shape(header: re.Match[bytes]) -> tuple[int, ...]:
    sizes = [part.strip() for part in header["shape"].split(b",")]
    if sizes[-1] == b"":
        sizes.pop()
    if len(sizes) > MAX_DIMENSIONS or not all(s.isdigit() and len(s) <= 18 for s in sizes):
        raise Problem("the npy shape is malformed")
    return tuple(int(size) for size in sizes)
