"""Text: the body decoded by its charset, or one uploaded text file. JSON and tables build on it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any, cast

from dosirak.compat.bentoml_classic.adapters.command_line import read_inputs
from dosirak.compat.bentoml_classic.adapters.input_adapter import (
    BaseInputAdapter,
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
    content_type_parameter,
)

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class StringInput(BaseInputAdapter):
    """Gives the API function a `str`, or a list of them when it takes batches."""

    CALLER_GIVES = str

    def from_http_request(self, req: HTTPRequest) -> Task:
        """Decode the body, or the one file of a form."""
        if (failed := inflate(req)) is not None:
            return failed
        if req.headers.content_type == "multipart/form-data":
            return self._from_form(req)
        return self._decoded(
            req.body, req.headers.charset or "utf-8", InferenceTask(http_headers=req.headers)
        )

    def _from_form(self, req: HTTPRequest) -> Task:
        files = read_files(req)
        task = InferenceTask[Any](http_headers=req.headers)
        if len(files) != 1:
            return task.discard(
                http_status=400,
                err_msg=f"BentoML#{type(self).__name__} accepts one text file at a time",
            )
        (file,) = files.values()
        self.note_file(task, file)
        content = file.read()
        return self._decoded(content, _charset(file, content), task)

    def note_file(self, task: Task, file: FileLike) -> None:
        """Keep what the adapter needs to know of an uploaded file."""

    def _decoded(self, content: bytes, charset: str, task: Task) -> Task:
        try:
            task.data = content.decode(charset)
        except UnicodeDecodeError:
            task.discard(
                http_status=400, err_msg=f"{type(self).__name__}: UnicodeDecodeError for the body"
            )
        except LookupError:
            task.discard(
                http_status=400, err_msg=f"{type(self).__name__}: Unsupported charset {charset}"
            )
        return task

    def from_aws_lambda_event(self, event: AwsLambdaEvent) -> Task:
        """Take the event's body."""
        fields = cast(dict[str, Any], event)
        return InferenceTask(aws_lambda_event=fields, data=fields.get("body") or "")

    def from_cli(self, cli_args: tuple[str, ...]) -> Iterator[Task]:
        """Read each `--input` or `--input-file`."""
        for (file,) in read_inputs(cli_args):
            content = file.read()
            task = InferenceTask[Any](cli_args=cli_args)
            yield self._decoded(content, _charset(file, content), task)

    def extract_user_func_args(self, tasks: Iterable[Task]) -> tuple[Any, ...]:
        """Return the texts as one list."""
        return ([task.data for task in prepared(self, tasks)],)


def _charset(file: FileLike, content: bytes) -> str:
    """Choose what the file says of itself, then a byte order mark, then UTF-8."""
    declared = content_type_parameter(file.content_type, "charset")
    if declared:
        return declared
    return next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
