"""What whoever runs a server asks of it: to reload.

A conversation like a client's, but for its route: `guard.ADMIN_PATHS` need a token of their own.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx2
import msgspec

from dosirak.client.answer import Answer, error_of_answer, json_object
from dosirak.client.deadline import deadline_transport, until
from dosirak.client.exchange import TRANSPORT_ERRORS
from dosirak.client.failure import failure_of_exception
from dosirak.client.request import PreparedRequest
from dosirak.client.session import Session

_PATH = "/admin/reload"


def ask_to_reload(url: str, *, token: str, target: str, timeout_s: float) -> dict[str, Any]:
    """Have a server serve what it was started with, looked up anew, or another version.

    Args:
        url: the server's address.
        token: its admin token.
        target: the version, as `name:version`; empty for what it was started with.
        timeout_s: the longest time for the new revision to become ready.

    Raises:
        InvalidConfiguration: the address or the token cannot be used (the caller's fault).
        ReloadRefused: the new revision cannot be served; the old one serves on.
        DosirakError: the server's other errors, or what prevented an answer.
    """
    session = Session.open(
        url, token=token, timeout_s=timeout_s, ready_timeout_s=None, retries=0, headers=None
    )
    order = {"target": target} if target else {}
    request = PreparedRequest(
        "POST",
        session.address.at(_PATH),
        {**session.headers, "accept": "application/json", "content-type": "application/json"},
        msgspec.json.encode(order),
        idempotent=False,
    )
    answer = _send(request, session, timeout_s)
    return json_object(answer, url=request.url)


def _send(request: PreparedRequest, session: Session, timeout_s: float) -> Answer:
    transport = deadline_transport(session.address.base)
    clock = session.exchange.clock
    try:
        client = httpx2.Client(transport=transport, follow_redirects=False, timeout=timeout_s)
        with closing(client), until(clock() + timeout_s):
            response = client.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
    except TRANSPORT_ERRORS as error:
        found = failure_of_exception(error, url=request.url, timeout_s=timeout_s)
        raise found.error from error
    answer = Answer(response.status_code, response.headers, response.content)
    if not answer.is_success:
        raise error_of_answer(answer, url=request.url)
    return answer
