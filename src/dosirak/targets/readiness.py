"""Asking replicas whether they are ready, over their sockets, without waiting for a slow one.

Questions are asked by a few threads. Whoever looks gets what is known by then: an answer that comes
later is there for the next look.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

_THREADS = 8
_ASK_TIMEOUT_S = 2.0
# How long a look waits for answers: those of replicas that are well come within it.
_LOOK_S = 0.15
# How often one that was ready is asked again, and one that is not yet.
_READY_AGAIN_S = 5.0
_COMING_AGAIN_S = 0.2
# So many questions in a row without any answer, and one that was ready no longer is.
_MISSES = 3
_MOST_ANSWER_BYTES = 64 * 1024
_QUESTION = b"GET /readyz HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was last known of a replica.

    Attributes:
        ready: whether it takes requests.
        reason: what it says of that.
        ever: whether it was ready before.
        misses: questions in a row that it did not answer.
        asked_s: when it was asked last, by the clock.
    """

    ready: bool = False
    reason: str = ""
    ever: bool = False
    misses: int = 0
    asked_s: float = float("-inf")


class ReadinessProbes:
    """Remembers of each replica whether it is ready.

    Args:
        clock: the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="replica-probe")
        self._known: dict[str, Readiness] = {}
        self._asking: dict[str, Future[tuple[bool, str] | None]] = {}

    def look(self, sockets: Iterable[tuple[str, Path]]) -> dict[str, Readiness]:
        """Return what is known of these replicas now; others are forgotten."""
        wanted = dict(sockets)
        for gone in self._known.keys() - wanted.keys():
            del self._known[gone]
        now_s = self._clock()
        for replica, path in wanted.items():
            known = self._known.setdefault(replica, Readiness())
            if replica not in self._asking and now_s - known.asked_s >= _pause_s(known):
                self._asking[replica] = self._threads.submit(ask, path)
        if self._asking:
            wait(list(self._asking.values()), timeout=_LOOK_S)
        self._take_answers()
        return {replica: self._known[replica] for replica in wanted}

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _take_answers(self) -> None:
        now_s = self._clock()
        for replica, future in list(self._asking.items()):
            if future.done():
                del self._asking[replica]
                known = self._known.get(replica)
                if known is not None:
                    self._known[replica] = _learned(known, future.result(), now_s)


def ask(path: Path) -> tuple[bool, str] | None:
    """Ask a replica whether it is ready, and why not; None when it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ASK_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(_QUESTION)
            answer = b""
            while len(answer) < _MOST_ANSWER_BYTES and (piece := connection.recv(8192)):
                answer += piece
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b" ")[2][:3]
    return (status == b"200", _reason(body)) if status.isdigit() else None


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body).get("reason", ""))
    except (ValueError, AttributeError):
        return ""


def _pause_s(known: Readiness) -> float:
    return _READY_AGAIN_S if known.ready and not known.misses else _COMING_AGAIN_S


def _learned(known: Readiness, answer: tuple[bool, str] | None, now_s: float) -> Readiness:
    if answer is None:
        misses = known.misses + 1
        ready = known.ready and misses < _MISSES
        return Readiness(ready, known.reason if ready else "", known.ever, misses, now_s)
    ready, reason = answer
    return Readiness(ready, reason, known.ever or ready, 0, now_s)
