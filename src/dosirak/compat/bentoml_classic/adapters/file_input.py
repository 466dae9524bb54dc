"""Files: any body, or a form with exactly one file → a `FileLike`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from dosirak.compat.bentoml_classic.adapters.command_line import read_inputs
from dosirak.compat.bentoml_classic.adapters.input_adapter import (
    BaseInputAdapter,
    Schema,
    Task,
    inflate,
    prepared,
)
from dosirak.compat.bentoml_classic.multipart import read_files
from dosirak.compat.bentoml_classic.types import (
    AwsLambdaEvent,
    FileLike,
    HTTPRequest,
    InferenceTask,
)

BINARY = {"type": "string", "format": "binary"}


class FileInput(BaseInputAdapter):
    """Gives the API function a `FileLike`, or a tuple of them when it takes batches."""

    CALLER_GIVES = Path

    HTTP_METHODS = ("POST",)

    @property
    def request_schema(self) -> Schema:
        """A form with one file, or the file itself."""
        form = {"type": "object", "properties": {"file": BINARY}}
        return {"multipart/form-data": {"schema": form}, "*/*": {"schema": BINARY}}

    def from_http_request(self, req: HTTPRequest) -> Task:
        """Take the one file of a form, or the body."""
        if (failed := inflate(req)) is not None:
            return failed
        task = InferenceTask[Any](http_headers=req.headers)
        name = f"BentoML#{type(self).__name__}"
        if req.headers.content_type == "multipart/form-data":
            files = list(read_files(req).values())
            if len(files) != 1:
                return task.discard(
                    http_status=400, err_msg=f"{name} requires one and at least one file at a time"
                )
            task.data = files[0]
        elif req.body:
            task.data = FileLike(bytes_=req.body, name="")
        else:
            task.discard(http_status=400, err_msg=f"{name} unexpected HTTP request format")
        return task

    def from_aws_lambda_event(self, event: AwsLambdaEvent) -> Task:
        """Take the event's body, which Lambda gives in base64."""
        fields = cast(dict[str, Any], event)
        task = InferenceTask[Any](aws_lambda_event=fields)
        try:
            content = base64.b64decode(fields.get("body") or "", validate=False)
        except (binascii.Error, ValueError):
            return task.discard(http_status=400, err_msg="The body is not in base64")
        task.data = FileLike(bytes_=content)
        return task

    def from_cli(self, cli_args: tuple[str, ...]) -> Iterator[Task]:
        """Take each `--input` or `--input-file`."""
        for (file,) in read_inputs(cli_args):
            yield InferenceTask(data=file, cli_args=cli_args)

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return the files as one tuple."""
        return (tuple(task.data for task in prepared(self, tasks)),)
