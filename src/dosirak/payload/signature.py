"""What an api takes and returns, read from a function's annotations once.

    def predict(self, flowers: pd.DataFrame, *, top: int = 3, context: Context) -> np.ndarray

gives two parameters, the return payload and the name of the context parameter. A single
positional-only parameter is the root: it takes the whole body. `describe` says it all as JSON, and
`from_description` reads that back where the author's code is not at hand (see `schema`).
"""

from __future__ import annotations

import contextlib
import inspect
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from dosirak.errors import UnsupportedHint
from dosirak.payload.hints import Payload, read_hint
from dosirak.payload.schema import hint_from_schema, schema_of

Kind = Literal["positional", "either", "keyword"]

_STREAM_ORIGINS = (
    abc.Iterator,
    abc.AsyncIterator,
    abc.Generator,
    abc.AsyncGenerator,
    abc.Iterable,
    abc.AsyncIterable,
)
_ALWAYS_STREAMS = _STREAM_ORIGINS[:4]
_KINDS: Mapping[Any, Kind] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an api.

    Attributes:
        name: its key in a JSON body.
        payload: its type.
        required: it has no default.
        default: the default, where there is one.
        root: it takes the whole body.
        kind: how Python takes it.
    """

    name: str
    payload: Payload
    required: bool = True
    default: Any = None
    root: bool = False
    kind: Kind = "either"


@dataclass(frozen=True, slots=True)
class Signature:
    """What an api takes and returns.

    Attributes:
        parameters: without `self` and the context.
        returns: the type of the result, or of each item of a stream.
        streams: it answers piece by piece.
        is_async: a coroutine function or an async generator.
        context_parameter: the parameter that receives the request context, if any.
    """

    parameters: tuple[Parameter, ...]
    returns: Payload
    streams: bool = False
    is_async: bool = False
    context_parameter: str | None = None

    @property
    def root(self) -> Parameter | None:
        """The parameter that takes the whole body, if there is one."""
        return next((parameter for parameter in self.parameters if parameter.root), None)

    def describe(self) -> dict[str, Any]:
        """Return the signature as JSON values."""
        return {
            "parameters": [_describe_parameter(parameter) for parameter in self.parameters],
            "returns": schema_of(self.returns),
            "streams": self.streams,
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Signature:
        """Rebuild a signature from `describe`'s answer, with no code of the author's.

        Classes of the author's become plain objects; arrays, tables, tensors, images and files come
        back as they were where their library is installed here, else as JSON values.
        """
        parameters = tuple(_parameter_from(entry) for entry in description["parameters"])
        returns = _payload_from(description["returns"], "return")
        return cls(parameters, returns, streams=bool(description.get("streams")))


def inspect_signature(
    function: Callable[..., Any],
    *,
    where: str,
    skip_self: bool = False,
    context_type: type | None = None,
    injected: frozenset[str] = frozenset(),
) -> Signature:
    """Read a handler's signature.

    Args:
        function: the handler, as written in its class or module.
        where: the service and api, such as `Iris.predict`, for errors.
        skip_self: the first parameter is `self`.
        context_type: a parameter annotated with this type receives the request context.
        injected: parameters that the service fills itself; not part of the contract.

    Raises:
        UnsupportedHint: a parameter has no annotation, or one that cannot travel (the author's
            fault).
    """
    hints = resolved_hints(function, where)
    parameters = list(inspect.signature(function).parameters.values())[1 if skip_self else 0 :]
    context = _context_parameter(parameters, hints, context_type, where)
    taken = [parameter for parameter in parameters if parameter.name not in {context, *injected}]
    positional = [p for p in taken if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    has_root = len(positional) == 1 and len(taken) == 1
    if len(positional) == 1 and len(taken) > 1:
        raise UnsupportedHint(
            f"{where}: '{positional[0].name}' is positional-only beside other parameters.",
            remedy="Make it the only parameter, to take the whole body, or remove the '/'.",
        )
    streams, returned = _returned(function, hints)
    return Signature(
        parameters=tuple(_read_parameter(p, hints, where, has_root) for p in taken),
        returns=read_hint(returned, where=where, name="return"),
        streams=streams,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        context_parameter=context,
    )


def sole_parameter(signature: Signature) -> Parameter | None:
    """Return the parameter that a raw body is for: the only one, or the only one required."""
    parameters = signature.parameters
    if len(parameters) == 1:
        return parameters[0]
    required = [parameter for parameter in parameters if parameter.required]
    return required[0] if len(required) == 1 else None


def resolved_hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    """Return the annotations of a function as types.

    Raises:
        UnsupportedHint: one cannot be resolved (the author's fault).
    """
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise UnsupportedHint(
            f"{where}: an annotation cannot be resolved: {error}.",
            remedy="Import the name at module level, outside 'if TYPE_CHECKING'.",
        ) from error


def _context_parameter(
    parameters: list[inspect.Parameter],
    hints: Mapping[str, Any],
    context_type: type | None,
    where: str,
) -> str | None:
    if context_type is None:
        return None
    found = [
        p for p in parameters if context_type in (hints.get(p.name), *get_args(hints.get(p.name)))
    ]
    if len(found) > 1:
        raise UnsupportedHint(
            f"{where}: more than one parameter is annotated {context_type.__name__}.",
            remedy="Keep one.",
        )
    if found and found[0].kind is inspect.Parameter.POSITIONAL_ONLY:
        raise UnsupportedHint(
            f"{where}: '{found[0].name}' is the request context and positional-only.",
            remedy="Move it behind the '/'.",
        )
    return found[0].name if found else None


def _read_parameter(
    parameter: inspect.Parameter, hints: Mapping[str, Any], where: str, has_root: bool
) -> Parameter:
    name = parameter.name
    if parameter.kind not in _KINDS:
        raise UnsupportedHint(
            f"{where}: '{parameter}' takes any number of arguments, and an api takes named ones.",
            remedy="Name each parameter, or take one dict[str, Any].",
        )
    if name not in hints:
        raise UnsupportedHint(
            f"{where}: '{name}' has no type annotation.",
            remedy=f"Annotate it, for example '{name}: str'; the annotation is the api's contract.",
        )
    required = parameter.default is inspect.Parameter.empty
    return Parameter(
        name=name,
        payload=read_hint(hints[name], where=where, name=name),
        required=required,
        default=None if required else parameter.default,
        root=has_root,
        kind=_KINDS[parameter.kind],
    )


def _returned(function: Callable[..., Any], hints: Mapping[str, Any]) -> tuple[bool, Any]:
    """Return whether the function streams, and the type of its result or of each item."""
    hint = hints.get("return", Any)
    generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    origin = get_origin(hint) or hint
    if origin in _ALWAYS_STREAMS or (generator and origin in _STREAM_ORIGINS):
        return True, (get_args(hint) or (Any,))[0]
    return generator, hint


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    description: dict[str, Any] = {
        "name": parameter.name,
        "required": parameter.required,
        "root": parameter.root,
        "schema": schema_of(parameter.payload),
    }
    if parameter.kind == "keyword":
        description["keyword_only"] = True
    if not parameter.required:
        # A default with no JSON form stays the author's own affair. A set has no order of its own,
        # and the description is part of what a bundle's id is made from.
        with contextlib.suppress(TypeError, ValueError):
            description["default"] = msgspec.to_builtins(parameter.default, order="deterministic")
    return description


def _parameter_from(entry: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=entry["name"],
        payload=_payload_from(entry["schema"], entry["name"]),
        required=bool(entry["required"]),
        default=entry.get("default"),
        root=bool(entry.get("root")),
        kind="keyword" if entry.get("keyword_only") else "either",
    )


def _payload_from(schema: Mapping[str, Any], name: str) -> Payload:
    return read_hint(hint_from_schema(schema), where="the API schema", name=name)
