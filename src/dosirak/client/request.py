"""What is to be sent: one HTTP request as a value, before any connection exists. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from dosirak.errors import InvalidConfiguration

# Tells the service how long the caller will wait, so that it need not work for nobody.
TIMEOUT_HEADER = "X-Request-Timeout"
# A header longer than this is refused by the service: it is then as good as none.
_LONGEST_TIMEOUT_MS = 10**12


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """One HTTP request.

    Attributes:
        url: the whole URL, without credentials.
        idempotent: carrying it out twice does no harm.
        whole: the answer is read to its end; otherwise it is left open, to be read piece by piece.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)
    idempotent: bool = True
    whole: bool = True

    def headers_within(self, timeout_s: float) -> dict[str, str]:
        """Return the headers to send when `timeout_s` are left for the whole answer.

        A stream carries no deadline: it may take as long as it goes on.
        """
        headers = dict(self.headers)
        if self.whole and math.isfinite(timeout_s):
            milliseconds = min(_LONGEST_TIMEOUT_MS, max(1, math.ceil(timeout_s * 1000)))
            headers[TIMEOUT_HEADER] = str(milliseconds)
        return headers


def with_query(url: str, **parameters: str) -> str:
    """Return `url`, which has no query yet, with one."""
    return f"{url}?{urlencode(parameters)}"


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a caller's own headers.

    Raises:
        InvalidConfiguration: one cannot be sent as a header (the caller's fault).
    """
    for name, value in headers.items():
        if not name or not set(name) <= _NAME_CHARACTERS or not _is_value(value):
            raise InvalidConfiguration(
                f"{name!r} and its value cannot be sent as a header.",
                remedy="Use letters, digits and '-' in the name, one line of ASCII in the value.",
            )
    return dict(headers)


_NAME_CHARACTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
)


def _is_value(value: str) -> bool:
    printable = all(" " <= character <= "~" or character == "\t" for character in value)
    return printable and value == value.strip()
