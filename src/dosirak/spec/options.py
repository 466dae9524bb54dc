"""What an author gave the decorators, checked: type, range, and what an option needs beside it.

    @api(...), @task(...) ─▶ checked_record ─▶ BatchPolicy │ None
    @service(...)         ─▶ checked_options

Decorators only record, so anything may come here. Each problem names the option and where it was
given, while the author's module is imported: a server would meet it much later, or never say so.
Numbers of numpy are taken, and leave as Python's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, cast

from dosirak.errors import InvalidService
from dosirak.spec.service_spec import DEFAULT_CONCURRENCY, BatchPolicy, Resources, ServiceLevel

MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What `@api` was given about batches, as it was given; the fields of a `BatchPolicy`."""

    max_batch_size: Any = 100
    max_latency_ms: Any = 10.0
    batch_dimension: Any = 0
    allowed_batch_sizes: Any = ()
    length_buckets: Any = ()
    pad_value: Any = 0.0
    concurrency: Any = None


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What `@service` was given; the fields mean what they mean in `ServiceSpec`."""

    name: str | None = None
    resources: Resources = Resources()
    service_level: ServiceLevel = ServiceLevel()
    config: Mapping[str, Any] | None = None
    labels: Mapping[str, str] | None = None
    requirements: Iterable[str] = ()


NO_BATCHES = BatchOptions()


def batch_policy(options: BatchOptions, *, batchable: object, where: str) -> BatchPolicy | None:
    """Return how requests of an api are joined; None when they are not.

    Raises:
        InvalidService: an option cannot be used, or has no use (the author's fault).
    """
    if not flag(batchable, "batchable", where):
        _refuse_unused(options, where)
        return None
    policy = BatchPolicy(
        max_batch_size=whole(options.max_batch_size, "max_batch_size", where, least=1),
        max_latency_ms=number(options.max_latency_ms, "max_latency_ms", where),
        batch_dimension=whole(options.batch_dimension, "batch_dimension", where),
        allowed_batch_sizes=_sizes(options.allowed_batch_sizes, "allowed_batch_sizes", where),
        length_buckets=_sizes(options.length_buckets, "length_buckets", where),
        pad_value=number(options.pad_value, "pad_value", where, least=None),
        concurrency=DEFAULT_CONCURRENCY
        if options.concurrency is None
        else whole(options.concurrency, "concurrency", where, least=1),
    )
    _check_together(policy, where)
    return policy


def _refuse_unused(options: BatchOptions, where: str) -> None:
    if options.concurrency is not None:
        raise InvalidService(
            f"{where} says concurrency, which is of async handlers that are batchable.",
            remedy="Remove it; Resources(threads=…) says how many sync handlers run at a time.",
        )
    for name in BatchOptions.__slots__:
        given, plain = getattr(options, name), getattr(NO_BATCHES, name)
        # An array is equal to nothing that could be asked about.
        if type(given) is not type(plain) or given != plain:
            raise InvalidService(
                f"{where} says {name}, and is not batchable.",
                remedy=f"Say batchable=True, or remove {name}.",
            )


def _check_together(policy: BatchPolicy, where: str) -> None:
    sizes = policy.allowed_batch_sizes
    if sizes and sizes[-1] < policy.max_batch_size:
        raise InvalidService(
            f"No allowed batch size of {where} holds {policy.max_batch_size} rows.",
            remedy="Let allowed_batch_sizes reach max_batch_size.",
        )
    if policy.pad_value and not policy.length_buckets:
        raise InvalidService(
            f"{where} says pad_value, and no length_buckets to fill up to.",
            remedy="Give length_buckets, or remove pad_value.",
        )


def checked_options(options: ServiceOptions, where: str) -> ServiceOptions:
    """Return what `@service` was given, with mappings and requirements of their own.

    Raises:
        InvalidService: an option cannot be used (the author's fault).
    """
    if options.name is not None:
        text(options.name, "name", where)
    return replace(
        options,
        resources=_resources(options.resources, where),
        service_level=_service_level(options.service_level, where),
        config=_config(options.config, where),
        labels=_labels(options.labels, where),
        requirements=_requirements(options.requirements, where),
    )


def _resources(given: object, where: str) -> Resources:
    if not isinstance(given, Resources):
        raise _wrong("resources", given, where, "Give dosirak.Resources(...).")
    cpu, memory = given.cpu, given.memory_bytes
    return Resources(
        workers=whole(given.workers, "workers", where, least=1, most=MOST_WORKERS),
        threads=whole(given.threads, "threads", where, least=1),
        cpu=None if cpu is None else number(cpu, "cpu", where, above=0),
        memory_bytes=None if memory is None else whole(memory, "memory_bytes", where, least=1),
        gpu=whole(given.gpu, "gpu", where),
    )


def _service_level(given: object, where: str) -> ServiceLevel:
    if not isinstance(given, ServiceLevel):
        raise _wrong("service_level", given, where, "Give dosirak.ServiceLevel(...).")
    p50_ms, p95_ms, rate = given.p50_ms, given.p95_ms, given.error_rate
    level = ServiceLevel(
        p50_ms=None if p50_ms is None else number(p50_ms, "p50_ms", where, above=0),
        p95_ms=None if p95_ms is None else number(p95_ms, "p95_ms", where, above=0),
        error_rate=None if rate is None else number(rate, "error_rate", where, most=1),
    )
    if level.p50_ms is not None and level.p95_ms is not None and level.p50_ms > level.p95_ms:
        raise _wrong("p50_ms", given.p50_ms, where, "Give no more than p95_ms.")
    return level


def _config(given: object, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not _is_json(cast("object", given)):
        raise _wrong("config", cast("object", given), where, "Give a dictionary of JSON values.")
    return dict(cast("Mapping[str, Any]", given))


def _labels(given: object, where: str) -> dict[str, str]:
    if given is None:
        return {}
    labels = cast("Mapping[object, object]", given) if isinstance(given, Mapping) else None
    if labels is None or not all(isinstance(one, str) for pair in labels.items() for one in pair):
        raise _wrong("labels", cast("object", given), where, "Give a dictionary of texts.")
    return dict(cast("Mapping[str, str]", labels))


def _requirements(given: object, where: str) -> tuple[str, ...]:
    remedy = 'Give a list, such as ["psycopg>=3"].'
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise _wrong("requirements", given, where, remedy)
    lines = tuple(cast("Iterable[object]", given))
    if not all(isinstance(line, str) and line.strip() for line in lines):
        raise _wrong("requirements", lines, where, remedy)
    return cast("tuple[str, ...]", lines)


def _is_json(value: object) -> bool:
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return all(isinstance(key, str) and _is_json(one) for key, one in members.items())
    if isinstance(value, list | tuple):
        return all(_is_json(one) for one in cast("Iterable[object]", value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def _sizes(given: object, option: str, where: str) -> tuple[int, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise _wrong(option, given, where, "Give several whole numbers, such as (1, 4, 16).")
    sizes = (whole(one, option, where, least=1) for one in cast("Iterable[object]", given))
    return tuple(sorted(sizes))


def seconds(given: object, option: str, where: str) -> float | None:
    """Return a time, or None.

    Raises:
        InvalidService: it is not a number above 0 (the author's fault).
    """
    return None if given is None else number(given, option, where, above=0)


def flag(given: object, option: str, where: str) -> bool:
    """Return True or False.

    Raises:
        InvalidService: it is neither (the author's fault).
    """
    if not isinstance(given, bool):
        raise _wrong(option, given, where, "Give True or False.")
    return given


def text(given: object, option: str, where: str) -> str:
    """Return text.

    Raises:
        InvalidService: it is something else (the author's fault).
    """
    if not isinstance(given, str):
        raise _wrong(option, given, where, "Give text.")
    return given


def whole(given: object, option: str, where: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return a whole number in this range.

    Raises:
        InvalidService: it is none (the author's fault).
    """
    value = None if isinstance(given, bool) or not isinstance(given, Integral) else int(given)
    if value is None or not least <= value <= most:
        bounds = f"at least {least}" if most >= 2**63 - 1 else f"{least} to {most}"
        raise _wrong(option, given, where, f"Give a whole number, {bounds}.")
    return value


def number(
    given: object,
    option: str,
    where: str,
    *,
    least: float | None = 0,
    above: float | None = None,
    most: float = math.inf,
) -> float:
    """Return a finite number in this range.

    Raises:
        InvalidService: it is none (the author's fault).
    """
    value = _finite(given)
    low = above if above is not None else least
    fits = value is not None and value <= most and (low is None or value >= low)
    if value is None or not fits or (above is not None and value == above):
        bounds = "" if low is None else f" {'above' if above is not None else 'of at least'} {low}"
        bounds += f" and at most {most:g}" if most < math.inf else ""
        raise _wrong(option, given, where, f"Give a finite number{bounds}.")
    return value


def _finite(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
        return None
    return int(given) if isinstance(given, Integral) else float(given)


def _wrong(option: str, given: object, where: str, remedy: str) -> InvalidService:
    shown = repr(given)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return InvalidService(f"The {option} of {where} is {shown}.", remedy=remedy)
