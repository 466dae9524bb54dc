"""Whether the next batch of an api is read, and the last written, while a call runs.

    reading, calling, writing: seconds of each ─▶ worth a thread of its own? ─▶ and how much sooner

Pure. Handing over to another thread costs some ten microseconds, so it must save far more. And it
saves nothing while the call holds the interpreter's lock: then reading beside it takes much longer
than the work that it is. That is seen from the two clocks of the thread that reads, and leaves the
api alone for a while.
"""

from __future__ import annotations

# Less reading and writing than this for one message is left where it is, and so is what surrounds
# a call that is shorter than this.
_WORTHWHILE_S = 0.001
_LEAST_CALL_S = 0.000_5
# Reading that takes so many times its work was waiting for the lock.
_MOST_STRETCHED = 3.0
_REST_MESSAGES = 64
_WEIGHT = 0.2


class Overlap:
    """What was seen of one api.

    Attributes:
        pays: reading and writing beside the call are worth it.
        ahead_s: how long before a call ends the next message should be there to be read.
    """

    __slots__ = ("_call_s", "_decode_s", "_encode_s", "_rest", "ahead_s", "pays")

    def __init__(self) -> None:
        self.pays = False
        self.ahead_s = 0.0
        self._decode_s = 0.0
        self._call_s = 0.0
        self._encode_s = 0.0
        self._rest = 0

    def note(self, decode_s: float, call_s: float, encode_s: float) -> None:
        """Learn from one message; any thread may tell, and a note that is lost does no harm."""
        self._decode_s += _WEIGHT * (decode_s - self._decode_s)
        self._call_s += _WEIGHT * (call_s - self._call_s)
        self._encode_s += _WEIGHT * (encode_s - self._encode_s)
        if self._rest:
            self._rest -= 1
        self._judge()

    def note_ahead(self, took_s: float, worked_s: float) -> None:
        """Learn how long reading beside a call took, and how much of it was work."""
        if took_s > _MOST_STRETCHED * worked_s + _WORTHWHILE_S:
            self._rest = _REST_MESSAGES
        self._judge()

    def _judge(self) -> None:
        much = self._decode_s + self._encode_s >= _WORTHWHILE_S
        self.pays = much and self._call_s >= _LEAST_CALL_S and not self._rest
        self.ahead_s = self._decode_s if self.pays else 0.0
