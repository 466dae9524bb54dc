"""What the router answers by itself, in the project's words: one JSON object for every error.

Routes that answer at once say so by a status of this file's own (`Refusal`); what fails on the way
is told apart by Envoy's response flags. Both are worded in one place, `local_reply_config`, so that
routes stay small. What differs from deployment to deployment is in the metadata of the route.
"""

from __future__ import annotations

from enum import IntEnum

from dosirak.deployment.router.resources import METADATA, Resource, header, literal
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

REASON, REMEDY = "reason", "remedy"
_REQUEST_ID = "%REQ(X-REQUEST-ID)%"
_AGAIN = "Try again in a moment."
_RETRY_AFTER = ("retry-after", "1")


class Refusal(IntEnum):
    """Statuses between a route and its wording; no caller sees them."""

    UNKNOWN_DEPLOYMENT = 570
    UNKNOWN_REVISION = 571
    FOREIGN_HOST = 572
    NO_REPLICA = 573
    AT_REST = 574


def refusal(kind: Refusal) -> Resource:
    """Return the part of a route that answers at once."""
    return {"direct_response": {"status": int(kind)}}


def local_reply_config() -> Resource:
    """Return how Envoy's own answers are worded; the first that fits counts."""
    return {
        "mappers": [
            _mapper(_status(Refusal.UNKNOWN_DEPLOYMENT), _NO_DEPLOYMENT),
            _mapper(_status(Refusal.UNKNOWN_REVISION), _NO_REVISION),
            _mapper(_status(Refusal.FOREIGN_HOST), _FOREIGN_HOST),
            # The reason is the deployment's own, in the metadata of the route.
            _mapper(_status(Refusal.NO_REPLICA), _UNREACHABLE, _RETRY_AFTER, error=_THE_REASON),
            # Nothing comes by itself: who tries again asks in vain.
            _mapper(_status(Refusal.AT_REST), _UNREACHABLE, error=_THE_REASON, remedy=_THE_REMEDY),
            _mapper(_flags("NR"), _NO_DEPLOYMENT),
            _mapper(_flags("UO"), _FULL, _RETRY_AFTER),
            _mapper(_flags("UT", "SI"), _TOO_LATE),
            _mapper(_flags("UH", "UF", "NC", "LH"), _UNREACHABLE, _RETRY_AFTER),
            _mapper(_flags("UC", "UR", "UPE"), _LOST),
            _mapper(_status(400), RequestError("The request is not well-formed HTTP.")),
            _mapper(_status(408), RequestTooSlow("The request did not arrive in time.")),
            _mapper(_status(413), PayloadTooLarge("The body is larger than the router takes.")),
            _mapper(_status(431), HeadTooLarge("The target and headers are too large.")),
        ]
    }


def _mapper(
    condition: Resource,
    problem: DosirakError,
    *headers: tuple[str, str],
    error: str = "",
    remedy: str = "",
) -> Resource:
    body = {
        "error": error or literal(problem.message),
        "code": problem.code,
        "remedy": remedy or literal(problem.remedy),
        "fields": [],
        # As JSON, so that no caller's id writes beyond it.
        "request_id": _REQUEST_ID,
    }
    return {
        "filter": condition,
        "status_code": problem.http_status,
        "body_format_override": {"json_format": body},
        "headers_to_add": [header(name, value) for name, value in headers],
    }


def _flags(*flags: str) -> Resource:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> Resource:
    value = {"default_value": int(status), "runtime_key": f"dosirak.status_{int(status)}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


_THE_REASON = f"%METADATA(ROUTE:{METADATA}:{REASON})%"
_THE_REMEDY = f"%METADATA(ROUTE:{METADATA}:{REMEDY})%"
_NO_DEPLOYMENT = DeploymentNotFound(
    "No deployment is served at this address.",
    remedy="`dosirak deployment list` shows the deployments and their addresses.",
)
_NO_REVISION = RevisionNotFound(
    "The deployment serves no such revision now.",
    remedy="`dosirak deployment history` lists its revisions.",
)
_FOREIGN_HOST = MisdirectedRequest(
    "The router does not answer for that host name.",
    remedy="Use localhost, or add the name to the deployment's hosts.",
)
_FULL = Unavailable("The deployment has as many requests as it may.", remedy=_AGAIN)
_TOO_LATE = DeadlineExceeded(
    "The answer was not ready within the time allowed.",
    remedy="Raise the deployment's timeout_s, or ask for less at a time.",
)
_UNREACHABLE = Unavailable("No replica can be reached.", remedy=_AGAIN)
_LOST = WorkerLost(
    "The replica that had this request was lost before it answered.",
    remedy="Send it again if it may run twice; name the api idempotent to have that done.",
)
