"""From decoded JSON or msgpack to a call's `Arguments`, and every problem on the way there.

The parameters of an api become the fields of one msgspec Struct, built once, so that a body is
parsed, checked and laid out in one pass of C. Only a body that does not fit is read a second time,
slowly, to find all its problems rather than the first.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Protocol, get_args, get_origin

import msgspec

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.payload.leaf import json_type, read_hook
from dosirak.payload.problems import MAX_PROBLEMS, explain, invalid_input, join_path
from dosirak.payload.signature import Parameter, Signature
from dosirak.payload.wire import Arguments, Body

# A larger body is refused for its first problem alone: reading it again would cost the server more
# than sending it cost the caller.
_MAX_REREAD_BYTES = 1024 * 1024
_SIMPLE_DEFAULTS = (type(None), bool, int, float, str, bytes)


class Decoder(Protocol):
    """A msgspec decoder, of JSON or of msgpack."""

    def decode(self, buf: Any, /) -> Any:
        """Return the value of one whole message."""
        ...


class ArgumentsType:
    """The msgspec type of an api's whole body, and the way from its values to `Arguments`.

    Attributes:
        type: what a decoder is made for: a Struct of the parameters, or the root's own type.
        to_arguments: turns what the decoder returns into `Arguments`.
    """

    def __init__(self, signature: Signature) -> None:
        root = signature.root
        self.type: Any = root.payload.wire if root else _struct(signature.parameters)
        self.to_arguments: Callable[[Any], Arguments] = (
            _from_root if root else _from_struct(signature.parameters)
        )


def _struct(parameters: tuple[Parameter, ...]) -> Any:
    fields: list[Any] = []
    for parameter in parameters:
        if parameter.required:
            fields.append((parameter.name, parameter.payload.wire))
        else:
            fields.append((parameter.name, parameter.payload.wire, _field_default(parameter)))
    return msgspec.defstruct("Body", fields, kw_only=True, forbid_unknown_fields=True)


def _field_default(parameter: Parameter) -> Any:
    """Leave a default that is no plain value to Python's own call, by leaving the argument out."""
    simple = isinstance(parameter.default, _SIMPLE_DEFAULTS)
    return parameter.default if simple else msgspec.UNSET


def _from_root(value: Any) -> Arguments:
    return Arguments((value,))


def _from_struct(parameters: tuple[Parameter, ...]) -> Callable[[Any], Arguments]:
    as_dict = msgspec.structs.asdict
    if all(parameter.kind != "positional" for parameter in parameters):
        if all(p.required or _field_default(p) is not msgspec.UNSET for p in parameters):
            return lambda struct: Arguments((), as_dict(struct))
        return lambda struct: Arguments((), _present(as_dict(struct)))
    return lambda struct: arrange(parameters, _present(as_dict(struct)))


def _present(values: dict[str, Any]) -> dict[str, Any]:
    unset = msgspec.UNSET
    return {name: value for name, value in values.items() if value is not unset}


def arrange(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> Arguments:
    """Return values by name as positional and keyword arguments."""
    args = tuple(
        values.get(parameter.name, parameter.default)
        for parameter in parameters
        if parameter.kind == "positional"
    )
    names = {parameter.name for parameter in parameters if parameter.kind == "positional"}
    return Arguments(args, {name: value for name, value in values.items() if name not in names})


def decode_body(
    decoder: Decoder, untyped: Decoder, body: Body, signature: Signature, words: str
) -> Any:
    """Decode a body, or say everything that is wrong with it.

    Raises:
        InvalidInput: it is not what `words` names, or does not fit the parameters.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        fallback = explain(error)
    except RecursionError:
        raise _malformed(words, "it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _malformed(words, "it holds text that is not UTF-8") from None
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise _malformed(words, str(error)) from error
    raise invalid_input(_all_problems(untyped, body, signature) or fallback)


def _malformed(words: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The body is not valid {words}: {reason.rstrip('.')}.",
        remedy=f"Send {words}, or name the body's media type in Content-Type.",
        fields=[FieldProblem("", reason)],
    )


def _all_problems(untyped: Decoder, body: Body, signature: Signature) -> list[FieldProblem]:
    if len(body) > _MAX_REREAD_BYTES:
        return []
    try:
        raw = untyped.decode(body)
        return find_problems(raw, signature)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return []


def find_problems(raw: Any, signature: Signature) -> list[FieldProblem]:
    """Return what is wrong with decoded values, parameter by parameter, item by item."""
    root = signature.root
    if root is not None:
        return _walk(raw, root.payload.wire, "")
    if type(raw) is not dict:
        names = ", ".join(parameter.name for parameter in signature.parameters)
        reason = f"expected an object with the keys: {names}; got {json_type(raw)}"
        return [FieldProblem("", reason)]
    known = {parameter.name for parameter in signature.parameters}
    unknown = islice((name for name in raw if name not in known), MAX_PROBLEMS)
    problems = [FieldProblem(str(name)[:100], "is not a parameter of this api") for name in unknown]
    for parameter in signature.parameters:
        if parameter.name in raw:
            problems += _walk(raw[parameter.name], parameter.payload.wire, parameter.name)
        elif parameter.required:
            problems.append(FieldProblem(parameter.name, "is missing"))
    return problems[:MAX_PROBLEMS]


def _walk(value: Any, wire: Any, path: str) -> list[FieldProblem]:
    """Return the problems of one value; of each item or field, where it has several."""
    try:
        msgspec.convert(value, wire, dec_hook=read_hook, str_keys=True)
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        inner = _inside(value, wire, path)
        return inner[:MAX_PROBLEMS] or explain(error, path, wire)
    return []


def _inside(value: Any, wire: Any, path: str) -> list[FieldProblem]:
    if type(value) is list and get_origin(wire) is list:
        (item,) = get_args(wire)
        problems: list[FieldProblem] = []
        for index, element in enumerate(value):
            problems += _walk(element, item, f"{path}[{index}]")
            if len(problems) >= MAX_PROBLEMS:
                break
        return problems
    if type(value) is dict and _plain_record(wire):
        hints = typing.get_type_hints(wire, include_extras=True)
        present = [(name, _bare(hint)) for name, hint in hints.items() if name in value]
        return [
            p for name, hint in present for p in _walk(value[name], hint, join_path(path, name))
        ]
    return []


def _bare(hint: Any) -> Any:
    """Return the type of a TypedDict's field, without what says whether it may be missing."""
    return get_args(hint)[0] if get_origin(hint) in (typing.Required, typing.NotRequired) else hint


def _plain_record(wire: Any) -> bool:
    """Whether fields travel under their own names."""
    struct = isinstance(wire, type) and issubclass(wire, msgspec.Struct)
    if struct:
        return wire.__struct_config__.tag is None and all(
            field.name == field.encode_name for field in msgspec.structs.fields(wire)
        )
    return hasattr(wire, "__dataclass_fields__") or typing.is_typeddict(wire)
