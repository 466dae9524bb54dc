"""Options of `dosirak serve` that a deployment may set, by their names in the configuration.

What is wrong is said when the configuration is given, not when a replica starts. A test compares
the two lists here with the options that the command has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dosirak.errors import FieldProblem, InvalidConfiguration

Value: TypeAlias = str | int | float | bool

_SIZE = re.compile(r"0*[1-9]\d*\s*(?:[KMG]iB)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Kind:
    expected: str
    holds: Callable[[Value], bool]


def _whole(lowest: int, highest: float = math.inf) -> _Kind:
    bounds = f" from {lowest}" + (f" to {highest:g}" if highest < math.inf else "")
    return _Kind(
        f"a whole number{bounds}",
        lambda value: (
            isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
        ),
    )


def _number(lowest: float, *, above: bool = False, highest: float = math.inf) -> _Kind:
    def holds(value: Value) -> bool:
        if isinstance(value, bool | str) or not math.isfinite(value):
            return False
        return (value > lowest if above else value >= lowest) and value <= highest

    least = f"above {lowest:g}" if above else f"from {lowest:g}"
    most = f" to {highest:g}" if highest < math.inf else ""
    return _Kind(f"a number {least}{most}", holds)


def _choice(*words: str) -> _Kind:
    return _Kind(f"one of {', '.join(words)}", lambda value: value in words)


def _is_size(value: Value) -> bool:
    if isinstance(value, str):
        return _SIZE.fullmatch(value.strip()) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_FLAG = _Kind("true or false", lambda value: isinstance(value, bool))
_BYTES = _Kind("a size such as 512MiB", _is_size)
_TEXT = _Kind("text", lambda value: isinstance(value, str) and bool(value))
_ADDRESS = _Kind(
    "an address without a password; one with belongs into the secret DOSIRAK_TASK_STORE",
    lambda value: isinstance(value, str) and bool(value) and "@" not in value,
)
_SECONDS, _SOME_SECONDS = _number(0), _number(0, above=True)

OPTIONS: Mapping[str, _Kind] = {
    "fronts": _whole(1, 64),
    "http2": _FLAG,
    "max_body": _BYTES,
    "max_head": _BYTES,
    "max_headers": _whole(1),
    "max_outstanding": _whole(1),
    "timeout_s": _SOME_SECONDS,
    "start_timeout_s": _SOME_SECONDS,
    "head_timeout_s": _SOME_SECONDS,
    "body_grace_s": _SECONDS,
    "body_pace": _BYTES,
    "send_timeout_s": _SOME_SECONDS,
    "hang_grace_s": _SECONDS,
    "worker_memory_limit": _BYTES,
    "worker_memory_hard_limit": _BYTES,
    "worker_start": _choice("auto", "fork", "spawn"),
    "worker_threads": _whole(1, 1024),
    "pin_cpus": _FLAG,
    "quarantine_after": _whole(0),
    "quarantine_s": _SECONDS,
    "inference_log": _TEXT,
    "inference_log_rate": _number(0, above=True, highest=1),
    "inference_log_redact": _TEXT,
    "inference_log_format": _choice("jsonl", "parquet"),
    "inference_log_max_file": _BYTES,
    "task_store": _ADDRESS,
    "task_max_waiting": _whole(1),
    "task_result_s": _SOME_SECONDS,
    "task_waiting_s": _SOME_SECONDS,
    "task_lease_s": _SOME_SECONDS,
    "task_webhook_allow": _TEXT,
    "task_webhook_secret_file": _TEXT,
}
# Given once for each of several values, which are parted by commas here.
_REPEATED = frozenset({"inference_log_redact", "task_webhook_allow"})

REFUSED: Mapping[str, str] = {
    "host": "The platform's router has the address.",
    "port": "Set port of the deployment: the router listens there.",
    "unix_socket": "The platform gives every replica one.",
    "allow_host": "Set hosts of the deployment.",
    "token_file": "Set access to token: tokens are made with the platform.",
    "access_file": "Set access to token: tokens are made with the platform.",
    "admin_token_file": "Replicas are not reloaded; update the deployment.",
    "watch": "Update the deployment: a revision serves one bundle.",
    "reload": "Update the deployment: a revision serves one bundle.",
    "tls_certificate": "Give certificates to the platform's router.",
    "tls_key": "Give certificates to the platform's router.",
    "tls_client_ca": "Give certificates to the platform's router.",
    "workers": "Set resources.workers of the deployment.",
    "drain_timeout_s": "Set drain_timeout_s of the deployment.",
    "drain_delay_s": "The router takes requests from a replica before it is stopped.",
    "access_log": "Replicas log in JSON.",
}


def validate_service_options(options: Mapping[str, Value]) -> None:
    """Refuse what replicas could not be started with.

    Raises:
        InvalidConfiguration: names and reasons are in `fields` (the caller's fault).
    """
    problems = list(_problems(options))
    if problems:
        told = " ".join(f"{problem.field}: {problem.reason}" for problem in problems)
        raise InvalidConfiguration(
            f"The service options cannot be used. {told}",
            remedy="Correct them; `dosirak serve --help` says what each does.",
            fields=problems,
        )


def serve_arguments(options: Mapping[str, Value]) -> list[str]:
    """Return checked options as the command takes them."""
    return [argument for name, value in options.items() for argument in _arguments(name, value)]


def _problems(options: Mapping[str, Value]) -> Iterator[FieldProblem]:
    for name, value in options.items():
        field = f"service_options.{name}"
        kind = OPTIONS.get(name)
        if name in REFUSED:
            yield FieldProblem(field, f"is the platform's affair. {REFUSED[name]}")
        elif kind is None:
            yield FieldProblem(field, f"is no option; there are {', '.join(OPTIONS)}.")
        elif not kind.holds(value):
            yield FieldProblem(field, f"should be {kind.expected}.")
    if "inference_log" not in options:
        for name in options:
            if name.startswith("inference_log_"):
                yield FieldProblem(f"service_options.{name}", "needs inference_log.")


def _arguments(name: str, value: Value) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [option] if value else []
    elif name in _REPEATED:
        yield from (f"{option}={part.strip()}" for part in str(value).split(",") if part.strip())
    else:
        yield f"{option}={value}"
