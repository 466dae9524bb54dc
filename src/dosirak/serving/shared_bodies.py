"""Large bodies between two processes by way of memory that both have mapped.

    copy into a free segment ─▶ frame that names it, over the channel ─▶ copy out ─▶ released

A segment is a memfd: made by the sender, its descriptor sent once, kept and used again for as long
as the channel lives. A new one is used once the peer has said that it has it: a descriptor is lost
on the way where the peer may open no more, and the body that it was made for goes over the channel.
Making one for each body would cost more than the socket does, in pages that
the kernel must clear, map and free; two plain copies cost a fraction (`bench/micro/large_bodies.py`
and ADR 12). The reader copies the body out in the turn in which it reads the frame, so nothing
depends on how long anybody keeps it, and few segments are ever under way.

Descriptors travel over a socket beside the channel's, and what was taken, refused or released comes
back over it. Whoever ends, however, the kernel closes all of it. A body for which no
segment is free, or that is too large for one, goes over the channel like any other.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from dosirak.payload.wire import Body
from dosirak.serving.descriptors import is_lack
from dosirak.serving.messages import MOST_SEGMENTS, BrokenFrame

# From here on shared memory costs less than the socket.
SHARED_BYTES = 256 * 1024
LARGEST_BYTES = 16 * 1024 * 1024
# What one direction of one channel may hold, for good.
_MOST_BYTES = 32 * 1024 * 1024
_MOST_OF_A_SIZE = 4
# A segment keeps its size, and nobody but its sender can write to it. The last is missing in
# `fcntl` before Python 3.13.
_SEAL_FUTURE_WRITE = 0x10
# Released is said first when a segment is taken: nobody has anything in it yet.
_NEW, _RELEASED, _REFUSED = b"N", b"R", b"X"
# The first word on a channel: an end comes with it, or there is none.
_LENT, _NOTHING_LENT = b"L", b"-"


@dataclass(frozen=True, slots=True)
class _Segment:
    index: int
    memory: mmap.mmap


@dataclass(slots=True)
class _Outgoing:
    """The segments that this end writes to."""

    made: dict[int, _Segment] = field(default_factory=dict[int, _Segment])
    free: dict[int, list[_Segment]] = field(default_factory=dict[int, list[_Segment]])
    of_size: dict[int, int] = field(default_factory=dict[int, int])
    size_bytes: int = 0

    def has_room(self, size_bytes: int) -> bool:
        """Whether another segment of this size may be made."""
        return (
            len(self.made) < MOST_SEGMENTS
            and self.of_size.get(size_bytes, 0) < _MOST_OF_A_SIZE
            and self.size_bytes + size_bytes <= _MOST_BYTES
        )

    def add(self, segment: _Segment) -> None:
        """Count one that was made."""
        size_bytes = len(segment.memory)
        self.made[segment.index] = segment
        self.of_size[size_bytes] = self.of_size.get(size_bytes, 0) + 1
        self.size_bytes += size_bytes

    def release(self, index: int) -> bool:
        """Take one back; whether that can be."""
        segment = self.made.get(index)
        if segment is None:
            return False
        free = self.free.setdefault(len(segment.memory), [])
        if segment in free:
            return False
        free.append(segment)
        return True

    def forget(self, index: int) -> bool:
        """Let go of one that the peer could not take; whether there is such a one."""
        segment = self.made.pop(index, None)
        if segment is None:
            return False
        size_bytes = len(segment.memory)
        if segment in self.free.get(size_bytes, []):
            self.free[size_bytes].remove(segment)
        self.of_size[size_bytes] -= 1
        self.size_bytes -= size_bytes
        return True

    def next_index(self) -> int:
        """Return a number that no segment has."""
        return next(index for index in range(MOST_SEGMENTS) if index not in self.made)


class SharedBodies:
    """One end of what two processes share.

    Args:
        end: one of a connected pair of sockets (SOCK_SEQPACKET) that do not block.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._outgoing = _Outgoing()
        self._incoming: dict[int, mmap.mmap] = {}
        self._broken = False

    def put(self, bodies: Sequence[Body], size_bytes: int) -> int | None:
        """Copy bodies, one after the other, to the peer; return the segment, None if none is free.

        A frame that names the segment must follow; without one the bodies go over the channel.
        """
        if size_bytes > LARGEST_BYTES or self._broken:
            return None
        segment = self._free_segment(_rounded(size_bytes))
        if segment is None:
            return None
        memory, position = memoryview(segment.memory), 0
        for body in bodies:
            end = position + len(body)
            memory[position:end] = body
            position = end
        return segment.index

    def take(self, index: int, size_bytes: int) -> bytes:
        """Return a body that the peer put into a segment, and release that.

        Raises:
            BrokenFrame: there is no such segment, or it is smaller.
        """
        memory = self._incoming.get(index)
        if memory is None or not 0 < size_bytes <= len(memory):
            raise BrokenFrame("a body is said to be in shared memory where it cannot be")
        body = memory[:size_bytes]
        self._say(_RELEASED, index)
        return body

    def hear(self, size_bytes: int) -> None:
        """A body of this size came over the channel: the peer may have sent a segment for others.

        Raises:
            BrokenFrame: it said something else.
        """
        if size_bytes >= SHARED_BYTES:
            self._listen()

    def close(self) -> None:
        """Let go of everything."""
        self._broken = True
        self._end.close()
        self._incoming.clear()
        self._outgoing = _Outgoing()

    def _free_segment(self, size_bytes: int) -> _Segment | None:
        outgoing = self._outgoing
        if not outgoing.free.get(size_bytes):
            with contextlib.suppress(BrokenFrame):
                self._listen()
        free = outgoing.free.get(size_bytes)
        if free:
            return free.pop()
        if outgoing.has_room(size_bytes):
            self._make(size_bytes)
        return None

    def _make(self, size_bytes: int) -> None:
        """Make a segment and send the peer its descriptor, for bodies to come."""
        index = self._outgoing.next_index()
        try:
            descriptor = os.memfd_create("dosirak-bodies", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return
        try:
            memory = _sealed_memory(descriptor, size_bytes)
            socket.send_fds(self._end, [_NEW + bytes((index,))], [descriptor])
        except OSError:
            return
        finally:
            os.close(descriptor)
        self._outgoing.add(_Segment(index, memory))

    def _listen(self) -> None:
        """Take what the peer has said: segments that are new, and those it has read.

        Raises:
            BrokenFrame: it said something else.
        """
        while True:
            try:
                said, descriptors, _, _ = socket.recv_fds(self._end, 2, 1, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return  # Nothing more for now, or the peer has gone, which the channel notices.
            if not said:
                return
            if not self._understood(said, descriptors):
                for descriptor in descriptors:
                    os.close(descriptor)
                raise BrokenFrame("what was said of shared memory is not understood")

    def _understood(self, said: bytes, descriptors: list[int]) -> bool:
        """Do as the peer says; whether it can be done."""
        if len(said) != 2:
            return False
        word, index = said[:1], said[1]
        if word == _NEW:
            self._take_segment(index, descriptors)
            return True
        if descriptors:
            return False
        return (word == _RELEASED and self._outgoing.release(index)) or (
            word == _REFUSED and self._outgoing.forget(index)
        )

    def _take_segment(self, index: int, descriptors: list[int]) -> None:
        """Map a segment, and say whether that could be done."""
        # Without a descriptor this process may open no more: it was lost on the way.
        memory = _mapped(descriptors[0]) if descriptors else None
        if memory is None:
            self._say(_REFUSED, index)
            return
        # Whatever had this number before is unmapped when nobody reads it.
        self._incoming[index] = memory
        self._say(_RELEASED, index)

    def _say(self, word: bytes, index: int) -> None:
        # Without it the peer has one segment less: slower, and nothing worse.
        with contextlib.suppress(OSError):
            self._end.send(word + bytes((index,)))


def lend(channel: socket.socket) -> SharedBodies | None:
    """Give the peer of a socket that nothing was sent over yet its end; return ours.

    None where the system has no such memory; the peer, on the same machine, finds the same.
    """
    if not _can_share():
        return None
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        # The peer waits for a word all the same, unless it has ended.
        with contextlib.suppress(OSError):
            channel.sendall(_NOTHING_LENT)
        return None
    with theirs:
        try:
            socket.send_fds(channel, [_LENT], [theirs.fileno()])
        except OSError:
            ours.close()
            # A peer that has ended already is noticed by the channel.
            with contextlib.suppress(OSError):
                channel.sendall(_NOTHING_LENT)
            return None
    ours.setblocking(False)
    return SharedBodies(ours)


def borrow(channel: socket.socket) -> SharedBodies | None:
    """Take the end that the peer lent, before anything else is read; wait for it.

    Raises:
        BrokenFrame: what came is not the first word of a peer that lends.
    """
    if not _can_share():
        return None
    word, descriptors, flags = b"", list[int](), 0
    with contextlib.suppress(OSError):
        word, descriptors, flags, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
    if word in (b"", _NOTHING_LENT):
        return None  # A peer that has ended is noticed by the channel.
    if word == _LENT and flags & socket.MSG_CTRUNC:
        return None  # This process may open no more; the peer finds that nobody listens.
    if word != _LENT or not descriptors:
        raise BrokenFrame("the peer did not say whether it lends shared memory")
    end = socket.socket(fileno=descriptors[0])
    end.setblocking(False)
    return SharedBodies(end)


def _can_share() -> bool:
    return sys.platform == "linux" and hasattr(os, "memfd_create")


def _rounded(size_bytes: int) -> int:
    """Return the size of the segments for such a body: only what is written takes memory."""
    return max(SHARED_BYTES, 1 << (size_bytes - 1).bit_length())


def _sealed_memory(descriptor: int, size_bytes: int) -> mmap.mmap:
    os.ftruncate(descriptor, size_bytes)
    memory = mmap.mmap(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _seals() | _SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL)
    return memory


def _mapped(descriptor: int) -> mmap.mmap | None:
    """Map a segment of the peer's to read from; None where this process lacks the means.

    Raises:
        BrokenFrame: it can be cut short, which would end whoever reads it, or is no memory.
    """
    try:
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _seals() != _seals():
            raise BrokenFrame("shared memory is not sealed")
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_lack(error):
            return None
        raise BrokenFrame(f"shared memory cannot be read: {error}") from error
    finally:
        os.close(descriptor)


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
