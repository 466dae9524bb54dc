"""Several named files from each request's form → one argument for each name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from dosirak.compat.bentoml_classic.adapters.command_line import read_inputs
from dosirak.compat.bentoml_classic.adapters.file_input import BINARY
from dosirak.compat.bentoml_classic.adapters.input_adapter import (
    BaseInputAdapter,
    CallerInput,
    Schema,
    Task,
    inflate,
    prepared,
)
from dosirak.compat.bentoml_classic.multipart import read_files
from dosirak.compat.bentoml_classic.types import (
    AwsLambdaEvent,
    HTTPHeaders,
    HTTPRequest,
    InferenceTask,
)


class MultiFileInput(BaseInputAdapter):
    """Gives the API function one `FileLike` for each name, or one tuple of them when it batches.

    Args:
        input_names: the form's field names, in the order of the function's parameters.
        allow_none: whether some, but not all, may be missing; the function then gets None.
        **base_kwargs: see `BaseInputAdapter`.
    """

    HTTP_METHODS = ("POST",)

    def __init__(
        self, input_names: Sequence[str], allow_none: bool = False, **base_kwargs: Any
    ) -> None:
        super().__init__(**base_kwargs)
        self.input_names = tuple(input_names)
        self.allow_none = allow_none

    @property
    def config(self) -> dict[str, Any]:
        """What bentoml.yml records."""
        return {"input_names": list(self.input_names)}

    @property
    def request_schema(self) -> Schema:
        """A form with the named files."""
        fields = dict.fromkeys(self.input_names, BINARY)
        return {"multipart/form-data": {"schema": {"type": "object", "properties": fields}}}

    @property
    def caller_input(self) -> CallerInput:
        """The files by the names of their fields."""
        hints = dict.fromkeys(self.input_names, Path)
        return CallerInput(hints, tuple(self.described_schema()), required=not self.allow_none)

    def from_http_request(self, req: HTTPRequest) -> Task:
        """Take the named files of a form."""
        if (failed := inflate(req)) is not None:
            return failed
        task = InferenceTask[Any](http_headers=req.headers)
        name = f"BentoML#{type(self).__name__}"
        if req.headers.content_type != "multipart/form-data":
            return task.discard(
                http_status=400,
                err_msg=f"{name} only accepts requests with Content-Type: multipart/form-data",
            )
        found = read_files(req)
        files = tuple(found.get(field) for field in self.input_names)
        missing = [file for file in files if file is None]
        if len(missing) == len(files) or (missing and not self.allow_none):
            return task.discard(
                http_status=400, err_msg=f"{name} requires inputs fields {self.input_names}"
            )
        task.data = files
        return task

    def from_aws_lambda_event(self, event: AwsLambdaEvent) -> Task:
        """Read the event as a request; the body may be in base64, as Lambda gives binary ones."""
        fields = cast(dict[str, Any], event)
        body = fields.get("body") or ""
        try:
            content = base64.b64decode(body) if fields.get("isBase64Encoded") else body.encode()
        except (binascii.Error, ValueError):
            return InferenceTask[Any]().discard(
                http_status=400, err_msg="The body is not in base64"
            )
        task = self.from_http_request(HTTPRequest(HTTPHeaders(fields.get("headers")), content))
        task.aws_lambda_event = fields
        return task

    def from_cli(self, cli_args: tuple[str, ...]) -> Iterator[Task]:
        """Take each set of `--input-NAME` or `--input-file-NAME`."""
        for files in read_inputs(cli_args, self.input_names):
            yield InferenceTask(data=files, cli_args=cli_args)

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return one tuple for each name."""
        rows = [self.values_of(task) for task in prepared(self, tasks)]
        return tuple(zip(*rows, strict=True)) if rows else ((),) * len(self.input_names)

    def values_of(self, task: Task) -> tuple[Any, ...]:
        """Return one task's values, in the order of the names."""
        return task.prepared if task.prepared is not None else task.data
