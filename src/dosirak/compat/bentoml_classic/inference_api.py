"""One endpoint of a classic service: tasks in, results out, whatever brought the tasks.

Discarded tasks keep their error; the others are grouped by what can share a call, the function is
called once per group (or once per task when it does not batch), and every result goes back to its
own task.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from dosirak.compat.bentoml_classic.adapters import BaseInputAdapter, BaseOutputAdapter
from dosirak.compat.bentoml_classic.adapters.command_line import QuietParser
from dosirak.compat.bentoml_classic.adapters.input_adapter import prepared
from dosirak.compat.bentoml_classic.adapters.output_adapter import check_count
from dosirak.compat.bentoml_classic.exceptions import CLIException
from dosirak.compat.bentoml_classic.types import (
    AwsLambdaEvent,
    HTTPRequest,
    HTTPResponse,
    InferenceError,
    InferenceResult,
    InferenceTask,
)
from dosirak.errors import DosirakError, RequestError

_log = logging.getLogger(__name__)

Task = InferenceTask[Any]
Result = InferenceResult[Any]

FAILED = "Exception happened in API function"


@dataclass(frozen=True, slots=True)
class ApiDefinition:
    """What `@api` recorded on a function."""

    name: str
    route: str
    doc: str
    input_adapter: BaseInputAdapter
    output_adapter: BaseOutputAdapter
    mb_max_batch_size: int
    mb_max_latency: int
    batch: bool


class InferenceAPI:
    """An api definition bound to a service instance.

    Args:
        definition: what `@api` recorded.
        user_func: the bound method.
    """

    def __init__(self, definition: ApiDefinition, user_func: Callable[..., Any]) -> None:
        self.definition = definition
        self.user_func = user_func

    @property
    def name(self) -> str:
        """The api's name."""
        return self.definition.name

    @property
    def route(self) -> str:
        """The HTTP path without the leading slash."""
        return self.definition.route

    @property
    def doc(self) -> str:
        """The author's documentation."""
        return self.definition.doc

    @property
    def input_adapter(self) -> BaseInputAdapter:
        """How input is read."""
        return self.definition.input_adapter

    @property
    def output_adapter(self) -> BaseOutputAdapter:
        """How results are written."""
        return self.definition.output_adapter

    @property
    def mb_max_batch_size(self) -> int:
        """Most requests in one call."""
        return self.definition.mb_max_batch_size

    @property
    def mb_max_latency(self) -> int:
        """The latency goal in milliseconds."""
        return self.definition.mb_max_latency

    @property
    def batch(self) -> bool:
        """Whether the function takes whole batches."""
        return self.definition.batch

    @property
    def request_schema(self) -> dict[str, dict[str, Any]]:
        """Media types and schemas for the OpenAPI description."""
        return self.input_adapter.described_schema()

    @cached_property
    def _task_argument(self) -> str | None:
        """The keyword by which the function asked to see its tasks, if it did."""
        name = "tasks" if self.batch else "task"
        parameters = inspect.signature(self.user_func).parameters.values()
        takes = any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
        return name if takes else None

    def run(self, tasks: Iterable[Task]) -> list[Result]:
        """Answer the tasks.

        Raises:
            Exception: whatever the API function raised.
            ResultError: the function returned too many or too few values.
        """
        everything = list(tasks)
        ready = prepared(self.input_adapter, everything)
        answers: dict[int, Result] = {}
        for group in self._groups(ready):
            answers.update(self._run_group(group))
        return [task.error if task.error is not None else answers[id(task)] for task in everything]

    def infer(self, inf_tasks: Iterable[Task]) -> tuple[Result, ...]:
        """Answer the tasks; an exception in the API function is the answer 500 to each."""
        tasks = list(inf_tasks)
        try:
            return tuple(self.run(tasks))
        except CLIException:
            raise
        except RequestError as error:
            message, status = str(error), error.http_status
        except Exception:
            _log.exception("The api %r failed.", self.name)
            message, status = FAILED, 500
        failed: Result = InferenceError(err_msg=message, http_status=status)
        return tuple(task.error or failed for task in tasks)

    def _groups(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        if not self.batch:
            yield from ([task] for task in tasks)
            return
        groups: dict[Any, list[Task]] = {}
        for task in tasks:
            groups.setdefault(self.input_adapter.group_key(task), []).append(task)
        yield from groups.values()

    def _run_group(self, tasks: list[Task]) -> Iterator[tuple[int, Result]]:
        arguments = self.input_adapter.extract_user_func_args(tasks)
        # An adapter that a user wrote may discard only now.
        tasks = [task for task in tasks if not task.is_discarded]
        if not tasks:
            return iter(())
        returned = self._call(arguments, tasks)
        # The function may discard tasks as well; the others keep their values.
        kept = [task for task in tasks if not task.is_discarded]
        results = self._results(returned, kept)
        return zip(map(id, kept), results, strict=True)

    def _call(self, arguments: tuple[Any, ...], tasks: list[Task]) -> Any:
        if self.batch:
            return self.user_func(*arguments, **self._named(tasks))
        (own,) = self.input_adapter.iter_batch_args(arguments, tasks=tasks)
        return [self.user_func(*own, **self._named(tasks[0]))]

    def _named(self, value: Any) -> dict[str, Any]:
        return {} if self._task_argument is None else {self._task_argument: value}

    def _results(self, returned: Any, tasks: list[Task]) -> Sequence[Result]:
        if not self.batch and not tasks:
            return ()
        if isinstance(returned, list | tuple) and returned:
            first: object = returned[0]
            if isinstance(first, InferenceResult):
                check_count(returned, [InferenceTask() for _ in tasks])
                return returned
        return self.output_adapter.pack_user_func_return_value(returned, tasks)

    def handle_request(self, request: HTTPRequest) -> HTTPResponse:
        """Answer one HTTP request in this process."""
        return self.handle_batch_request([request])[0]

    def handle_batch_request(self, requests: Sequence[HTTPRequest]) -> tuple[HTTPResponse, ...]:
        """Answer several HTTP requests with one call, as the server does."""
        tasks = [self.task_of(request) for request in requests]
        responses = tuple(map(self.output_adapter.to_http_response, self.infer(tasks)))
        for task, response in zip(tasks, responses, strict=True):
            response.headers["X-Request-Id"] = task.task_id
        return responses

    def task_of(self, request: HTTPRequest) -> Task:
        """Make the task of one request; what is wrong with it is in the task."""
        try:
            return self.input_adapter.from_http_request(request)
        except RequestError as error:
            return InferenceTask[Any]().discard(
                http_status=error.http_status, err_msg=error.message
            )

    def handle_cli(self, cli_args: Sequence[str]) -> tuple[int, list[str]]:
        """Answer the inputs on a command line; returns the exit code and the lines to print.

        Raises:
            CLIException: the arguments are wrong (the caller's fault).
        """
        parser = QuietParser()
        parser.add_argument("--max-batch-size", type=int, default=0)
        size: int | None = parser.parse_known_args(list(cli_args))[0].max_batch_size or None
        tasks = self.input_adapter.from_cli(tuple(cli_args))
        code, lines = 0, list[str]()
        while batch := list(islice(tasks, size)):
            batch_code, batch_lines = self.output_adapter.to_cli(self.infer(batch))
            code, lines = code or batch_code, [*lines, *batch_lines]
        return code, lines

    def handle_aws_lambda_event(self, event: AwsLambdaEvent) -> AwsLambdaEvent:
        """Answer one AWS Lambda event."""
        try:
            task = self.input_adapter.from_aws_lambda_event(event)
        except DosirakError as error:
            task = InferenceTask[Any]().discard(
                http_status=error.http_status, err_msg=error.message
            )
        answer = self.output_adapter.to_aws_lambda_event(self.infer([task])[0])
        if isinstance(answer, dict):
            answer.setdefault("headers", {})["Access-Control-Allow-Origin"] = "*"
        return answer
