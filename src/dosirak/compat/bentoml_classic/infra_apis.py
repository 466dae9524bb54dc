"""The endpoints that every 0.13 server had beside the service's own: metadata, feedback, docs.json.

They are ordinary apis with a fixed wire. (`/healthz` and `/metrics` are the server's own.)
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from dosirak.compat.bentoml_classic.bundle.description import Description
from dosirak.compat.bentoml_classic.codec import JSON, TEXT, error_response
from dosirak.compat.bentoml_classic.exceptions import BadInput
from dosirak.compat.bentoml_classic.metadata import service_metadata
from dosirak.compat.bentoml_classic.open_api import open_api_document
from dosirak.compat.bentoml_classic.service import BentoService
from dosirak.errors import DosirakError, ResultError
from dosirak.payload.wire import Arguments, WireRequest, WireResponse, WireStream
from dosirak.spec.service_spec import ApiSpec

_feedback_log = logging.getLogger("bentoml.feedback")


class _FixedCodec:
    """Gives the handler the body and sends back the text it returns."""

    def __init__(self, *, media_type: str, reads_json: bool = False) -> None:
        self._media_type = media_type
        self._reads_json = reads_json

    def decode(self, request: WireRequest) -> Arguments:
        """Read a JSON object, or nothing."""
        if not self._reads_json:
            return Arguments()
        try:
            body: object = json.loads(bytes(request.body))
        except (ValueError, RecursionError) as error:
            raise BadInput("Failed parsing feedback JSON data") from error
        if not isinstance(body, dict) or not body:
            raise BadInput("Failed parsing feedback JSON data")
        if "request_id" not in body:
            raise BadInput("Missing 'request_id' in feedback JSON data")
        return Arguments(args=(body,))

    def encode(self, result: Any, request: WireRequest) -> WireResponse:
        """Send the text."""
        return WireResponse(body=str(result).encode(), content_type=self._media_type)

    def encode_stream(
        self, items: AsyncIterator[Any] | Iterator[Any], request: WireRequest
    ) -> WireStream:
        """Refuse: nothing here streams."""
        raise ResultError("This endpoint cannot stream.", remedy="Read the whole answer.")

    def encode_error(
        self, error: DosirakError, request: WireRequest, *, request_id: str = ""
    ) -> WireResponse:
        """Write the error as plain text."""
        return error_response(error)

    def describe(self) -> dict[str, Any]:
        """Say what travels."""
        root = {"name": "body", "required": True, "root": True, "schema": {"type": "object"}}
        return {
            "parameters": [root] if self._reads_json else [],
            "returns": {},
            "streams": False,
            "request_media_types": [JSON] if self._reads_json else [],
            "response_media_types": [self._media_type],
        }


def infra_apis(description: Description | None) -> tuple[ApiSpec, ...]:
    """Return the endpoints; `/metadata` only for a saved service, which alone has any."""
    feedback = ApiSpec(
        name="feedback",
        route="/feedback",
        codec=_FixedCodec(media_type=TEXT, reads_json=True),
        bind=_feedback,
        doc="Say how good an answer was, by the request id in its header.",
    )
    document = ApiSpec(
        name="docs_json",
        route="/docs.json",
        codec=_FixedCodec(media_type=JSON),
        bind=lambda service: lambda: json.dumps(open_api_document(service)),
        methods=("GET",),
        doc="The OpenAPI description.",
    )
    if description is None:
        return feedback, document
    # 0.13 sent the JSON text inside a JSON string, and its clients parse twice.
    text = json.dumps(json.dumps(service_metadata(description), indent=2))
    metadata = ApiSpec(
        name="metadata",
        route="/metadata",
        codec=_FixedCodec(media_type=JSON),
        bind=lambda _service: lambda: text,
        methods=("GET",),
        doc="What the service is, from its bentoml.yml.",
    )
    return metadata, feedback, document


def _feedback(service: BentoService) -> Any:
    def log_feedback(body: dict[str, Any]) -> str:
        record = {**body, "service_name": service.name, "service_version": service.version}
        _feedback_log.info("%s", json.dumps(record))
        return "success"

    return log_feedback
