"""What a trusted proxy says of its callers: who they are, how they came, under which prefix.

Only believed where nobody but such a proxy can connect (`HttpOptions.behind_proxy`). The proxy has
taken the prefix off the path; it is put before every address that an answer names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

PREFIX_KEY = "dosirak.prefix"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,128}){1,8}", re.ASCII)
_SCHEMES = {
    ("http", "http"): "http",
    ("http", "https"): "https",
    ("websocket", "http"): "ws",
    ("websocket", "https"): "wss",
}


def believe(scope: MutableMapping[str, Any], headers: Mapping[str, str]) -> None:
    """Put what the proxy says into the scope of a request."""
    address = forwarded_client(headers)
    if address:
        scope["client"] = (address, 0)
    scheme = _SCHEMES.get((scope["type"], headers.get("x-forwarded-proto", "").lower()))
    if scheme is not None:
        scope["scheme"] = scheme
    prefix = headers.get("x-forwarded-prefix", "").rstrip("/")
    if _PREFIX.fullmatch(prefix) and "/.." not in prefix:
        scope[PREFIX_KEY] = prefix


def forwarded_client(headers: Mapping[str, str]) -> str:
    """Return the address that the proxy was called from, which it adds last; empty for none."""
    said = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(said))
    except ValueError:
        return ""


def prefix_of(scope: Mapping[str, Any]) -> str:
    """Return what callers write before the path of a request; empty for nothing."""
    return str(scope.get(PREFIX_KEY, ""))
