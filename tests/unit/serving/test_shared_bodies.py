"""Large bodies in shared memory: every byte arrives, nothing is kept, and nobody is believed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import socket
from pathlib import Path

import pytest

from dosirak.serving.channel import Channel
from dosirak.serving.messages import (
    BrokenFrame,
    Chunk,
    Credit,
    FrameReader,
    encode_header,
    shared_frame,
    to_front_decoder,
    to_worker_decoder,
)
from dosirak.serving.shared_bodies import LARGEST_BYTES, SHARED_BYTES, SharedBodies, borrow, lend

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd")


@pytest.fixture
def ends():
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first.setblocking(False)
    second.setblocking(False)
    pair = SharedBodies(first), SharedBodies(second)
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def raw():
    """An end, and the other one's socket, to say over it what no end says."""
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    second.setblocking(False)
    end = SharedBodies(second)
    yield first, end
    first.close()
    end.close()


def _put(sender: SharedBodies, receiver: SharedBodies, bodies, size: int) -> int | None:
    """Put bodies; when a segment had to be made first, once the receiver has it."""
    segment = sender.put(bodies, size)
    if segment is None:
        receiver.hear(size)
        segment = sender.put(bodies, size)
    return segment


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_parts_arrive_as_one_body_both_ways(ends):
    ours, theirs = ends
    parts = [os.urandom(SHARED_BYTES), memoryview(bytearray(b"middle")), os.urandom(70_001)]
    size = sum(map(len, parts))
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        segment = _put(sender, receiver, parts, size)
        assert receiver.take(segment, size) == b"".join(parts)


def test_a_segment_is_used_again_and_descriptors_do_not_grow(ends):
    ours, theirs = ends
    before = _open_descriptors()
    for number in range(50):
        body = bytes([number]) * SHARED_BYTES
        segment = _put(ours, theirs, [body], len(body))
        assert segment == 0
        assert theirs.take(segment, len(body)) == body
    # A mapping keeps a descriptor of its own, at each end.
    assert _open_descriptors() <= before + 2


def test_when_no_segment_is_free_the_body_goes_another_way(ends):
    ours, theirs = ends
    sent = []
    while True:
        segment = _put(ours, theirs, [bytes([len(sent)]) * SHARED_BYTES], SHARED_BYTES)
        if segment is None:
            break
        sent.append(segment)
        assert len(sent) < 20
    assert sent
    for number, segment in enumerate(sent):
        assert theirs.take(segment, SHARED_BYTES) == bytes([number]) * SHARED_BYTES
    assert ours.put([bytes(SHARED_BYTES)], SHARED_BYTES) in sent


def test_memory_is_bounded_whatever_the_sizes(ends):
    ours, theirs = ends
    taken = 0
    for size in (LARGEST_BYTES, SHARED_BYTES, LARGEST_BYTES // 2, SHARED_BYTES * 3) * 4:
        taken += size if _put(ours, theirs, [bytes(size)], size) is not None else 0
    assert taken
    assert taken <= 32 * 1024 * 1024
    assert ours.put([bytes(LARGEST_BYTES + 1)], LARGEST_BYTES + 1) is None


def test_a_peer_that_has_gone_is_no_error_here(ends):
    ours, theirs = ends
    theirs.close()
    assert ours.put([bytes(SHARED_BYTES)], SHARED_BYTES) is None


def test_a_segment_that_was_never_sent_is_broken(ends):
    _, theirs = ends
    with pytest.raises(BrokenFrame):
        theirs.take(3, SHARED_BYTES)


def test_memory_that_could_be_cut_short_is_refused(raw):
    said, end = raw
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, SHARED_BYTES)
    socket.send_fds(said, [b"N\0"], [descriptor])
    os.close(descriptor)
    with pytest.raises(BrokenFrame, match="not sealed"):
        end.hear(SHARED_BYTES)


def test_a_body_larger_than_its_segment_is_refused(raw):
    said, end = raw
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    socket.send_fds(said, [b"N\0"], [descriptor])
    os.close(descriptor)
    end.hear(SHARED_BYTES)
    assert end.take(0, 4096) == bytes(4096)
    with pytest.raises(BrokenFrame):
        end.take(0, 4097)


@pytest.mark.parametrize("words", [b"R\7", b"X\0", b"Y\0", b"N"])
def test_nonsense_about_segments_is_refused_and_keeps_no_descriptor(raw, words):
    said, end = raw
    before = _open_descriptors()
    socket.send_fds(said, [words], [] if words[:1] == b"N" else [0])
    with pytest.raises(BrokenFrame):
        end.hear(SHARED_BYTES)
    assert _open_descriptors() == before


@pytest.fixture
def no_descriptors():
    """Let this process open no more descriptors from the call on; end it with another call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def refuse(refused: bool = True) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0 if refused else soft, hard))

    yield refuse
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_segment_that_the_peer_cannot_take_is_done_without_and_tried_again_later(
    ends, no_descriptors
):
    ours, theirs = ends
    body = bytes(SHARED_BYTES)
    for _ in range(20):
        assert ours.put([body], len(body)) is None
        no_descriptors()
        theirs.hear(len(body))
        no_descriptors(refused=False)
    assert ours.put([body], len(body)) is None
    theirs.hear(len(body))
    segment = ours.put([body], len(body))
    assert segment is not None
    assert theirs.take(segment, len(body)) == body


def test_a_peer_that_cannot_take_the_lent_end_goes_without(no_descriptors):
    one, other = socket.socketpair()
    with one, other:
        lent = lend(one)
        assert lent is not None
        no_descriptors()
        assert borrow(other) is None
        no_descriptors(refused=False)
        assert lent.put([bytes(SHARED_BYTES)], SHARED_BYTES) is None
        lent.close()


def test_a_segment_cannot_be_released_twice(raw):
    said, end = raw
    for _ in range(2):
        assert end.put([bytes(SHARED_BYTES)], SHARED_BYTES) is None
    said.send(b"R\1")
    said.send(b"R\1")
    with pytest.raises(BrokenFrame):
        end.hear(SHARED_BYTES)


def test_only_the_sender_can_write_to_a_segment(ends):
    ours, theirs = ends
    assert theirs.take(_put(ours, theirs, [bytes(SHARED_BYTES)], SHARED_BYTES), SHARED_BYTES)
    (memory,) = theirs._incoming.values()
    with pytest.raises(TypeError):
        memory[0] = 1


def test_a_shared_frame_may_be_cut_anywhere():
    body = b"the body"
    data = shared_frame(encode_header(Chunk(5)), 9, len(body)) * 2
    asked = []
    for cut in range(1, len(data)):
        asked.clear()
        reader = FrameReader(1000, lambda index, size: asked.append((index, size)) or body)
        frames = [frame for part in (data[:cut], data[cut:]) for frame in reader.feed(part)]
        decoded = [(to_front_decoder.decode(header), got) for header, got in frames]
        assert decoded == [(Chunk(5), body)] * 2
        assert asked == [(9, len(body))] * 2


def test_a_shared_frame_where_nothing_is_shared_is_broken():
    with pytest.raises(BrokenFrame):
        list(FrameReader(1000).feed(shared_frame(encode_header(Chunk(1)), 0, 10)))


@pytest.mark.parametrize("sizes", [[10, SHARED_BYTES, 0, 3 * SHARED_BYTES, 5], [LARGEST_BYTES + 7]])
def test_bodies_of_all_sizes_keep_their_order_over_a_channel(sizes):
    bodies = [os.urandom(size) for size in sizes] * 5

    async def exchange() -> list[bytes]:
        one, other = socket.socketpair()
        got: list[bytes] = []
        all_came = asyncio.Event()

        def receive(message, body):
            assert message.call_id == len(got)
            got.append(bytes(body))
            if len(got) == len(bodies):
                all_came.set()

        sender = Channel(to_front_decoder, lambda *_: None, lambda: None, max_body_bytes=2**31)
        receiver = Channel(to_worker_decoder, receive, all_came.set, max_body_bytes=2**31)
        sender.share(lend(one))
        receiver.share(borrow(other))
        for channel, end in ((sender, one), (receiver, other)):
            end.setblocking(False)
            await channel.open(end)
        for number, body in enumerate(bodies):
            if number % 2:
                sender.send_batch(Credit(number), [body[:7], body[7:]], len(body))
            else:
                sender.send(Credit(number), body)
        async with asyncio.timeout(60):
            await all_came.wait()
        sender.close()
        receiver.close()
        await asyncio.sleep(0.01)
        return got

    assert asyncio.run(exchange()) == bodies
