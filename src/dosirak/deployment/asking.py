"""Who asks the platform for what, and under which conditions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asking:
    """One request to change something.

    Attributes:
        actor: a token's name, or `local`, as events tell it.
        token_id: the token's id, as the audit log tells it.
        address: where the request came from.
        action: what is asked, as the audit log tells it: `deployment.create`.
        request_id: of the request that brought it.
        generation: that of the deployment as it was seen; a newer one is not changed.
        key: of the asker's own: the same key with the same request gets the same answer.
        digest: of the request, to tell another one with the same key.
        note: what the person said about it.
    """

    actor: str = "local"
    token_id: str = ""
    address: str = ""
    action: str = ""
    request_id: str = ""
    generation: int | None = None
    key: str = ""
    digest: str = ""
    note: str = ""
