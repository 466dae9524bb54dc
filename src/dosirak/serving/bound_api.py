"""One api with its handler: bytes to arguments, a call, and the result to bytes.

What user code or a codec raises in decoding and encoding leaves here as a `DosirakError`; `invoke`
is the bare call, shielded by whoever knows for whom it is made.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Sequence
from types import GeneratorType
from typing import Any, NamedTuple

from msgspec.structs import replace

from dosirak.errors import DosirakError, FieldProblem, InvalidInput, ResultError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.opentelemetry import Propagation
from dosirak.observe.traces import TRACEPARENT
from dosirak.payload.batching import check_count, without_rows
from dosirak.payload.padding import cut_length, fitting, length_of, pad_length, pad_rows
from dosirak.payload.wire import Arguments, WireRequest, WireResponse, WireStream
from dosirak.serving import handlers
from dosirak.serving.answers import with_context
from dosirak.serving.model_columns import advise, open_tables, refused_columns
from dosirak.serving.model_values import refused_values, row_parameters
from dosirak.serving.overlap import Overlap
from dosirak.serving.problems import problem_response
from dosirak.spec.calling import calling_for, shared_by, within_call
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec

# Joined calls in a row whose result does not fit, before joining is given up.
_MOST_MISFITS = 3

# What most handlers return; none of it can be awaited.
_PLAIN = frozenset([int, float, bool, str, bytes, list, dict, tuple, type(None)])

_log = logging.getLogger(f"{ROOT_LOGGER}.serving")


class Padded(NamedTuple):
    """A request's own length, and the bucket that it was filled up to."""

    length: int
    bucket: int


class BoundApi:
    """One api with its handler found on the instance.

    What reads and writes values may raise what is no `Exception` (a panic in a library's Rust):
    every call is answered all the same. The calls of a service that `calls_others` are known to
    those that it makes meanwhile (see `spec.calling`).
    """

    def __init__(
        self,
        spec: ApiSpec,
        instance: Any,
        propagation: Propagation | None = None,
        *,
        calls_others: bool = False,
    ) -> None:
        self.spec = spec
        self._propagation = propagation
        self._handler = spec.bind(instance)
        batch = spec.batch
        # One call for many callers has no place for each one's context.
        self.joins = batch is not None and spec.context_parameter is None
        # Batches that an async handler has under way at a time, and whether reading the next pays.
        self.places = asyncio.Semaphore(batch.concurrency if batch else 1)
        self.overlap = Overlap()
        self.max_rows = max(1, batch.max_batch_size) if batch else 1
        # What is called for one request alone keeps the contract all the same.
        self.counts = batch is not None
        self._misfits = 0
        self.batch_dimension = batch.batch_dimension if batch else 0
        self._allowed_sizes = batch.allowed_batch_sizes if batch else ()
        self._length_buckets = batch.length_buckets if batch else ()
        self._pad_value = batch.pad_value if batch else 0.0
        # A call of one request is filled up like any other.
        self.pads = bool(self._allowed_sizes or self._length_buckets)
        self._calls_others = calls_others
        described = spec.codec.describe()
        self._open_tables = open_tables(described)
        self._row_parameters = row_parameters(described)

    def decode(self, request: WireRequest, context: Context) -> Arguments:
        """Read a request's arguments; raises only `DosirakError`."""
        try:
            return self.spec.codec.decode(request)
        except BaseException as error:
            handlers.raise_shown(
                handlers.decoding_error(error, api=self.spec.name, request_id=context.request_id),
                error,
            )

    def check_rows(self, arguments: Arguments) -> None:
        """Let arguments through that have rows.

        Raises:
            InvalidInput: an array lacks the batch dimension (the remote caller's fault).
        """
        name = without_rows(arguments, self.batch_dimension)
        if name is None:
            return
        field = name if isinstance(name, str) else ""
        raise InvalidInput(
            "An array has no rows.",
            remedy=f"Send an array with at least {self.batch_dimension + 1} dimensions.",
            fields=[FieldProblem(field, f"has no dimension {self.batch_dimension}")],
        )

    def to_bucket(self, arguments: Arguments) -> tuple[Arguments, Padded | None]:
        """Return arguments filled up to a length bucket, and what was done.

        Filling up is what makes requests of different lengths joinable, so it is done to each.
        """
        length = length_of(arguments, self.batch_dimension) if self._length_buckets else 0
        if not length:
            return arguments, None
        padded = Padded(length, fitting(length, self._length_buckets))
        filled = pad_length(arguments, padded.bucket, self._pad_value, self.batch_dimension)
        return filled, padded

    def to_own_length(self, result: Any, padded: Padded | None) -> Any:
        """Return a request's part of a result without what filling it up added."""
        if padded is None:
            return result
        return cut_length(result, padded.bucket, padded.length, self.batch_dimension)

    def to_allowed_size(self, arguments: Arguments, rows: int) -> tuple[Arguments, int]:
        """Return a joined call filled up to an allowed size, and the rows that were added."""
        more = fitting(rows, self._allowed_sizes) - rows
        if not rows or not more:
            return arguments, 0
        return pad_rows(arguments, rows, more, self.batch_dimension), more

    def invoke(self, arguments: Arguments, context: Context) -> Any:
        """Call the handler; whatever it raises comes out.

        Except where a model refused the columns of a table that declares none, or values of rows.

        Raises:
            InvalidInput: it did (the remote caller's fault).
        """
        if not self._row_parameters:
            return self._call(arguments, context)
        try:
            result = self._call(arguments, context)
        except Exception as error:
            handlers.raise_shown(self._blamed(error, arguments, context), error)
        return self._awaited(result, arguments, context) if inspect.iscoroutine(result) else result

    async def invoke_async(self, arguments: Arguments, context: Context) -> Any:
        """Call and await an async handler; whatever it raises comes out (see `invoke`)."""
        if self._propagation is None or TRACEPARENT not in context.headers:
            return await self.invoke(arguments, context)
        token = self._propagation.attach(context.headers)
        try:
            return await self.invoke(arguments, context)
        finally:
            self._propagation.detach(token)

    async def _awaited(self, result: Awaitable[Any], arguments: Arguments, context: Context) -> Any:
        try:
            return await result
        except Exception as error:
            handlers.raise_shown(self._blamed(error, arguments, context), error)

    def _blamed(self, error: Exception, arguments: Arguments, context: Context) -> Exception:
        """Return the error that says whose fault rows are."""
        given = (*arguments.args, *arguments.kwargs.values())
        refused = refused_columns(error, self._open_tables, given) if self._open_tables else None
        what = "columns its model refuses, which it does not declare with dosirak.Columns"
        if refused is None:
            refused = refused_values(error, given, self._row_parameters)
            what = "values its model refuses"
        if refused is None:
            if self._open_tables:
                advise(error, self._open_tables)
            return error
        _log.warning(
            "The api %s was sent rows whose %s [request %s]: %s",
            self.spec.name,
            what,
            context.request_id,
            error,
            extra={"request_id": context.request_id},
        )
        return refused

    def shared_context(self, contexts: Sequence[Context]) -> Context:
        """Return the context of one call for all of these callers."""
        return shared_by(contexts) if self._calls_others else Context()

    def _call(self, arguments: Arguments, context: Context) -> Any:
        # A joined call belongs to many requests, and has no headers.
        if self._propagation is None or TRACEPARENT not in context.headers:
            return self._call_in_context(arguments, context)
        token = self._propagation.attach(context.headers)
        try:
            return self._call_in_context(arguments, context)
        finally:
            self._propagation.detach(token)

    def _call_in_context(self, arguments: Arguments, context: Context) -> Any:
        if not self._calls_others:
            return self._call_handler(arguments, context)
        with calling_for(context):
            return within_call(self._call_handler(arguments, context), context)

    def _call_handler(self, arguments: Arguments, context: Context) -> Any:
        if self.spec.context_parameter is None:
            return self._handler(*arguments.args, **arguments.kwargs)
        return self._handler(
            *arguments.args, **arguments.kwargs, **{self.spec.context_parameter: context}
        )

    def check_count(self, result: Any, arguments: Arguments, context: Context) -> None:
        """Let a lone call's result through that has as many rows as its request.

        Raises:
            ResultError: it has another number of them (the service's fault).
        """
        try:
            check_count(result, arguments, self.batch_dimension)
        except BaseException as error:
            handlers.raise_shown(
                handlers.encoding_error(error, api=self.spec.name, request_id=context.request_id),
                error,
            )

    def encode(self, result: Any, request: WireRequest, context: Context) -> WireResponse:
        """Write a result; raises only `DosirakError`."""
        try:
            kind = type(result)
            if kind not in _PLAIN and (kind is GeneratorType or hasattr(kind, "__await__")):
                raise ResultError(
                    f"The api {self.spec.name!r} returned a {type(result).__name__}.",
                    remedy="Make the handler itself async, or a generator function.",
                )
            return with_context(self.spec.codec.encode(result, request), context)
        except BaseException as error:
            handlers.raise_shown(
                handlers.encoding_error(error, api=self.spec.name, request_id=context.request_id),
                error,
            )

    def encode_error(
        self, error: DosirakError, request: WireRequest, context: Context
    ) -> WireResponse:
        """Write an error as the codec does; a codec that cannot is written around."""
        try:
            return self.spec.codec.encode_error(error, request, request_id=context.request_id)
        except Exception:
            _log.exception("Writing an error of %s raised.", self.spec.name)
            return problem_response(error, request_id=context.request_id)

    def note_split(self, *, fits: bool) -> None:
        """Stop joining when the handler does not return a row for each row, again and again."""
        self._misfits = 0 if fits else self._misfits + 1
        if self._misfits >= _MOST_MISFITS and self.joins:
            self.joins = False
            _log.error(
                "The api %s does not return one row for each row it is given: its requests are"
                " not joined any more. Correct it, or make it batchable=False.",
                self.spec.name,
            )

    def encode_stream(self, items: Any, request: WireRequest, context: Context) -> WireStream:
        """Write a generator's items; raises only `DosirakError`."""
        try:
            stream = with_context(self.spec.codec.encode_stream(items, request), context)
            chunks = handlers.close_with(stream.chunks, items)
            where = {"api": self.spec.name, "request_id": context.request_id}
            return replace(stream, chunks=handlers.note_outcome(chunks, stream.outcome, **where))
        except BaseException as error:
            handlers.raise_shown(
                handlers.encoding_error(error, api=self.spec.name, request_id=context.request_id),
                error,
            )
