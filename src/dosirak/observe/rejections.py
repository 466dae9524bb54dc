"""Why a request was refused without running, in a fixed few words for metrics. Pure."""

from __future__ import annotations

from dosirak.errors import DeadlineExceeded, DosirakError, QuarantinedInput, Unavailable

QUEUE_FULL = "queue_full"
TOO_LATE = "too_late"
EXPIRED = "expired"
NOT_READY = "not_ready"
QUARANTINED = "quarantined"

_BY_STATUS = {429: QUEUE_FULL, 503: NOT_READY}


def rejection_of(error: DosirakError) -> str:
    """Return why a request was not run; empty when it was, or was never fit to be."""
    if isinstance(error, QuarantinedInput):
        return QUARANTINED
    if not isinstance(error, Unavailable):
        return ""
    if error.rejection or isinstance(error, DeadlineExceeded):
        # Past its deadline it may have been running: only who knows better says so.
        return error.rejection
    return _BY_STATUS.get(error.http_status, "")
