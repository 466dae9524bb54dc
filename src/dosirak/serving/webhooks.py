"""Who may be told of a task's end, and what they are told, signed (Standard Webhooks). Pure.

A destination comes from whoever submits a task, so it is believed only when it is under one of the
addresses that the operator allows; none is allowed by default. Then no caller can make the server
knock on doors of its own network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from dosirak.errors import Forbidden, InvalidConfiguration, RequestError
from dosirak.serving.listener import is_loopback
from dosirak.serving.task_store import Delivery, as_json, moment

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
# The first is at once. After the last it is given up: a day, as long as results are kept.
WAITS_S = (5.0, 30.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
GONE = 410
_LEAST_SECRET_BYTES = 24
_MOST_SECRET_BYTES = 64
_MOST_URL_CHARACTERS = 2048
# What is larger is to be fetched: receivers refuse large bodies.
_MOST_RESULT_BYTES = 16 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


class WebhookPlan(msgspec.Struct, frozen=True):
    """Who may be told, and what proves that it was us.

    Attributes:
        allowed: addresses under which destinations must be, such as `https://example.com/hooks/`.
        secret: the key of signatures, `whsec_` and base64.
    """

    allowed: tuple[str, ...] = ()
    secret: str = ""

    def __repr__(self) -> str:
        return f"WebhookPlan(allowed={self.allowed!r}, secret=…)"

    def check(self) -> None:
        """Refuse now what would fail later.

        Raises:
            InvalidConfiguration: an address or the secret cannot be used (the caller's fault).
        """
        for address in self.allowed:
            _check_allowed(address)
        if self.allowed:
            key_of(self.secret)

    def destination(self, url: str) -> str:
        """Return a caller's destination if it is allowed.

        Raises:
            RequestError: it is no address (the remote caller's fault).
            Forbidden: it is not under an allowed address.
        """
        parts = _parsed(url) if len(url) <= _MOST_URL_CHARACTERS else None
        if parts is None:
            raise RequestError(
                "The webhook is not a URL that can be called.",
                remedy="Send an absolute URL without credentials in X-Task-Webhook.",
            )
        if not any(_is_under(parts, allowed) for allowed in map(_parsed, self.allowed) if allowed):
            raise Forbidden(
                "This server sends no webhooks to that address.",
                remedy="Ask its operator to allow the address (--task-webhook-allow).",
            )
        return url


def _parsed(url: str) -> SplitResult | None:
    """Return the parts of an address that nobody can read in two ways."""
    if any(not "!" <= character <= "~" or character in '\\"<>^`{|}' for character in url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return None if "#" in url or _is_ambiguous(parts.path) else parts


def _is_ambiguous(path: str) -> bool:
    """Say whether a server may see other steps in a path than were checked."""
    plain = path
    while (decoded := unquote(plain)) != plain:
        plain = decoded
    if any(plain.count(separator) != path.count(separator) for separator in "/\\;"):
        return True
    # `..` may be resolved, however it is written, and some cut `;…` from a step before they do.
    return any(step.partition(";")[0] in {".", ".."} for step in plain.split("/"))


def _is_under(url: SplitResult, allowed: SplitResult) -> bool:
    if _origin(url) != _origin(allowed):
        return False
    base = allowed.path.rstrip("/")
    return url.path == base or url.path.startswith(f"{base}/") or not base


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]


def _check_allowed(address: str) -> None:
    parts = _parsed(address)
    if parts is None or parts.query:
        raise InvalidConfiguration(
            f"Webhooks cannot be allowed to {address!r:.200}.",
            remedy="Write a scheme, a host and, if you like, a path: https://example.com/hooks/.",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise InvalidConfiguration(
            f"Webhooks to {address!r:.200} would be readable on the way.",
            remedy="Use https; http is for this machine only.",
        )


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret.

    Raises:
        InvalidConfiguration: it is none (the caller's fault).
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not (
        _LEAST_SECRET_BYTES <= len(key) <= _MOST_SECRET_BYTES
    ):
        raise InvalidConfiguration(
            "Webhooks need a secret to be signed with.",
            remedy=f"Give {SECRET_PREFIX} and the base64 of 24 to 64 random bytes, in a file named"
            " by --task-webhook-secret-file or in DOSIRAK_WEBHOOK_SECRET.",
        )
    return key


def body_of(delivery: Delivery, now_s: float) -> bytes:
    """Return what is told of a task's end; the same in every attempt, but for the time."""
    told: dict[str, object] = {**as_json(delivery.task), "api": delivery.task.api}
    answer = delivery.answer
    if answer is not None:
        told["http_status"] = answer.status
        told["content_type"] = answer.content_type
        if answer.content_type == "application/json" and len(answer.body) <= _MOST_RESULT_BYTES:
            told["result" if answer.status < 400 else "error"] = msgspec.Raw(bytes(answer.body))
    kind = f"task.{delivery.task.status}"
    return msgspec.json.encode({"type": kind, "timestamp": moment(now_s), "data": told})


def headers_of(task_id: str, body: bytes, *, now_s: float, key: bytes) -> Mapping[str, str]:
    """Return the headers that prove who sent a body, and when.

    Args:
        task_id: the same in every attempt, so that a receiver can know a repetition.
        body: what is sent.
        now_s: the time of the attempt.
        key: what only sender and receiver know.
    """
    at_s = str(int(now_s))
    signed = f"{task_id}.{at_s}.".encode("ascii") + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")
    return {
        "content-type": "application/json",
        "webhook-id": task_id,
        "webhook-timestamp": at_s,
        "webhook-signature": f"v1,{signature}",
    }


def again_in_s(attempts: int, status: int, draw: float) -> float | None:
    """Return how long to wait for the next attempt; None when it is over, told or given up.

    Args:
        attempts: how many were made.
        status: what the last was answered; 0 when it was not.
        draw: a random number in [0, 1).
    """
    if 200 <= status < 300 or status == GONE or attempts > len(WAITS_S):
        return None
    return WAITS_S[attempts - 1] * (0.9 + 0.2 * draw)
