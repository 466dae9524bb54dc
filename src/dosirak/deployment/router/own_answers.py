"""What the router answers by itself, in the project's words: one JSON object for every error.

Two ways lead here: routes that answer at once (`refusal`), and answers that Envoy makes when
something fails on the way (`local_reply_config`), which are told apart by Envoy's response flags.
"""

from __future__ import annotations

from collections.abc import Iterable

from dosirak.deployment.router.resources import Resource, header, literal
from dosirak.errors import (
    DeadlineExceeded,
    DeploymentNotFound,
    DosirakError,
    HeadTooLarge,
    MisdirectedRequest,
    PayloadTooLarge,
    RequestError,
    RequestTooSlow,
    RevisionNotFound,
    Unavailable,
    WorkerLost,
)

_REQUEST_ID = "%REQ(X-REQUEST-ID)%"
RETRY_AFTER = ("retry-after", "1")
_NO_DEPLOYMENT = DeploymentNotFound(
    "No deployment is served at this address.",
    remedy="`dosirak deployment list` shows the deployments and their addresses.",
)


def unknown_deployment() -> Resource:
    """Return the answer to a path that names no deployment."""
    return refusal(_NO_DEPLOYMENT)


def unknown_revision(deployment: str) -> Resource:
    """Return the answer to a pin to a revision that is not kept."""
    return refusal(
        RevisionNotFound(
            f"The deployment {deployment!r} serves no such revision now.",
            remedy=f"`dosirak deployment history {deployment}` lists its revisions.",
        )
    )


def foreign_host() -> Resource:
    """Return the answer to a request that was meant for another machine."""
    return refusal(
        MisdirectedRequest(
            "The router does not answer for that host name.",
            remedy="Use localhost, or add the name to the deployment's hosts.",
        )
    )


def unavailable(reason: str) -> Resource:
    """Return the answer while there is no replica."""
    return refusal(Unavailable(reason, remedy="Try again in a moment."), (RETRY_AFTER,))


def refusal(error: DosirakError, headers: Iterable[tuple[str, str]] = ()) -> Resource:
    """Return the parts of a route that answers with an error."""
    return {
        "direct_response": {
            "status": error.http_status,
            "body_format": _format(error),
        },
        "response_headers_to_add": [
            header("content-type", "application/json"),
            *(header(name, value) for name, value in headers),
        ],
    }


def local_reply_config() -> Resource:
    """Return how Envoy's own answers are worded; the first that fits counts."""
    return {"mappers": [*_FAILURES, *_BY_STATUS]}


def _format(error: DosirakError) -> Resource:
    body = {
        "error": error.message,
        "code": error.code,
        "remedy": error.remedy,
        "fields": [],
        "request_id": _REQUEST_ID,
    }
    # The id is the one thing that Envoy fills in: as JSON, so that none can write beyond it.
    escaped = {name: literal(value) for name, value in body.items() if isinstance(value, str)}
    return {"json_format": {**body, **escaped, "request_id": _REQUEST_ID}}


def _mapper(condition: Resource, error: DosirakError, *headers: tuple[str, str]) -> Resource:
    return {
        "filter": condition,
        "status_code": error.http_status,
        "body_format_override": _format(error),
        "headers_to_add": [header(name, value) for name, value in headers],
    }


def _flags(*flags: str) -> Resource:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> Resource:
    comparison = {
        "op": "EQ",
        "value": {"default_value": status, "runtime_key": f"dosirak.status_{status}"},
    }
    return {"status_code_filter": {"comparison": comparison}}


_AGAIN = "Try again in a moment."
_FAILURES = (
    _mapper(_flags("NR"), _NO_DEPLOYMENT),
    _mapper(
        _flags("UO"),
        Unavailable("The deployment has as many requests as it may.", remedy=_AGAIN),
        RETRY_AFTER,
    ),
    _mapper(
        _flags("UT", "SI"),
        DeadlineExceeded(
            "The answer was not ready within the time allowed.",
            remedy="Raise the deployment's timeout_s, or ask for less at a time.",
        ),
    ),
    _mapper(
        _flags("UH", "UF", "NC", "LH"),
        Unavailable("No replica can be reached.", remedy=_AGAIN),
        RETRY_AFTER,
    ),
    _mapper(
        _flags("UC", "UR", "UPE"),
        WorkerLost(
            "The replica that had this request was lost before it answered.",
            remedy="Send it again if it may run twice; name the api idempotent to have that done.",
        ),
    ),
)
_BY_STATUS = (
    _mapper(_status(400), RequestError("The request is not well-formed HTTP.")),
    _mapper(_status(408), RequestTooSlow("The request did not arrive in the time allowed.")),
    _mapper(_status(413), PayloadTooLarge("The body is larger than the router takes.")),
    _mapper(_status(431), HeadTooLarge("The request's target and headers are too large.")),
)
