"""Where a service answers: the URL that a person gave, checked and split from its credentials.

Whatever is shown to a person or written to a log is `Address.base`, which never holds a credential.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

from dosirak.errors import InvalidConfiguration

# Sub-delimiters that a path may hold unescaped (RFC 3986, section 3.3), and `%` of those escaped.
_PATH_SAFE = "/-._~!$&'()*+,;=:@%"


@dataclass(frozen=True, slots=True)
class Address:
    """A service's base URL and the credential to send there.

    Attributes:
        base: scheme, host, port and path; no credential, no trailing slash.
        authorization: the value of the `Authorization` header; empty for none.
    """

    base: str
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> Self:
        """Check `url` and take the credential from it or from `token`.

        Raises:
            InvalidConfiguration: the address or the token cannot be used (the caller's fault).
        """
        parts, port = _split(url)
        userinfo, _, _ = parts.netloc.rpartition("@")
        if userinfo and token:
            raise InvalidConfiguration(
                "The address holds a user name and a token was given as well.",
                remedy="Give one of them.",
            )
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        at = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
        path = quote(parts.path, safe=_PATH_SAFE).rstrip("/")
        return cls(base=at + path, authorization=_authorization(userinfo, token))

    def at(self, path: str) -> str:
        """Return the URL of `path`, which begins with `/`, under this address."""
        return self.base + quote(path, safe=_PATH_SAFE)


def _split(url: str) -> tuple[SplitResult, int | None]:
    if any(character <= " " or character == "\x7f" for character in url):
        raise _unusable("holds a space or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _unusable("cannot be read") from error
    if parts.scheme not in ("http", "https"):
        raise _unusable("does not begin with http:// or https://")
    if not parts.hostname:
        raise _unusable("names no host")
    if parts.query or parts.fragment:
        raise _unusable("has a query or a fragment")
    return parts, port


def _unusable(reason: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"The address {reason}.",
        remedy="Give the service's address, such as http://127.0.0.1:3000.",
    )


def _authorization(userinfo: str, token: str | None) -> str:
    if token is not None:
        return f"Bearer {_checked_token(token)}"
    if not userinfo:
        return ""
    user, _, password = userinfo.partition(":")
    credential = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {b64encode(credential).decode('ascii')}"


def _checked_token(token: str) -> str:
    if not token or not all("!" <= character <= "~" for character in token):
        raise InvalidConfiguration(
            "The token is empty or holds a character that a header cannot carry.",
            remedy="Give the token as it was issued: visible ASCII characters, no spaces.",
        )
    return token
