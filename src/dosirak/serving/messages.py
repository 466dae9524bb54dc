"""What front and worker say to each other: small msgpack structures, each with an optional body.

A frame is `header length (4) | body length (4) | header | body`, big-endian. The header is one of
the structures below; the body is a request's, an answer's or a chunk's bytes, never copied into the
header nor decoded by the front. There is no pickle and nothing a peer sends can name code to run:
anything that is not one of these structures ends the connection. A frame whose header length has
its highest bit set carries no body: that is in the segment of shared memory whose number the next
bits hold (see `shared_bodies`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, Self, TypeAlias, cast

import msgspec

from dosirak.bundles.targets import TargetKind
from dosirak.observe.inference_log import InferenceLogPlan
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import Body, WireRequest
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.identity import ServiceIdentity
from dosirak.serving.mount_messages import (
    MountCredit,
    MountEnded,
    MountEvent,
    MountLeft,
    MountOpen,
)
from dosirak.spec.context import Context
from dosirak.store import Pin

MAX_HEADER_BYTES = 8 * 1024 * 1024
_PREFIX = struct.Struct(">II")
# In a header's length: the body is in shared memory, in the segment of this number.
_SHARED = 0x8000_0000
_SEGMENT_AT = 24
_HEADER_BITS = (1 << _SEGMENT_AT) - 1
MOST_SEGMENTS = 128
# Smaller parts of a batch are copied out of it, so that they do not keep all of it in memory.
_COPIED_BYTES = 64 * 1024

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The base of every message."""


class Start(Message, frozen=True):
    """Front → worker, first: what to serve. Nothing of it is on the command line.

    Attributes:
        timeout_s: what a call may take whose api says nothing else.
        pins: what references to models and bundles mean, once the first worker has said so.
        revision: what the first worker found behind the target; empty for the first.
        inference_log: what to keep of requests; None for nothing.
        service: which of the services that the target's depends on; empty for the target's own.
        kind: where alone the target is looked for; everywhere when None.
    """

    target: str
    home: str
    log_style: Literal["text", "json"]
    hang_grace_s: float
    timeout_s: float
    pins: tuple[Pin, ...] = ()
    revision: str = ""
    inference_log: InferenceLogPlan | None = None
    service: str = ""
    kind: TargetKind | None = None


class Call(Message, frozen=True):
    """Front → worker: one request; the body is the request's, already decompressed.

    With `decode_only` the handler is not called: the answer is 204, or what is wrong with the
    request. Worker → front: have another service's workers answer this; the answer comes back as
    it would go.

    Attributes:
        service: whose api it is, from worker to front; empty otherwise.
    """

    call_id: int
    api: str
    content_type: str
    accept: str
    headers: dict[str, str]
    query: str
    method: str
    request_id: str
    deadline_s: float | None
    decode_only: bool = False
    service: str = ""

    @classmethod
    def of(
        cls,
        call_id: int,
        api: str,
        request: WireRequest,
        context: Context,
        *,
        decode_only: bool = False,
        service: str = "",
    ) -> Self:
        """Say what a request and its context say; the request's body travels beside it."""
        return cls(
            call_id,
            api,
            request.content_type,
            request.accept,
            dict(request.headers),
            request.query,
            request.method,
            context.request_id,
            context.deadline_s,
            decode_only,
            service,
        )

    def request(self, body: Body) -> WireRequest:
        """Return the request that was sent."""
        return WireRequest(
            body, self.content_type, self.accept, self.headers, self.query, self.method
        )

    def context(self) -> Context:
        """Return a context for it."""
        return Context(self.request_id, self.headers, deadline_s=self.deadline_s)


class RequestHead(msgspec.Struct, frozen=True, array_like=True):
    """What many requests of a batch have in common; clients repeat themselves."""

    content_type: str
    accept: str
    headers: dict[str, str]
    query: str
    method: str


class CallBatch(Message, frozen=True):
    """Front → worker: several requests for one api; the body is theirs, one after the other.

    Attributes:
        heads: the different heads among the requests.
        head_of: which head each request has; empty when there is only one.
        sizes: the bytes of each request's body.
    """

    batch_id: int
    api: str
    heads: list[RequestHead]
    head_of: list[int]
    sizes: list[int]
    request_ids: list[str]
    deadlines_s: list[float | None]


class Withdraw(Message, frozen=True):
    """Front → worker: nobody waits any more for one request of a batch."""

    batch_id: int
    index: int


class Cancel(Message, frozen=True):
    """To whoever was sent a call: nobody waits for it any more."""

    call_id: int


class Credit(Message, frozen=True):
    """To whoever was sent a call: one more chunk of its stream may be sent."""

    call_id: int


class Stop(Message, frozen=True):
    """Front → worker: run the stop hooks and exit."""


class Described(Message, frozen=True):
    """Worker → front: the service was imported; loading begins.

    Attributes:
        pins: what it found references to mean; every other worker is to find the same.
    """

    service: ServiceDescription
    pins: tuple[Pin, ...] = ()
    identity: ServiceIdentity = ServiceIdentity()


class Ready(Message, frozen=True):
    """Worker → front: calls may come."""


class Failed(Message, frozen=True):
    """Worker → front, last: the service cannot start."""

    code: str
    message: str
    remedy: str


class Times(msgspec.Struct, frozen=True, array_like=True):
    """Where the time of one call went, see `CallTimings`."""

    queue_s: float
    compute_s: float
    decode_s: float
    call_s: float
    encode_s: float
    began_s: float

    @classmethod
    def of(cls, timings: CallTimings) -> Self:
        """Make them ready to be sent."""
        return cls(
            timings.queue_s,
            timings.compute_s,
            timings.decode_s,
            timings.call_s,
            timings.encode_s,
            timings.began_s,
        )

    def copy_to(self, timings: CallTimings) -> None:
        """Tell whoever waits for the call."""
        timings.queue_s, timings.compute_s, timings.decode_s = (
            self.queue_s, self.compute_s, self.decode_s,
        )  # fmt: skip
        timings.call_s, timings.encode_s, timings.began_s = (
            self.call_s, self.encode_s, self.began_s,
        )  # fmt: skip


class Answer(Message, frozen=True):
    """To whoever sent a call: a whole answer; the body is its body."""

    call_id: int
    status: int
    content_type: str
    headers: Headers
    times: Times


class AnswerHead(msgspec.Struct, frozen=True, array_like=True):
    """What many answers of a batch have in common."""

    status: int
    content_type: str
    headers: Headers


class AnswerBatch(Message, frozen=True):
    """Worker → front: answers to requests of one batch; the body is theirs, one after the other.

    Attributes:
        indexes: which request of the batch each answer is for; empty when all, in order.
        heads: the different heads among the answers.
        head_of: which head each answer has; empty when there is only one.
        sizes: the bytes of each answer's body.
        rows: rows of all requests that were read so far.
        calls: calls of the handler so far.
        queue_s: from the batch's arrival to the beginning of its first call.
        compute_s: from there until now.
        done: nothing more will come for this batch.
        began_s: when its first call began, on the clock of `time.monotonic()`, which all processes
            of a machine share; 0 when none did.
        decode_s: reading requests, added up over all that were read so far.
        call_s: in the handler, likewise.
        encode_s: writing answers, likewise.
        ahead_s: the next message is of use so long before this one ends: it is read meanwhile.
    """

    batch_id: int
    indexes: list[int]
    heads: list[AnswerHead]
    head_of: list[int]
    sizes: list[int]
    rows: int
    calls: int
    queue_s: float
    compute_s: float
    done: bool
    began_s: float = 0.0
    decode_s: float = 0.0
    call_s: float = 0.0
    encode_s: float = 0.0
    ahead_s: float = 0.0

    def timings(self) -> CallTimings:
        """Return where the time of the message went."""
        return CallTimings(
            self.queue_s,
            self.compute_s,
            self.decode_s,
            self.call_s,
            self.encode_s,
            self.began_s,
            shared=True,
        )


class StreamBegan(Message, frozen=True):
    """To whoever sent a call: an answer that comes in chunks."""

    call_id: int
    status: int
    content_type: str
    headers: Headers
    times: Times


class Chunk(Message, frozen=True):
    """To whoever sent a call: the next piece of its stream; the body is the piece."""

    call_id: int


class StreamEnded(Message, frozen=True):
    """To whoever sent a call: the end of its stream.

    Attributes:
        broken: it is not complete, and nothing in it says so.
        error_code: of the error that ended it; empty when it is whole.
    """

    call_id: int
    broken: bool
    error_code: str = ""


class Dropped(Message, frozen=True):
    """Worker → front: a cancelled call has ended without an answer."""

    call_id: int


class Hung(Message, frozen=True):
    """Worker → front: a handler runs long past its deadline; this worker should be replaced."""

    api: str


class Logged(Message, frozen=True):
    """Worker → front: entries of the inference log that were written, and dropped, since last."""

    written: int
    dropped: int


ToWorker: TypeAlias = (
    Start
    | Call
    | CallBatch
    | Withdraw
    | Cancel
    | Credit
    | Stop
    | Answer
    | StreamBegan
    | Chunk
    | StreamEnded
    | MountOpen
    | MountEvent
    | MountCredit
    | MountLeft
)
ToFront: TypeAlias = (
    Described
    | Ready
    | Failed
    | Answer
    | AnswerBatch
    | StreamBegan
    | Chunk
    | StreamEnded
    | Dropped
    | Hung
    | Logged
    | Call
    | Cancel
    | Credit
    | MountEvent
    | MountCredit
    | MountEnded
)

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
to_front_decoder = msgspec.msgpack.Decoder(ToFront)


class BrokenFrame(Exception):
    """The peer sent what is not a frame; the connection is of no more use."""


def encode_batch_frame(message: Message, bodies: Sequence[Body], body_bytes: int) -> list[Body]:
    """Return the parts to write: prefix, header, and each body as it is."""
    header = _encoder.encode(message)
    return [_PREFIX.pack(len(header), body_bytes), header, *bodies]


def encode_frame(message: Message, body: Body = b"") -> tuple[bytes, Body]:
    """Return the two parts to write: prefix with header, and the body as it is."""
    header = _encoder.encode(message)
    return _PREFIX.pack(len(header), len(body)) + header, body


def encode_header(message: Message) -> bytes:
    """Return the header of a frame, for `shared_frame`."""
    return _encoder.encode(message)


def shared_frame(header: bytes, segment: int, body_bytes: int) -> bytes:
    """Return what to write when the body was put into a segment of shared memory."""
    return _PREFIX.pack(_SHARED | segment << _SEGMENT_AT | len(header), body_bytes) + header


class FrameReader:
    """Cuts a stream of bytes into frames.

    Frames that arrive whole are cut out of what arrived; a large body that arrives in pieces is
    collected in place, once.

    Args:
        max_body_bytes: a frame that announces more is broken, before its body is kept.
        take_shared: returns a body out of a segment of shared memory: its number, the body's size.
        collected: told the size of a body that arrived in pieces.
    """

    def __init__(
        self,
        max_body_bytes: int,
        take_shared: Callable[[int, int], Body] | None = None,
        collected: Callable[[int], None] | None = None,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._take_shared = take_shared
        self._collected = collected
        self._rest = b""
        self._header = b""
        self._body: bytearray | None = None
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Body]]:
        """Add bytes and yield every complete frame as header and body.

        Raises:
            BrokenFrame: a length is impossible.
        """
        position = 0
        if self._body is not None:
            position = self._fill(data, 0)
            if self._missing:
                return
            body, self._body = self._body, None
            if self._collected is not None:
                self._collected(len(body))
            yield self._header, body
        elif self._rest:
            data, self._rest = self._rest + data, b""
        while (lengths := self._lengths(data, position)) is not None:
            header_bytes, body_bytes = lengths
            if header_bytes >= _SHARED:
                end = position + _PREFIX.size + (header_bytes & _HEADER_BITS)
                if end > len(data):
                    break
                header_at, position = position + _PREFIX.size, end
                yield data[header_at:end], self._shared(header_bytes, body_bytes)
                continue
            body_at = position + _PREFIX.size + header_bytes
            end = body_at + body_bytes
            if end > len(data):
                self._collect(data, position, body_at, body_bytes)
                return
            header_at, position = position + _PREFIX.size, end
            yield data[header_at:body_at], data[body_at:end]
        self._rest = data[position:]

    def _shared(self, header_bytes: int, body_bytes: int) -> Body:
        if self._take_shared is None:
            raise BrokenFrame("a body in shared memory was announced where none can be")
        return self._take_shared((header_bytes - _SHARED) >> _SEGMENT_AT, body_bytes)

    def _lengths(self, data: bytes, position: int) -> tuple[int, int] | None:
        if len(data) - position < _PREFIX.size:
            return None
        header_bytes, body_bytes = _PREFIX.unpack_from(data, position)
        if body_bytes > self._max_body_bytes or (
            header_bytes > MAX_HEADER_BYTES
            and not (header_bytes >= _SHARED and header_bytes & _HEADER_BITS <= MAX_HEADER_BYTES)
        ):
            raise BrokenFrame("a length in the prefix is over the limit")
        return header_bytes, body_bytes

    def _collect(self, data: bytes, position: int, body_at: int, body_bytes: int) -> None:
        """Keep a frame that is not complete."""
        if len(data) < body_at:
            self._rest = data[position:]
            return
        self._header = data[position + _PREFIX.size : body_at]
        # It grows with what arrives: a length alone must not claim memory.
        self._body = bytearray()
        self._missing = body_bytes
        self._fill(data, body_at)

    def _fill(self, data: bytes, position: int) -> int:
        """Add to the body under way; return where the next frame begins."""
        end = min(len(data), position + self._missing)
        body = cast(bytearray, self._body)
        body += memoryview(data)[position:end]
        self._missing -= end - position
        return end


def cut(body: Body, sizes: Sequence[int]) -> list[Body]:
    """Return a body in parts of these sizes; large ones as views of it.

    Raises:
        BrokenFrame: the sizes are not those of this body.
    """
    if sum(sizes) != len(body) or (sizes and min(sizes) < 0):
        raise BrokenFrame("the sizes of a batch do not match its body")
    if len(sizes) == 1:
        return [body]
    if len(body) <= _COPIED_BYTES:
        return _copied(bytes(body), sizes)
    view = memoryview(body)
    ends = list(accumulate(sizes))
    parts = [view[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return [part if len(part) > _COPIED_BYTES else bytes(part) for part in parts]


def _copied(body: bytes, sizes: Sequence[int]) -> list[Body]:
    parts: list[Body] = []
    start = 0
    for size in sizes:
        parts.append(body[start : start + size])
        start += size
    return parts
