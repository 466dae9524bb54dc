"""What a person may set about serving over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Limits and credentials; the defaults are for one person on one machine.

    Attributes:
        token: callers must send it as `Authorization: Bearer`; None asks for nothing.
        allowed_hosts: names that Host may hold, without port; None allows any.
        max_body_bytes: largest request body, before and after decompression.
        timeout_s: longest time for a call whose api says nothing else.
        head_timeout_s: longest time for a request's head, from its first byte or from the
            connection's begin.
        max_head_bytes: largest target and headers together.
        max_headers: most headers.
        body_grace_s: time before a body must arrive at `body_bytes_per_s`.
        body_bytes_per_s: slowest pace of a body after that.
        admin_token: what whoever runs the server must send to the admin routes; None closes them.
        send_timeout_s: longest time for a client to take a piece of a stream.
        behind_proxy: whoever connects is a proxy whose `X-Forwarded-…` headers are believed.
        access_file: a file of hashes of the tokens that callers may have, in place of `token`;
            empty for none.
    """

    token: str | None = None
    allowed_hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    max_body_bytes: int = 100 * MEBIBYTE
    timeout_s: float = 60.0
    head_timeout_s: float = 10.0
    max_head_bytes: int = 64 * 1024
    max_headers: int = 200
    body_grace_s: float = 10.0
    body_bytes_per_s: int = 1024
    send_timeout_s: float = 60.0
    admin_token: str | None = None
    behind_proxy: bool = False
    access_file: str = ""
