"""What every input adapter offers: request, Lambda event or command line → task → arguments.

`from_…` makes a task, `prepare` reads one task's data (and discards the task when it is wrong),
`extract_user_func_args` joins prepared tasks into the API function's arguments. An adapter that a
user derives may override any of them.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dosirak.compat.bentoml_classic.exceptions import FailedPrecondition
from dosirak.compat.bentoml_classic.types import AwsLambdaEvent, HTTPRequest, InferenceTask

Task = InferenceTask[Any]
Schema = dict[str, dict[str, Any]]


# The body that is the value itself, where it has one.
_OWN_MEDIA_TYPES: dict[Any, tuple[str, ...]] = {
    str: ("text/plain",),
    Path: ("application/octet-stream",),
}


class CallerInput(NamedTuple):
    """What a client in Python is to give.

    Attributes:
        hints: the type of each value by its name in a form; under "" the one that is the body.
        media_types: what may be sent, the best first.
        required: whether each has to be given.
    """

    hints: dict[str, Any]
    media_types: tuple[str, ...]
    required: bool = True


class BaseInputAdapter:
    """The base of classic input adapters.

    Args:
        http_input_example: shown as the example in the OpenAPI description.
        **base_config: `request_schema` replaces the adapter's own in the OpenAPI description.
    """

    HTTP_METHODS: ClassVar[Sequence[str]] = ("POST", "GET")
    BATCH_MODE_SUPPORTED: ClassVar[bool] = True
    SINGLE_MODE_SUPPORTED: ClassVar[bool] = True
    # Any: whatever JSON holds, or what can be made such (a table, an array).
    CALLER_GIVES: ClassVar[Any] = Any

    def __init__(self, http_input_example: Any = None, **base_config: Any) -> None:
        self._config = base_config
        self._http_input_example = http_input_example
        self.custom_request_schema: Schema | None = base_config.get("request_schema")

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records of the adapter (JSON values)."""
        return self._config

    @property
    def request_schema(self) -> Schema:
        """Media types and their OpenAPI schemas."""
        return {"application/json": {"schema": {"type": "object"}}}

    @property
    def caller_input(self) -> CallerInput:
        """What a client in Python is to give and to send."""
        own = _OWN_MEDIA_TYPES.get(self.CALLER_GIVES, ())
        described = () if self.CALLER_GIVES is str else tuple(self.described_schema())
        return CallerInput({"": self.CALLER_GIVES}, (*own, *described))

    @property
    def pip_dependencies(self) -> list[str]:
        """Distributions the adapter needs."""
        return []

    def described_schema(self) -> Schema:
        """Return the schema that the OpenAPI description shows, with the author's example."""
        chosen = self.custom_request_schema or self.request_schema
        schema = {media_type: dict(content) for media_type, content in chosen.items()}
        if self._http_input_example is not None and "application/json" in schema:
            schema["application/json"]["example"] = self._http_input_example
        return schema

    def from_http_request(self, req: HTTPRequest) -> Task:
        """Make a task of one request; a wrong request gives a discarded task."""
        raise self._unsupported("HTTP requests")

    def from_aws_lambda_event(self, event: AwsLambdaEvent) -> Task:
        """Make a task of one AWS Lambda event."""
        raise self._unsupported("AWS Lambda events")

    def from_cli(self, cli_args: tuple[str, ...]) -> Iterator[Task]:
        """Make a task of each input on the command line."""
        raise self._unsupported("the command line")

    def prepare(self, task: Task) -> None:
        """Read one task's data; discards the task when it is wrong."""

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Join the tasks into the API function's arguments."""
        raise self._unsupported("joining inputs")

    def iter_batch_args(
        self, batch_args: tuple[Any, ...], tasks: Sequence[Task] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Split joined arguments into those of each task."""
        return iter(zip(*batch_args, strict=True))

    def group_key(self, task: Task) -> Hashable:
        """Return what tasks must have in common to share one call of the API function."""
        return None

    def _unsupported(self, source: str) -> FailedPrecondition:
        return FailedPrecondition(
            f"{type(self).__name__} does not accept {source}.",
            remedy="Override the method of this name in the adapter.",
        )


def inflate(request: HTTPRequest) -> Task | None:
    """Unpack a gzip body in place; returns a discarded task when it is not gzip."""
    if request.headers.content_encoding not in ("gzip", "x-gzip"):
        return None
    try:
        request.body = gzip.decompress(request.body)
    except (OSError, EOFError, zlib.error):
        return InferenceTask[Any]().discard(http_status=400, err_msg="Gzip decompression error")
    del request.headers["content-encoding"]
    return None


def prepared(adapter: BaseInputAdapter, tasks: Iterable[Task]) -> list[Task]:
    """Prepare the tasks that are not yet, and return those that stay."""
    kept: list[Task] = []
    for task in tasks:
        if not task.is_discarded and task.prepared is None:
            adapter.prepare(task)
        if not task.is_discarded:
            kept.append(task)
    return kept
