"""Why an attempt failed: the error to report, and how far the request got. Pure.

A failure is what an exception of the HTTP library, or an unsuccessful answer, means to `retry`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2

from dosirak.client.answer import Answer, error_of_answer, unreadable
from dosirak.client.retry import REPEATABLE_STATUSES, Reach, retry_after_s
from dosirak.errors import DeadlineExceeded, DosirakError, InvalidConfiguration, Unavailable


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that did not succeed.

    Attributes:
        cause: the HTTP library's exception, if one was raised.
        retry_after_s: what the server asked for.
    """

    error: DosirakError
    reach: Reach
    cause: Exception | None = None
    retry_after_s: float | None = None


def failure_of_answer(answer: Answer, *, url: str) -> Failure:
    """Judge an answer whose status is not 2xx."""
    header = answer.headers.get("retry-after")
    return Failure(
        error=error_of_answer(answer, url=url),
        reach=Reach.SENT if answer.status in REPEATABLE_STATUSES else Reach.FINAL,
        retry_after_s=None if header is None else retry_after_s(header, now=datetime.now(UTC)),
    )


def was_refused(error: BaseException) -> bool:
    """Whether an error comes from a connection that was refused: nothing listens there."""
    return any(isinstance(link, ConnectionRefusedError) for link in _links(error))


def failure_of_exception(error: Exception, *, url: str, timeout_s: float) -> Failure:
    """Judge an exception of the HTTP library."""
    for kinds, judge in _JUDGES:
        if isinstance(error, kinds):
            return judge(error, url, timeout_s)
    return _broken(error, url, timeout_s)


def _timed_out(error: Exception, url: str, timeout_s: float) -> Failure:
    unsent = isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout)
    late = DeadlineExceeded(
        f"{url} did not accept a connection in time."
        if unsent
        else f"{url} did not answer within {timeout_s:g} s.",
        remedy="Allow more time with timeout_s, or see whether the service is overloaded.",
    )
    return Failure(late, Reach.UNSENT if unsent else Reach.FINAL, error)


def _unconnected(error: Exception, url: str, timeout_s: float) -> Failure:
    if any(isinstance(link, ssl.SSLError) for link in _links(error)):
        distrust = Unavailable(
            f"No trusted connection to {url} can be made.",
            remedy="Check the server's certificate, and whether the address begins with https://;"
            " of an authority of your own, name the certificate with SSL_CERT_FILE.",
        )
        return Failure(distrust, Reach.FINAL, error)
    refused = was_refused(error)
    unreachable = Unavailable(
        f"Nothing answers at {url}{': the connection was refused' if refused else ''}.",
        remedy="Check the address, and that the service is running.",
    )
    return Failure(unreachable, Reach.UNSENT, error)


def _unsendable(error: Exception, url: str, timeout_s: float) -> Failure:
    wrong = InvalidConfiguration(
        f"The request to {url} cannot be sent as HTTP.",
        remedy="Check the address, the headers and the token.",
    )
    return Failure(wrong, Reach.FINAL, error)


def _undecodable(error: Exception, url: str, timeout_s: float) -> Failure:
    return Failure(unreadable(url), Reach.FINAL, error)


def _broken(error: Exception, url: str, timeout_s: float) -> Failure:
    lost = Unavailable(
        f"The connection to {url} broke, or carried something other than HTTP, before the whole"
        " answer had arrived.",
        remedy="Try again if repeating the call does no harm; the service may have carried it out.",
    )
    return Failure(lost, Reach.SENT, error)


# Narrower kinds first. What is none of these is a broken connection.
_JUDGES = (
    (httpx2.TimeoutException, _timed_out),
    ((httpx2.ConnectError, httpx2.ProxyError), _unconnected),
    ((httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.InvalidURL), _unsendable),
    ((httpx2.DecodingError, UnicodeError), _undecodable),
)


def _links(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
