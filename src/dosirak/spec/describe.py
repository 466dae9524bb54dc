"""From a decorated class or function to a `ServiceSpec`: read the records, check, compile.

Everything that is wrong with a definition is found here, while the author's module is imported, and
named: the service, the method, the parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from types import FunctionType, SimpleNamespace
from typing import Any, cast, get_args

from dosirak.errors import InvalidService
from dosirak.naming import check_name, name_from_identifier
from dosirak.payload.codec import compile_codec
from dosirak.payload.rows import ROWS, holds_rows
from dosirak.payload.signature import Signature, inspect_signature, resolved_hints
from dosirak.spec.context import Context
from dosirak.spec.decorators import API_RECORD, HOOK_RECORD, ApiRecord, HookStage, ModelHandle
from dosirak.spec.dependencies import DependencyHandle, check_tree, requirements_of
from dosirak.spec.mounts import RESERVED_ROUTES, check_mounts, check_path, mounts_of
from dosirak.spec.options import (
    ServiceOptions,
    batch_policy,
    checked_options,
    flag,
    seconds,
    text,
)
from dosirak.spec.service_spec import (
    ApiSpec,
    DependencyRequirement,
    Hooks,
    ModelRequirement,
    MountSpec,
    ServiceSpec,
)


def describe_class(author_class: type[Any], options: ServiceOptions) -> ServiceSpec:
    """Describe a class whose methods carry `@api`, `@task` and hooks.

    Raises:
        InvalidService: the definition cannot be served (the author's fault).
        UnsupportedHint: a parameter or return annotation has no wire form.
    """
    where = author_class.__qualname__
    _check_constructor(author_class, where)
    members = dict(_members(author_class))
    apis = tuple(
        _describe_api(function, record, where=f"{where}.{attribute}", bind=attrgetter(attribute))
        for attribute, function, record in _recorded_apis(members)
    )
    handles = {key: value for key, value in members.items() if isinstance(value, ModelHandle)}
    others = {key: value for key, value in members.items() if isinstance(value, DependencyHandle)}
    return _finish(
        author_class,
        options,
        apis=apis,
        create=_class_creator(author_class, (*handles, *others)),
        models=_requirements(handles),
        dependencies=requirements_of(others),
        hooks=_hooks(members, where),
        mounts=mounts_of(author_class, members),
    )


def describe_function(function: FunctionType, options: ServiceOptions) -> ServiceSpec:
    """Describe a plain function as a service with one api.

    A parameter whose default is `dosirak.model(...)` receives the loaded model, one whose default
    is `dosirak.depends(...)` what calls the other service; neither is part of the contract.

    Raises:
        InvalidService: the definition cannot be served (the author's fault).
        UnsupportedHint: a parameter or return annotation has no wire form.
    """
    record = cast(ApiRecord, getattr(function, API_RECORD, ApiRecord("api")))
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(function).parameters.values()
    }
    handles = {key: value for key, value in defaults.items() if isinstance(value, ModelHandle)}
    others = {key: value for key, value in defaults.items() if isinstance(value, DependencyHandle)}
    injected = (*handles, *others)
    api = _describe_api(
        function,
        record,
        where=function.__qualname__,
        bind=_function_binder(function, injected),
        skip_self=False,
        injected=frozenset(injected),
    )
    return _finish(
        function,
        options,
        apis=(api,),
        create=lambda needed: SimpleNamespace(**needed),
        models=_requirements(handles),
        dependencies=requirements_of(others),
    )


def _finish(
    author_object: type | FunctionType,
    options: ServiceOptions,
    *,
    apis: tuple[ApiSpec, ...],
    create: Callable[[Mapping[str, Any]], Any],
    models: tuple[ModelRequirement, ...],
    dependencies: tuple[DependencyRequirement, ...],
    hooks: Hooks = Hooks(),
    mounts: tuple[MountSpec, ...] = (),
) -> ServiceSpec:
    where = author_object.__qualname__
    options = checked_options(options, where)
    _check_apis(apis, where)
    spec = ServiceSpec(
        name=check_name(options.name)
        if options.name
        else name_from_identifier(where.split(".")[-1]),
        apis=apis,
        create=create,
        models=models,
        dependencies=dependencies,
        hooks=hooks,
        mounts=mounts,
        resources=options.resources,
        service_level=options.service_level,
        config=options.config or {},
        labels=options.labels or {},
        requirements=tuple(options.requirements),
        doc=inspect.cleandoc(author_object.__doc__ or ""),
        target=f"{author_object.__module__}:{where}",
    )
    check_tree(spec)
    check_mounts(spec)
    return spec


def _members(author_class: type) -> Iterator[tuple[str, Any]]:
    """Yield attributes in the order of definition, a subclass's own hiding its parents'."""
    for parent in reversed(author_class.__mro__[:-1]):
        yield from vars(parent).items()


def _recorded_apis(members: Mapping[str, Any]) -> Iterator[tuple[str, object, ApiRecord]]:
    for attribute, value in members.items():
        record = getattr(value, API_RECORD, None)
        if isinstance(record, ApiRecord):
            yield attribute, value, record


def _describe_api(
    function: object,
    record: ApiRecord,
    *,
    where: str,
    bind: Callable[[Any], Callable[..., Any]],
    skip_self: bool = True,
    injected: frozenset[str] = frozenset(),
) -> ApiSpec:
    if not isinstance(function, FunctionType):
        raise InvalidService(
            f"{where} is a {type(function).__name__}, not a plain method.",
            remedy="Put @dosirak.api directly on an ordinary method.",
        )
    if skip_self:
        _check_self(function, where)
    signature = inspect_signature(
        function, where=where, skip_self=skip_self, context_type=Context, injected=injected
    )
    batch = batch_policy(record.batch, batchable=record.batchable, where=where)
    _check_kind(record, signature, where)
    name = function.__name__ if record.name is None else text(record.name, "name", where)
    route = f"/{name}" if record.route is None else text(record.route, "route", where)
    return ApiSpec(
        name=_check_api_name(name, where),
        route=_check_route(route, where),
        codec=compile_codec(signature),
        bind=bind,
        kind=record.kind,
        streams=signature.streams,
        is_async=signature.is_async,
        context_parameter=signature.context_parameter,
        batch=batch,
        timeout_s=seconds(record.timeout_s, "timeout_s", where),
        idempotent=flag(record.idempotent, "idempotent", where),
        doc=inspect.cleandoc(function.__doc__ or ""),
    )


def _check_kind(record: ApiRecord, signature: Signature, where: str) -> None:
    if record.kind == "task" and signature.streams:
        raise InvalidService(
            f"The task {where} is a generator.",
            remedy="Return one value from a task, or make it an @api to stream.",
        )
    if not record.batchable:
        return
    if record.batch.concurrency is not None:
        _check_concurrency(record, signature, where)
    if signature.streams:
        raise InvalidService(
            f"The batchable api {where} is a generator.",
            remedy="Remove batchable=True; @dosirak.joined joins the steps of streams.",
        )
    if not signature.parameters:
        raise InvalidService(
            f"The batchable api {where} has no parameters.",
            remedy="Give it a parameter with rows (an array, a data frame or a list).",
        )
    _check_rows(signature, where)


def _check_concurrency(record: ApiRecord, signature: Signature, where: str) -> None:
    if not signature.is_async:
        raise InvalidService(
            f"{where} says concurrency, which is of async handlers that are batchable.",
            remedy="Remove it; Resources(threads=…) says how many sync handlers run at a time.",
        )


def _check_self(function: FunctionType, where: str) -> None:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # Nobody annotates the instance, except with what says that it is one.
    if first is None or first.kind not in positional or not _may_be_instance(first):
        raise InvalidService(
            f"The method {where} has no 'self'.",
            remedy="Put 'self' before its parameters.",
        )


def _may_be_instance(parameter: inspect.Parameter) -> bool:
    return parameter.name == "self" or parameter.annotation is parameter.empty


def _check_rows(signature: Signature, where: str) -> None:
    # Beside the rows an api may take options, which are then equal in every request of a batch.
    if not any(holds_rows(parameter.payload) for parameter in signature.parameters):
        raise InvalidService(
            f"No parameter of the batchable api {where} has rows.",
            remedy=f"Annotate one as {ROWS}, or remove batchable=True.",
        )
    if not holds_rows(signature.returns):
        raise InvalidService(
            f"The result of the batchable api {where} has no rows to hand out.",
            remedy=f"Return {ROWS}, with a row for each input row, or remove batchable=True.",
        )


def _check_api_name(name: str, where: str) -> str:
    if not name.isidentifier() or name.startswith("__"):
        raise InvalidService(
            f"The api name {name!r} of {where} is not a usable identifier.",
            remedy="Use letters, digits and '_', beginning with a letter.",
        )
    return name


def _check_route(route: str, where: str) -> str:
    check_path(route, f"route {route!r} of {where}")
    if route in RESERVED_ROUTES or route.startswith("/-/"):
        raise InvalidService(
            f"The route {route!r} of {where} is answered by every server itself.",
            remedy="Choose another route.",
        )
    return route


def _check_apis(apis: tuple[ApiSpec, ...], where: str) -> None:
    if not apis:
        raise InvalidService(
            f"The service {where} has no api.",
            remedy="Put @dosirak.api on at least one method.",
        )
    for kind, values in (
        ("name", [api.name for api in apis]),
        ("route", [api.route for api in apis]),
    ):
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated:
            raise InvalidService(
                f"Two apis of {where} have the {kind} {repeated[0]!r}.",
                remedy=f"Give each its own with @dosirak.api({kind}=...).",
            )


def _check_constructor(author_class: type, where: str) -> None:
    constructor = author_class.__init__
    if constructor is object.__init__:
        return
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise InvalidService(
            f"The constructor of {where} needs {', '.join(required)}.",
            remedy="Give them defaults; a worker makes the instance without arguments.",
        )


def _class_creator(
    author_class: type[Any], attributes: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], Any]:
    def create(needed: Mapping[str, Any]) -> Any:
        # What it needs is in place before __init__ runs, so that it may use it.
        instance = cast(Any, author_class).__new__(author_class)
        for attribute in attributes:
            instance.__dict__[attribute] = needed[attribute]
        author_class.__init__(instance)
        return instance

    return create


def _function_binder(
    function: FunctionType, attributes: tuple[str, ...]
) -> Callable[[Any], Callable[..., Any]]:
    def bind(instance: Any) -> Callable[..., Any]:
        models = {attribute: getattr(instance, attribute) for attribute in attributes}
        return lambda *args, **kwargs: function(*args, **kwargs, **models)

    return bind if attributes else lambda _instance: function


def _requirements(handles: Mapping[str, ModelHandle]) -> tuple[ModelRequirement, ...]:
    return tuple(
        ModelRequirement(attribute, handle.reference) for attribute, handle in handles.items()
    )


def _hooks(members: Mapping[str, Any], where: str) -> Hooks:
    def at(stage: HookStage) -> tuple[str, ...]:
        return tuple(
            attribute
            for attribute, value in members.items()
            if stage in getattr(value, HOOK_RECORD, ())
        )

    start, ready, stop = at("start"), at("ready"), at("stop")
    contexts = {
        name: parameter
        for name in dict.fromkeys((*start, *ready, *stop))
        if (parameter := _hook_context(members[name], f"{where}.{name}")) is not None
    }
    return Hooks(start, ready, stop, contexts)


def _hook_context(hook: Any, where: str) -> str | None:
    """Return the name of the one parameter that a hook may have: its context."""
    function = getattr(hook, "__func__", hook)  # of a class or static method
    own = list(inspect.signature(function).parameters.values())
    if not isinstance(hook, staticmethod):
        own = own[1:]
    if not own:
        return None
    hints = resolved_hints(function, where)
    found = [p.name for p in own if Context in (hints.get(p.name), *get_args(hints.get(p.name)))]
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    other = [
        p.name
        for p in own
        if p.name not in found and p.kind not in optional and p.default is inspect.Parameter.empty
    ]
    if len(found) > 1 or other:
        raise InvalidService(
            f"{where} is a hook and takes {', '.join(map(repr, other or found))}.",
            remedy="Let it take nothing, or one parameter annotated dosirak.Context.",
        )
    return found[0] if found else None
