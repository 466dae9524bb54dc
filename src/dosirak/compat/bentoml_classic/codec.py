"""Bytes ↔ tasks and results, for one classic api on the ordinary server.

    WireRequest ─decode─▶ [task] ─handler─▶ [result] ─encode─▶ WireResponse

The handler takes a list of tasks and returns as many results, so that the server may join requests
by joining lists. What is wrong with a request is known before it joins a batch. Errors travel as
0.13 sent them: plain text under the status.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

from dosirak.compat.bentoml_classic.exceptions import BadInput
from dosirak.compat.bentoml_classic.inference_api import FAILED, InferenceAPI
from dosirak.compat.bentoml_classic.types import HTTPHeaders, HTTPRequest, InferenceResult
from dosirak.errors import DosirakError, ResultError, ServiceError
from dosirak.payload.hints import read_hint
from dosirak.payload.schema import schema_of
from dosirak.payload.wire import Arguments, WireRequest, WireResponse, WireStream

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class ClassicCodec:
    """The wire of one api, as its pair of adapters defines it.

    Args:
        api: the api, bound to any instance: only its adapters are used.
        body_name: what a client calls the value that is the body.
    """

    def __init__(self, api: InferenceAPI, body_name: str) -> None:
        self._api = api
        self._body_name = body_name

    def decode(self, request: WireRequest) -> Arguments:
        """Make the task of one request and prepare it.

        Raises:
            BadInput: the adapter refused the request (the remote caller's fault).
        """
        # The server has inflated the body already.
        headers = {k: v for k, v in request.headers.items() if k != "content-encoding"}
        if request.content_type:
            headers["content-type"] = request.content_type
        adapter = self._api.input_adapter
        http_request = HTTPRequest(HTTPHeaders(headers), bytes(request.body))
        task = adapter.from_http_request(http_request)
        task.http_method = request.method
        if not task.is_discarded:
            adapter.prepare(task)
        if task.error is not None and task.error.http_status == BadInput.http_status:
            raise BadInput(task.error.err_msg)
        return Arguments(args=([task],))

    def encode(self, result: Any, request: WireRequest) -> WireResponse:
        """Write one caller's result.

        Raises:
            ResultError: there is not exactly one result (the service's fault).
        """
        if not isinstance(result, list | tuple) or len(result) != 1:
            raise ResultError("An api did not give one result for each request.")
        own: InferenceResult[Any] = result[0]
        response = self._api.output_adapter.to_http_response(own)
        headers = response.headers
        content_type = headers.pop("content-type", TEXT if own.err_msg else JSON)
        body = response.body or b""
        return WireResponse(
            body=body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            status=response.status,
            headers=tuple(headers.items()),
        )

    def encode_stream(
        self, items: AsyncIterator[Any] | Iterator[Any], request: WireRequest
    ) -> WireStream:
        """Refuse: classic apis do not stream."""
        return _no_stream()

    def encode_error(
        self, error: DosirakError, request: WireRequest, *, request_id: str = ""
    ) -> WireResponse:
        """Write an error as plain text; what user code raised stays in the log."""
        return error_response(error)

    def describe(self) -> dict[str, Any]:
        """Say what travels as a client in Python sees it; docs.json has the adapter's own."""
        taken = self._api.input_adapter.caller_input
        parameters = [
            {
                "name": name or self._body_name,
                "required": taken.required,
                "root": not name,
                "schema": schema_of(read_hint(hint, where=self._api.name, name=name)),
            }
            for name, hint in taken.hints.items()
        ]
        return {
            "parameters": parameters,
            "returns": {},
            "streams": False,
            "request_media_types": list(taken.media_types),
            "response_media_types": [JSON],
        }


def error_response(error: DosirakError) -> WireResponse:
    """Write an error as 0.13 did: plain text under the status."""
    text = FAILED if isinstance(error, ServiceError) else error.message
    return WireResponse(body=text.encode(), content_type=TEXT, status=error.http_status)


def _no_stream() -> NoReturn:
    raise ResultError("A classic api cannot stream.", remedy="Return one result for each input.")
