"""Web applications beside the apis: what `@dosirak.mount` records, and the checks of it.

    @mount on a class │ a service │ a method ─▶ records ─▶ MountSpec(path, kind, find)

The application itself is looked for in the worker, on the instance, and nowhere else: whoever only
reads the description never runs it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeVar, cast

from dosirak.errors import InvalidService
from dosirak.spec.service_spec import MountKind, MountSpec, ServiceSpec

TargetT = TypeVar("TargetT")

# Paths that every server answers itself; below `/-/` lie the assets of the page at `/`.
RESERVED_ROUTES = frozenset(
    {
        "/",
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/schema.json",
        "/admin/reload",
    }
)
_CLASS_RECORD = "__dosirak_mounts__"
_METHOD_RECORD = "__dosirak_mount__"
_UNPLAIN = frozenset('?#{}%\\ \t\r\n"<>')


def mount(
    path: str, app: Any = None, *, kind: MountKind | None = None
) -> Callable[[TargetT], TargetT]:
    """Serve a web application below a path of the service.

    Put it on the class (or on the service that `@dosirak.service` made of it) with the application
    or a function without parameters that makes one; or, without `app`, on a method that returns
    one and so reaches the service's models. The application runs in the workers.

    Args:
        path: where it is served, such as `/ui`.
        app: an ASGI or WSGI application, or what makes one; None above a method.
        kind: how it is called; found out by itself where `app` is the application, and ASGI where
            it is made later.

    Raises:
        InvalidService: the path or the application cannot be mounted (the author's fault).
    """
    path = path if path == "/" else path.rstrip("/")
    check_path(path, f"mount path {path!r}")
    found = None if app is None else _mount_of(path, app, kind)

    def put(target: TargetT) -> TargetT:
        if found is None:
            _record_method(target, path, kind or "asgi")
            return target
        spec = getattr(target, "spec", None)
        if isinstance(spec, ServiceSpec):
            # It is a service by now: what is known of it is said anew.
            changed = dataclasses.replace(spec, mounts=(*spec.mounts, found))
            check_mounts(changed)
            cast(Any, target).spec = changed
            return target
        if not isinstance(target, type):
            raise InvalidService(
                f"@dosirak.mount({path!r}, …) was put on {target!r}.",
                remedy="Put it on the service's class; above a method leave the application out.",
            )
        own = (found, *vars(target).get(_CLASS_RECORD, ()))
        setattr(target, _CLASS_RECORD, own)
        return cast(TargetT, target)

    return put


def mounts_of(author_class: type, members: Mapping[str, Any]) -> tuple[MountSpec, ...]:
    """Return what was mounted on a class, its parents and its methods."""
    on_classes = [
        found
        for parent in reversed(author_class.__mro__)
        for found in vars(parent).get(_CLASS_RECORD, ())
    ]
    on_methods = [
        MountSpec(*getattr(value, _METHOD_RECORD), find=_calling(attribute))
        for attribute, value in members.items()
        if isinstance(value, FunctionType) and hasattr(value, _METHOD_RECORD)
    ]
    return (*on_classes, *on_methods)


def check_mounts(spec: ServiceSpec) -> None:
    """Look whether anything else answers where an application is mounted.

    Raises:
        InvalidService: something does (the author's fault).
    """
    paths = [mounted.path for mounted in spec.mounts]
    for mounted in spec.mounts:
        path = mounted.path
        if _covers("/-", path) or any(_covers(path, route) for route in RESERVED_ROUTES):
            raise InvalidService(
                f"The mount path {path!r} is answered by every server itself.",
                remedy="Choose another path, such as '/ui'.",
            )
        if paths.count(path) > 1:
            raise InvalidService(
                f"Two applications are mounted at {path!r}.", remedy="Give each its own path."
            )
        for api in spec.apis:
            inside_task = api.kind == "task" and _covers(api.route, path)
            if _covers(path, api.route) or inside_task:
                raise InvalidService(
                    f"The mount path {path!r} and the route {api.route!r} of {api.name!r} are in"
                    " each other's way.",
                    remedy="Mount the application elsewhere, or give the api another route.",
                )


def check_path(path: str, what: str) -> None:
    """Refuse all but a literal ASCII path: no patterns, nothing that a proxy would rewrite.

    Raises:
        InvalidService: it is something else (the author's fault).
    """
    plain = path.isascii() and not set(path) & _UNPLAIN and "//" not in path
    segments = path.split("/")
    if not path.startswith("/") or not plain or "." in segments or ".." in segments:
        raise InvalidService(
            f"The {what} is not a plain absolute path.",
            remedy="Begin it with '/', without '?', '#', '%', braces, spaces or dot segments.",
        )


def _covers(path: str, other: str) -> bool:
    path = path.rstrip("/")  # Of the root.
    return other == path or other.startswith(f"{path}/")


def _record_method(target: object, path: str, kind: MountKind) -> None:
    if not isinstance(target, FunctionType) or hasattr(target, _METHOD_RECORD):
        raise InvalidService(
            f"@dosirak.mount({path!r}) was put on {target!r}, without an application.",
            remedy="Put it once on a method that returns the application, or give the application.",
        )
    setattr(target, _METHOD_RECORD, (path, kind))


def _calling(attribute: str) -> Callable[[Any], Any]:
    return lambda instance: getattr(instance, attribute)()


def _mount_of(path: str, app: Any, kind: MountKind | None) -> MountSpec:
    if not callable(app):
        raise InvalidService(
            f"What is to be mounted at {path!r} is not callable: {app!r}.",
            remedy="Give an ASGI or WSGI application, or a function that makes one.",
        )
    if isinstance(app, type) or _parameter_count(app) == 0:
        return MountSpec(path, kind or "asgi", lambda _instance: app())
    return MountSpec(path, kind or _kind_of(path, app), lambda _instance: app)


def _kind_of(path: str, app: Any) -> MountKind:
    called = app if isinstance(app, FunctionType) else inspect.getattr_static(app, "__call__", app)
    if inspect.iscoroutinefunction(called) or _parameter_count(app) == 3:
        return "asgi"
    if _parameter_count(app) == 2:
        return "wsgi"
    raise InvalidService(
        f"Whether the application at {path!r} is ASGI or WSGI cannot be seen.",
        remedy='Say kind="asgi" or kind="wsgi".',
    )


def _parameter_count(app: Any) -> int | None:
    """Return how many arguments a callable needs; None where that cannot be said."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is one.empty for one in parameters)
