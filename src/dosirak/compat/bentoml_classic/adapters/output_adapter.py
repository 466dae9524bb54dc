"""What every output adapter offers: return values → results → answers; and how values are shared.

`pack_user_func_return_value` makes one result for each task that was not discarded; `to_…` turns a
result into what travels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from dosirak.compat.bentoml_classic.exceptions import APIDeprecated, FailedPrecondition
from dosirak.compat.bentoml_classic.types import (
    AwsLambdaEvent,
    HTTPResponse,
    InferenceResult,
    InferenceTask,
)
from dosirak.errors import ResultError

Result = InferenceResult[Any]
Tasks = Sequence[InferenceTask[Any]]


class BaseOutputAdapter:
    """The base of classic output adapters.

    Args:
        cors: withdrawn by classic BentoML itself.

    Raises:
        APIDeprecated: `cors` was given (the author's fault).
    """

    def __init__(self, cors: str | None = None) -> None:
        if cors is not None:
            raise APIDeprecated(
                "Output adapters take no cors option.", remedy="Set CORS at the server or proxy."
            )

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records of the adapter (JSON values)."""
        return {}

    @property
    def pip_dependencies(self) -> list[str]:
        """Distributions the adapter needs."""
        return []

    def pack_user_func_return_value(self, return_result: Any, tasks: Tasks) -> Sequence[Result]:
        """Make one result for each task from what the API function returned."""
        raise FailedPrecondition(
            f"{type(self).__name__} does not make results.",
            remedy="Override pack_user_func_return_value in the adapter.",
        )

    def to_http_response(self, result: Result) -> HTTPResponse:
        """Make the HTTP answer: the error message, or the data."""
        return HTTPResponse.new(
            status=result.http_status,
            headers=result.http_headers,
            body=result.err_msg or result.data,
        )

    def to_cli(self, results: Iterable[Result]) -> tuple[int, list[str]]:
        """Return the exit code and the lines to print."""
        lines: list[str] = []
        code = 0
        for result in results:
            lines.append(result.err_msg or _line(result.data))
            code = 1 if result.err_msg else code
        return code, lines

    def to_aws_lambda_event(self, result: Result) -> AwsLambdaEvent:
        """Make the answer that AWS Lambda expects."""
        return {
            "statusCode": result.http_status,
            "body": result.err_msg or result.data,
            "headers": dict(result.http_headers),
        }


def _line(data: Any) -> str:
    return data.decode("utf-8", errors="replace") if isinstance(data, bytes) else str(data)


def expected_count(tasks: Tasks) -> int:
    """Return how many values the API function must return for these tasks."""
    return sum(1 if task.batch is None else task.batch for task in tasks)


def check_count(values: Any, tasks: Tasks) -> None:
    """Check that there is one value for each input.

    Raises:
        ResultError: there are more or fewer (the service author's fault).
    """
    try:
        count = len(values)
    except TypeError as error:
        raise ResultError(
            "The API function must return one value for each input.", remedy="Return a sequence."
        ) from error
    if count != expected_count(tasks):
        raise ResultError(
            f"The API function returned {count} values for {expected_count(tasks)} inputs.",
            remedy="Return one value for each input.",
        )


def shares(values: Any, tasks: Tasks) -> Iterator[Any]:
    """Yield each task's share: one value, or a tuple of as many as its rows."""
    check_count(values, tasks)
    remaining = iter(values)
    for task in tasks:
        if task.batch is None:
            yield next(remaining)
        else:
            yield tuple(islice(remaining, task.batch))
