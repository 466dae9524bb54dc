"""The rules of a control plane whose tokens are in its state."""

from __future__ import annotations

from collections.abc import Callable

from dosirak.deployment.administration import Administration
from dosirak.deployment.api.access import Access, Principal
from dosirak.deployment.asking import Asking


def access_of(
    administration: Administration, clock: Callable[[], float], *, require_tokens: bool = False
) -> Access:
    """Return who may ask.

    Args:
        administration: knows the tokens, and writes the audit log.
        clock: the wall clock.
        require_tokens: whether a request without a token is refused; always so off loopback.
    """

    def check(text: str) -> Principal:
        holder = administration.holder(text)
        return Principal(holder.name, frozenset(holder.scopes), holder.id)

    def note(asking: Asking, about: str, outcome: str) -> None:
        administration.ledger.refuse(asking, about, outcome, clock())

    return Access(check, note, require_tokens)
