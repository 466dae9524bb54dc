"""The values that classic adapters and API functions pass on: tasks, results, requests, files.

An `InferenceTask` is one caller's input, an `InferenceResult` one caller's answer. A discarded task
carries its answer already and takes no further part in its batch.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self, TypeVar, cast
from urllib.parse import unquote, urlparse

from dosirak.compat.bentoml_classic.exceptions import InvalidArgument

BATCH_HEADER = "Bentoml-Is-Batch-Request"

JsonSerializable = bool | int | float | str | list[Any] | dict[str, Any] | None
AwsLambdaEvent = dict[str, Any] | list[Any] | str | int | float | None

Input = TypeVar("Input")
Output = TypeVar("Output")
HeaderSource = Mapping[str, str] | Iterable[tuple[str, str]] | None


class FileLike:
    """A file given as bytes, a `file://` URI or an open stream; opened when first read."""

    def __init__(
        self,
        bytes_: bytes | None = None,
        uri: str | None = None,
        name: str | None = None,
        _stream: BinaryIO | None = None,
        content_type: str = "",
    ) -> None:
        self._stream = _stream
        self.bytes_ = bytes_
        self.uri = uri
        self.content_type = content_type
        self.name = name if name is not None else self._given_name()

    def _given_name(self) -> str | None:
        if self._stream is not None:
            return getattr(self._stream, "name", None)
        return Path(self.path).name if self.uri is not None else None

    @property
    def path(self) -> str:
        """The local path of the URI.

        Raises:
            InvalidArgument: the URI is not a local file (the caller's fault).
        """
        parsed = urlparse(self.uri or "")
        if parsed.scheme not in ("", "file"):
            raise InvalidArgument(
                f"{self.uri!r} is not a local file.", remedy="Give a path or a file:// URI."
            )
        return str(Path(unquote(parsed.path)).absolute())

    @property
    def stream(self) -> BinaryIO:
        """The open binary stream."""
        if self._stream is None and self.uri is not None:
            self._stream = Path(self.path).open("rb")  # noqa: SIM115
        elif self._stream is None:
            self._stream = io.BytesIO(self.bytes_ or b"")
        return self._stream

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or the rest."""
        return self.stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move within the stream."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position within the stream."""
        return self.stream.tell()

    def close(self) -> None:
        """Close the stream if it was opened."""
        if self._stream is not None:
            self._stream.close()

    def __del__(self) -> None:
        # API functions get these values and, as in 0.13, need not close them.
        self.close()


class HTTPHeaders(MutableMapping[str, str]):
    """Headers whose names ignore case; the last value given for a name counts."""

    def __init__(self, headers: HeaderSource = None) -> None:
        given = headers.items() if isinstance(headers, Mapping) else headers or ()
        pairs = cast(Iterable[tuple[str, str]], given)
        self._values: dict[str, tuple[str, str]] = {}
        for name, value in pairs:
            self._values[name.lower()] = (name, value)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()][1]

    def __setitem__(self, name: str, value: str) -> None:
        self._values[name.lower()] = (name, value)

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"HTTPHeaders({dict(self)!r})"

    @classmethod
    def from_dict(cls, headers: Mapping[str, str]) -> Self:
        """Make headers from a mapping."""
        return cls(headers)

    @classmethod
    def from_sequence(cls, headers: Sequence[tuple[str, str]]) -> Self:
        """Make headers from pairs."""
        return cls(headers)

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return _main_value(self.get("content-type", ""))

    @property
    def charset(self) -> str | None:
        """The `charset` parameter of Content-Type."""
        return content_type_parameter(self.get("content-type", ""), "charset")

    @property
    def content_encoding(self) -> str:
        """The Content-Encoding in lower case."""
        return _main_value(self.get("content-encoding", ""))

    @property
    def is_batch_input(self) -> bool | None:
        """What the classic batch header says; None without it."""
        value = _main_value(self.get(BATCH_HEADER, ""))
        return value == "true" if value else None


def _main_value(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def content_type_parameter(header: str, name: str) -> str | None:
    """Return one parameter of a Content-Type header."""
    for part in header.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return None


def as_headers(headers: HTTPHeaders | HeaderSource) -> HTTPHeaders:
    """Return `headers` as `HTTPHeaders`, whatever classic code gave."""
    return headers if isinstance(headers, HTTPHeaders) else HTTPHeaders(headers)


@dataclass
class HTTPRequest:
    """One request as an input adapter sees it."""

    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    body: bytes = b""

    def __post_init__(self) -> None:
        self.headers = as_headers(self.headers)


@dataclass
class HTTPResponse:
    """One answer as an output adapter makes it."""

    status: int = 200
    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    body: bytes | str | None = b""

    def __post_init__(self) -> None:
        self.headers = as_headers(self.headers)

    @classmethod
    def new(
        cls, status: int = 200, headers: HeaderSource = None, body: bytes | str | None = b""
    ) -> Self:
        """Make a response from headers in any form."""
        return cls(status, as_headers(headers), body)


@dataclass
class InferenceResult(Generic[Output]):
    """One caller's answer. An API function may return these itself."""

    version: int = 0
    data: Output | None = None
    err_msg: str = ""
    task_id: str | None = None
    # A result that nobody gave a status answers 200; 0.13 sent 501.
    http_status: int = 200
    http_headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    aws_lambda_event: dict[str, Any] | None = None
    cli_status: int | None = 0

    def __post_init__(self) -> None:
        self.http_headers = as_headers(self.http_headers)

    @classmethod
    def complete_discarded(
        cls,
        tasks: Iterable[InferenceTask[Any]],
        results: Iterable[InferenceResult[Any]],
    ) -> Iterator[InferenceResult[Any]]:
        """Put the answers of discarded tasks in their places among `results`."""
        remaining = iter(results)
        for task in tasks:
            yield task.error if task.error is not None else next(remaining)


@dataclass
class InferenceError(InferenceResult[Output]):
    """The answer of a caller whose request failed."""

    http_status: int = 500
    cli_status: int | None = 1


@dataclass
class InferenceTask(Generic[Input]):
    """One caller's input on its way through an api.

    Attributes:
        batch: how many rows of the joined input are this caller's; None when it gave one item.
        prepared: what the input adapter made of `data`, once it has; adapters own its meaning.
    """

    version: int = 0
    # None until there is any; adapters read it only from tasks that were not discarded.
    data: Any = None
    error: InferenceResult[Any] | None = None
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_discarded: bool = False
    batch: int | None = None
    http_method: str | None = None
    http_headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    aws_lambda_event: dict[str, Any] | None = None
    cli_args: Sequence[str] | None = None
    inference_job_args: Mapping[str, Any] | None = None
    prepared: Any = None

    def discard(self, err_msg: str = "", **context: Any) -> Self:
        """Answer this caller with an error now; the rest of the batch goes on without it.

        Args:
            err_msg: the body of the answer.
            **context: other fields of the `InferenceError`, such as `http_status=400`.
        """
        self.is_discarded = True
        self.error = InferenceError(err_msg=err_msg, **context)
        return self
