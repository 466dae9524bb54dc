"""Python methods for a service's apis: their names, signatures and documentation. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from inspect import Parameter
from typing import Any, TypeVar

from dosirak.client.schema import RemoteApi, RemoteService
from dosirak.errors import ApiNotFound, UsageError
from dosirak.payload.signature import Parameter as Declared

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# The public names of both clients; an api of such a name becomes `api_<name>`. One list for both,
# so that an api has the same name whichever client calls it; a test holds it to the classes.
OWN_NAMES = frozenset(
    {
        "apis",
        "at_urgency",
        "call",
        "close",
        "connect",
        "is_ready",
        "service",
        "url",
        "wait_until_ready",
    }
)


def method_names(apis: Iterable[str]) -> dict[str, str]:
    """Return the api of each method, by the method's name."""
    names = set(apis)
    clashing = {name for name in names if name in OWN_NAMES or name.startswith("_")}
    methods = {name: name for name in names - clashing}
    for name in sorted(clashing):
        method = f"api_{name}"
        while method in methods:
            method = f"api_{method}"
        methods[method] = name
    return methods


def find_api(service: RemoteService, name: str) -> RemoteApi:
    """Return the api of this name.

    Raises:
        ApiNotFound: the service has none (the caller's fault).
    """
    api = service.apis.get(name)
    if api is None:
        raise ApiNotFound(
            f"Service {service.name!r} has no api {name!r}.",
            remedy=_suggestion(name, service.apis),
        )
    return api


def missing_attribute(service: RemoteService, owner: str, name: str) -> str:
    """Return the message for a method that does not exist."""
    return (
        f"{owner!r} object has no attribute {name!r}, and service {service.name!r} no such api."
        f" {_suggestion(name, method_names(service.apis))}"
    )


def dressed(function: FunctionT, api: RemoteApi, method: str) -> FunctionT:
    """Give a function the name, signature and documentation of an api, for `help()` and editors."""
    function.__name__ = function.__qualname__ = method
    function.__doc__ = api.doc or f"Call {api.route}."
    function.__dict__["__signature__"] = signature_of(api)
    return function


def submitter(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function that submits a task.

    Raises:
        UsageError: the api is not a task (the caller's fault).
    """
    found = getattr(method, "submit", None)
    if found is None:
        raise UsageError(f"{name!r} is not a task.", remedy="Call it; its result is the answer.")
    return found


def signature_of(api: RemoteApi) -> inspect.Signature:
    """Return the signature that the author wrote, as far as the schema tells it."""
    returns = api.signature.returns.hint
    if not all(declared.name.isidentifier() for declared in api.signature.parameters):
        return _ANYTHING
    try:
        return inspect.Signature(
            [_parameter(declared) for declared in api.signature.parameters],
            return_annotation=Iterator[returns] if api.streams else returns,
        )
    # One of Python's keywords, the same name twice, an order that Python refuses.
    except (ValueError, TypeError):
        return _ANYTHING


def _parameter(declared: Declared) -> Parameter:
    kind = Parameter.KEYWORD_ONLY if declared.kind == "keyword" else Parameter.POSITIONAL_OR_KEYWORD
    return Parameter(
        declared.name,
        Parameter.POSITIONAL_ONLY if declared.root else kind,
        default=Parameter.empty if declared.required else declared.default,
        annotation=declared.payload.hint,
    )


def _anything(*args: Any, **kwargs: Any) -> Any: ...


_ANYTHING = inspect.signature(_anything)


def _suggestion(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"It has {', '.join(map(repr, known))}." if known else "It has no apis."
