"""Results as JSON, with numpy values as numbers and lists."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from dosirak.compat.bentoml_classic.adapters.command_line import QuietParser
from dosirak.compat.bentoml_classic.adapters.output_adapter import (
    BaseOutputAdapter,
    Result,
    Tasks,
    shares,
)
from dosirak.compat.bentoml_classic.json_text import json_text
from dosirak.compat.bentoml_classic.types import InferenceError, InferenceResult

_log = logging.getLogger(__name__)


class JsonOutput(BaseOutputAdapter):
    """Writes each task's share of the return value as JSON.

    Args:
        ensure_ascii: escape everything that is not ASCII.
        charset: named in the Content-Type; the body is always UTF-8.
        **kwargs: see `BaseOutputAdapter`.
    """

    def __init__(
        self, ensure_ascii: bool = False, charset: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ensure_ascii = ensure_ascii
        self.charset = charset

    def pack_user_func_return_value(self, return_result: Any, tasks: Tasks) -> Sequence[Result]:
        """Make one JSON result for each task."""
        return [
            self.packed(share, task.cli_args)
            for share, task in zip(shares(return_result, tasks), tasks, strict=True)
        ]

    def packed(self, value: Any, cli_args: Sequence[str] | None = None) -> Result:
        """Write one value; a value that JSON cannot hold is the answer 500."""
        try:
            text = self.text(value) if _as_json(cli_args) else str(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            _log.exception("An API function's result cannot be written as JSON.")
            return InferenceError(err_msg="The result cannot be written as JSON", http_status=500)
        return InferenceResult(data=text, http_headers=self.headers())

    def text(self, value: Any) -> str:
        """Return the value as JSON text."""
        return json_text(value, ensure_ascii=self.ensure_ascii)

    def headers(self) -> Any:
        """Return the headers of an answer that succeeded."""
        charset = f"; charset={self.charset}" if self.charset else ""
        return {"Content-Type": f"application/json{charset}"}


def _as_json(cli_args: Sequence[str] | None) -> bool:
    if not cli_args:
        return True
    parser = QuietParser()
    parser.add_argument("-o", "--output", choices=["str", "json"], default="json")
    return parser.parse_known_args(list(cli_args))[0].output == "json"
