"""From a handler's result to bytes: one msgspec pass that checks and rewrites, one that writes.

What msgspec knows is checked against the return annotation (`msgspec.convert` is cheap and returns
the same object where nothing changes); leaves are replaced by lists or bytes on the way. A result
that does not fit is tried once more with numpy scalars and the like made plain, because
`-> float` around a model's `np.float64` is what people write. What still does not fit is the
service's fault, a `ResultError`.

JSON has no NaN or infinity: every such float is written as `null`. msgpack has no integer beyond 64
bits: who asks for nothing else is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dosirak.errors import FieldProblem, NotAcceptable, ResultError
from dosirak.payload.hints import Payload
from dosirak.payload.leaf import Written, pack_hook, write_hook
from dosirak.payload.media import MSGPACK
from dosirak.payload.plain import make_packable, make_plain
from dosirak.payload.problems import TOO_WIDE, NoFormHere, NoMsgpackForm, Problem, explain

# An object of exactly one of these types needs no look inside.
_SCALARS = (int, float, bool, str)

Writer = Callable[[Any], Written]
"""Writes a result; raises `ResultError` where it does not fit."""


def _is_scalar(kind: object) -> bool:
    return any(kind is scalar for scalar in _SCALARS)


def json_encoder() -> msgspec.json.Encoder:
    """Return an encoder for values whose types are not declared."""
    return msgspec.json.Encoder(enc_hook=make_plain, decimal_format="string")


class StructuredWriter:
    """Writes results of one payload as JSON or as msgpack.

    Attributes:
        wire: the type that msgspec checks.
    """

    def __init__(self, payload: Payload, media_type: str) -> None:
        packed = media_type == MSGPACK
        self._media_type = media_type
        self.wire = payload.wire
        self._unchecked = payload.wire is Any
        self._exact = payload.wire if _is_scalar(payload.wire) else None
        # msgspec prepares a Struct once, but any other type again for every value.
        self._holder: Any = msgspec.defstruct("Result", [("value", payload.wire)], array_like=True)
        self._hook = pack_hook if packed else write_hook
        self._leaf_write = None
        if payload.leaf is not None and not payload.nullable:
            self._leaf_write = payload.leaf.pack if packed else payload.leaf.write
        self._make_plain = make_packable if packed else make_plain
        self._encode: Callable[[Any], bytes] = (
            msgspec.msgpack.Encoder(enc_hook=make_packable).encode
            if packed
            else json_encoder().encode
        )

    def __call__(self, result: Any) -> Written:
        """Write a result (see `Writer`)."""
        try:
            return Written(self._written(self.check(result)), self._media_type)
        except NoFormHere as error:
            raise NotAcceptable(
                f"The result cannot be written as {self._media_type}: {error}.",
                remedy="Send Accept with another of the api's media types.",
                fields=[FieldProblem("Accept", str(error))],
            ) from error
        except Problem as error:
            raise result_error(error) from error
        except (
            msgspec.MsgspecError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise result_error(error) from error

    def _written(self, checked: Any) -> bytes:
        try:
            return self._encode(checked)
        except OverflowError as error:
            # JSON writes integers of any size.
            raise NoMsgpackForm(TOO_WIDE) from error

    def check(self, result: Any) -> Any:
        """Return what the encoder can write.

        Raises:
            Problem: the result does not fit.
            msgspec.ValidationError: likewise.
            TypeError: nothing knows how to write it.
        """
        if self._unchecked or type(result) is self._exact:
            return result
        if self._leaf_write is not None:
            return self._leaf_write(result)
        try:
            return msgspec.convert((result,), self._holder, dec_hook=self._hook).value
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, Problem):
                return msgspec.convert(result, self.wire, dec_hook=self._hook)
        plain = msgspec.to_builtins(
            result, enc_hook=self._make_plain, builtin_types=(bytes, bytearray), str_keys=False
        )
        return msgspec.convert(plain, self.wire, dec_hook=self._hook)


def structured_writer(payload: Payload, media_type: str) -> Writer:
    """Return the writer of JSON or msgpack for one payload."""
    return StructuredWriter(payload, media_type)


def raw_writer(payload: Payload, media_type: str) -> Writer:
    """Return the writer of one of the raw media types of a payload."""
    raw = payload.raw
    assert raw is not None  # noqa: S101 - callers choose among raw.media_types
    dump = raw.dump

    def write(result: Any) -> Written:
        try:
            return dump(result, media_type)
        except (Problem, TypeError, ValueError, OverflowError, OSError) as error:
            raise result_error(error) from error

    return write


def result_error(error: Exception) -> ResultError:
    """Return the error for a result that its annotation cannot hold."""
    problems = explain(error)
    first = problems[0]
    place = f" at '{first.field}'" if first.field else ""
    return ResultError(
        f"The service's result does not fit its return annotation{place}: {first.reason}.",
        remedy="Correct the handler, or its return annotation.",
        fields=problems,
    )
