"""JSON: one value from each request, whether the API function takes batches or not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from dosirak.compat.bentoml_classic.adapters.input_adapter import Task, prepared
from dosirak.compat.bentoml_classic.adapters.string_input import StringInput


class ParsedJson(NamedTuple):
    """A parsed value; the wrapper tells a parsed null from nothing parsed."""

    value: Any


def parse_json(task: Task, **options: Any) -> ParsedJson | None:
    """Parse the task's text; discards the task when it is not JSON."""
    try:
        return ParsedJson(json.loads(task.data or "", **options))
    except (ValueError, RecursionError):
        task.discard(http_status=400, err_msg="Not a valid JSON format")
        return None


class JsonInput(StringInput):
    """Gives the API function a parsed value, or a list of them when it takes batches."""

    CALLER_GIVES = Any

    def prepare(self, task: Task) -> None:
        """Parse the text."""
        task.prepared = parse_json(task)

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return the values as one list."""
        return ([task.prepared.value for task in prepared(self, tasks)],)
