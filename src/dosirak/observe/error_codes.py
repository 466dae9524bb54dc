"""Which error an answer holds, for metrics. Pure.

Workers answer errors as their apis write them; the front looks into those answers only, so that a
success costs nothing. What is counted is bounded: a code of the tree, or else the status.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from dosirak.errors import error_class


class _Coded(msgspec.Struct):
    code: str = ""


_decoder = msgspec.json.Decoder(_Coded)
_MOST_BYTES = 64 * 1024


def code_in(status: int, body: bytes | bytearray | memoryview) -> str:
    """Return the code of the error in an answer; its status where it holds none of the tree."""
    code = ""
    if len(body) <= _MOST_BYTES:
        # What is no error of ours: an api of another kind, or what a handler returned itself.
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            code = _decoder.decode(body).code
    return code if error_class(code) is not None else f"http_{status}"
