"""What came back: statuses, headers and bodies become results or errors. Pure.

Whatever a server sends, what leaves this file is a value or an error of the dosirak tree. An error
keeps the class that the server raised where both sides know its code; anything else is a
`RemoteError` that says where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from dosirak.errors import (
    DosirakError,
    FieldProblem,
    RemoteError,
    error_class,
)

# How much of a stranger's answer an error may quote.
_QUOTE_CHARACTERS = 200
_FIELDS_SHOWN = 1000
# Where the service itself says none.
NO_REMEDY = "See the service's log."
_NOT_DOSIRAK = "Check the address: it must be that of a dosirak service."


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The Content-Type header; empty when absent."""
        return self.headers.get("content-type", "")

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class WireError(msgspec.Struct):
    """The JSON body of an error, every part of it optional to a forgiving reader."""

    error: str = ""
    code: str = ""
    remedy: str | None = None
    fields: list[dict[str, Any]] | None = None
    request_id: str | None = None


def error_of_answer(answer: Answer, *, url: str) -> DosirakError:
    """Return the error that an unsuccessful answer stands for."""
    wire = _wire_error(answer.body)
    if wire is None:
        return _error_of_stranger(answer, url=url)
    return kindred(
        RemoteError(
            wire.error or f"{url} answered with status {answer.status}.",
            remedy=wire.remedy or NO_REMEDY,
            fields=tuple(_field_problems(wire.fields or ())),
            status=answer.status,
            remote_code=wire.code,
            request_id=wire.request_id or answer.headers.get("x-request-id", ""),
        )
    )


def kindred(error: RemoteError) -> DosirakError:
    """Return the error that the service raised, where its code is known here; else `error`."""
    kind = error_class(error.remote_code)
    # `remote` is met, not raised: a service that is itself a client of another passes it on so.
    if kind is None or kind is RemoteError:
        return error
    kin = kind(error.message, remedy=error.remedy, fields=error.fields)
    kin.request_id = error.request_id
    return kin


def unreadable(url: str, error: Exception | None = None, *, status: int = 200) -> RemoteError:
    """Return the error for an answer that is not what the service's schema promises."""
    # The reader's own words may quote the body at length; its class says enough.
    reason = f" ({error.message})" if isinstance(error, DosirakError) else ""
    return RemoteError(
        f"The answer from {url} is not what the service's schema promises{reason}.",
        remedy="Make a new client if the service has changed, or report it to its author.",
        status=status,
    )


def unlike_dosirak(url: str, *, status: int = 0) -> RemoteError:
    """Return the error for a server that answers, but not as dosirak does."""
    return RemoteError(
        f"The server at {url} does not describe a dosirak service.",
        remedy=_NOT_DOSIRAK,
        status=status,
    )


def json_object(answer: Answer, *, url: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RemoteError: the body is something else (the server's fault).
    """
    try:
        value = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(url, status=answer.status) from error
    if not isinstance(value, dict):
        raise unreadable(url, status=answer.status)
    return cast("dict[str, Any]", value)


def _wire_error(body: bytes) -> WireError | None:
    try:
        wire = msgspec.json.decode(body, type=WireError, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return wire if wire.error or wire.code else None


def _error_of_stranger(answer: Answer, *, url: str) -> DosirakError:
    """An error whose body is not ours: a proxy's, a gateway's, another server's."""
    if 300 <= answer.status < 400:
        place = answer.headers.get("location", "")[:_QUOTE_CHARACTERS]
        return RemoteError(
            f"{url} redirects to {place!r}; redirects are not followed.",
            remedy="Give the client the address that it redirects to, if you trust it.",
            status=answer.status,
        )
    return RemoteError(
        f"{url} answered with status {answer.status}{_quoted(answer)}",
        remedy=_STRANGER_REMEDIES.get(answer.status) or _remedy_for(answer),
        status=answer.status,
        request_id=answer.headers.get("x-request-id", ""),
    )


_STRANGER_REMEDIES = {
    401: "Give the client a token.",
    403: "Give the client a token that allows this.",
    404: _NOT_DOSIRAK,
    502: "See whether the service behind the gateway runs.",
    503: "Try again later.",
    504: "Try again later, or allow more time.",
}


def _remedy_for(answer: Answer) -> str:
    """Whoever says in plain text what is wrong, as classic services do, is at the right address."""
    if not answer.content_type.startswith("text/plain") or not answer.body.strip():
        return _NOT_DOSIRAK
    if answer.status >= 500:
        return "See the service's log."
    return "Change what is sent as the answer says."


def _quoted(answer: Answer) -> str:
    """The beginning of a plain text answer; a page of HTML helps nobody."""
    if not answer.content_type.startswith("text/plain"):
        return "."
    text = answer.body[: 4 * _QUOTE_CHARACTERS].decode("utf-8", "replace")
    line = "".join(character if character.isprintable() else " " for character in text)
    return f": {' '.join(line.split())[:_QUOTE_CHARACTERS]!r}." if line.strip() else "."


def _field_problems(fields: Any) -> Iterator[FieldProblem]:
    for entry in fields[:_FIELDS_SHOWN]:
        yield FieldProblem(str(entry.get("field", "")), str(entry.get("reason", "")))
