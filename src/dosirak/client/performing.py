"""Doing what conversations ask for, on an event loop: requests are sent, waits are waited.

    conversation ◀─ Send │ Wait ─▶ AsyncPerformer ─▶ network

Nothing is decided here (see `exchange`); whoever has an HTTP connection pool can carry out any
conversation with it: a client, and a worker that calls a service at an address.
"""

from __future__ import annotations

import math
from contextlib import closing

import anyio
import httpx2

from dosirak.client.answer import Answer
from dosirak.client.exchange import (
    TRANSPORT_ERRORS,
    Conversation,
    Effect,
    Opened,
    ResultT,
    Send,
    Wait,
)
from dosirak.client.session import closed_client
from dosirak.errors import RemoteError


class AsyncPerformer:
    """Carries out conversations.

    Args:
        http: sends the requests.
        url: whose, for errors.
        max_answer_bytes: largest answer that is read whole, once inflated; None for any.
    """

    def __init__(
        self, http: httpx2.AsyncClient, url: str, *, max_answer_bytes: int | None = None
    ) -> None:
        self._http = http
        self._url = url
        self._max_answer_bytes = max_answer_bytes

    async def run(self, conversation: Conversation[ResultT]) -> ResultT:
        """Carry out a conversation to its end; return its result.

        Raises:
            DosirakError: what the conversation raises.
        """
        with closing(conversation):
            try:
                effect = next(conversation)
                while True:
                    outcome, error = await self._perform(effect)
                    effect = conversation.throw(error) if error else conversation.send(outcome)
            except StopIteration as end:
                return end.value

    async def _perform(self, effect: Effect) -> tuple[Answer | Opened | None, Exception | None]:
        # The outcome goes back to `run`: a coroutine may not let StopIteration through.
        if isinstance(effect, Wait):
            await anyio.sleep(effect.seconds)
            return None, None
        try:
            with anyio.fail_after(effect.timeout_s if math.isfinite(effect.timeout_s) else None):
                return await self._send(effect), None
        except TimeoutError:
            return None, httpx2.ReadTimeout("The time for the whole answer is over.")
        except TRANSPORT_ERRORS as error:
            return None, error

    async def _send(self, send: Send) -> Answer | Opened:
        if self._http.is_closed:
            raise closed_client(self._url)
        response = await self._http.send(send.build(self._http), stream=True)
        try:
            return await self._receive(response, send)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await response.aclose()
            raise

    async def _receive(self, response: httpx2.Response, send: Send) -> Answer | Opened:
        pieces = response.aiter_bytes()
        if response.is_success and not send.request.whole:
            first = await anext(pieces, b"")
            return Opened(response.headers, response, first, pieces)
        body, size_bytes = list[bytes](), 0
        most_bytes = math.inf if self._max_answer_bytes is None else self._max_answer_bytes
        async for piece in pieces:
            size_bytes += len(piece)
            if size_bytes > most_bytes:
                raise _too_large(self._url, most_bytes, response.status_code)
            body.append(piece)
        await response.aclose()
        return Answer(response.status_code, response.headers, b"".join(body))


def _too_large(url: str, most_bytes: float, status: int) -> RemoteError:
    return RemoteError(
        f"The answer from {url} is larger than {most_bytes:.0f} bytes.",
        remedy="Let the service answer with less, or with a stream.",
        status=status,
    )
