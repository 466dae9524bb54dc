"""What an acceptor and the front that owns the server say to each other.

    acceptor ── Accepting; Forwarded, Withdrawn (plain requests); Adopt (a connection) ──▶ owner
             ◀─ Begin, Routes; Answers; Leave, Close ──

The same frames as between front and worker. Requests and answers of one turn of the loop travel
together. A head that many requests have in common travels once and is named by its number.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import msgspec

from dosirak.serving.heads import PlainRequest
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.messages import Headers, Message, RequestHead


class Begin(Message, frozen=True):
    """Owner → acceptor, first: how to accept.

    Attributes:
        idle_s: time that a connection may be open after an answer.
        tls: paths of certificate, key and authorities for clients; an empty one is none.
        paths: the routes of plain requests.
    """

    options: HttpOptions
    idle_s: float
    log_style: Literal["text", "json"]
    tls: tuple[str, str, str]
    http2: bool
    paths: tuple[str, ...]


class Routes(Message, frozen=True):
    """Owner → acceptor: the routes of plain requests are these from now on."""

    paths: tuple[str, ...]


class ForwardedHead(msgspec.Struct, frozen=True, array_like=True):
    """What a plain head says, for whoever has not seen it."""

    number: int
    path: str
    timeout_s: float | None
    wire: RequestHead
    trace_id: str
    urgency: int

    @classmethod
    def of(cls, number: int, plain: PlainRequest) -> Self:
        """Make it ready to be sent."""
        path = plain.path.decode("latin-1")
        return cls(number, path, plain.timeout_s, plain.wire, plain.trace_id, plain.urgency)

    def plain(self) -> PlainRequest:
        """Return what it says; connection and framing are the acceptor's affair."""
        return PlainRequest(
            path=self.path.encode("latin-1"),
            body_bytes=0,
            keep_alive=True,
            request_id="",
            timeout_s=self.timeout_s,
            wire=self.wire,
            trace_id=self.trace_id,
            urgency=self.urgency,
        )


class Forwarded(Message, frozen=True):
    """Acceptor → owner: plain requests; the body is theirs, one after the other.

    Attributes:
        forget: no number of a head that was said before counts any more.
        new_heads: heads that are named for the first time.
        numbers: what the answers will be known by.
        head_of: the number of each request's head.
        clients: each client's address.
        arrived_s: on the clock of `time.monotonic()`, which all processes of a machine share.
    """

    forget: bool
    new_heads: list[ForwardedHead]
    numbers: list[int]
    head_of: list[int]
    request_ids: list[str]
    clients: list[str]
    arrived_s: list[float]
    sizes: list[int]


class Withdrawn(Message, frozen=True):
    """Acceptor → owner: nobody waits for these any more."""

    numbers: list[int]


class Adopt(Message, frozen=True):
    """Acceptor → owner: a connection whose descriptor was just sent; the body came first over it.

    Attributes:
        client: address and port of a client behind TLS, which the acceptor goes on speaking; None
            for a connection that is the client's own.
        http2: the client chose it in its TLS handshake.
    """

    client: tuple[str, int] | None
    http2: bool


class Accepting(Message, frozen=True):
    """Acceptor → owner: connections are accepted."""


class Drained(Message, frozen=True):
    """Acceptor → owner: all that is left are connections whose TLS it speaks for the owner."""


class GivenHead(msgspec.Struct, frozen=True, array_like=True):
    """What many answers have in common."""

    status: int
    content_type: str
    headers: Headers
    revision: bytes


class Answers(Message, frozen=True):
    """Owner → acceptor: answers; the body is theirs, one after the other."""

    numbers: list[int]
    heads: list[GivenHead]
    head_of: list[int]
    sizes: list[int]


class Leave(Message, frozen=True):
    """Owner → acceptor: from now on answers end their connections."""


class Close(Message, frozen=True):
    """Owner → acceptor: accept no more, and end when what is under way has ended."""


ToOwner: TypeAlias = Forwarded | Withdrawn | Adopt | Accepting | Drained
ToAcceptor: TypeAlias = Begin | Routes | Answers | Leave | Close

to_owner_decoder = msgspec.msgpack.Decoder(ToOwner)
to_acceptor_decoder = msgspec.msgpack.Decoder(ToAcceptor)
