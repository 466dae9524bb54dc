"""What the outside sees of tokens, secrets, the audit log and the control plane itself."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field


class TokenView(BaseModel):
    """A token, without its text."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class RevokedToken(TokenView):
    """A token that is of no use any more.

    Attributes:
        already: whether it had been revoked before.
    """

    already: bool


class CreatedToken(TokenView):
    """A token with its text, which is shown this once."""

    token: str


class SecretView(BaseModel):
    """A secret, without its value."""

    name: str
    created_at: datetime
    updated_at: datetime


class AuditEntryView(BaseModel):
    """Who changed what, or tried to.

    Attributes:
        number: counts from 1.
        who: the id of a token, `local`, or `nobody`.
        object: what it was done to, such as `deployment/iris`.
        object_digest: of what it was done with, such as a bundle's id.
        result: `done`, `repeated`, or the code of the error.
    """

    number: int
    at: datetime
    who: str
    action: str
    object: str
    object_digest: str
    from_address: str
    result: str
    request_id: str


class AuditVerdict(BaseModel):
    """Whether the audit log is whole.

    Attributes:
        whole: whether nothing was changed, removed, added or cut off.
        entries: lines that are as they were written.
        pending: entries that the database holds and the file does not yet.
        problems: what was tampered with, by line.
        notes: what a crash left, and nobody need worry about.
    """

    whole: bool
    entries: int
    pending: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class PlatformStatus(BaseModel):
    """The control plane itself."""

    version: str
    pid: int
    url: str
    router_url: str
    started_at: datetime
    require_tokens: bool
    deployments: dict[str, int]


class Alive(BaseModel):
    """That it answers."""

    status: Literal["ok"] = "ok"


class ErrorBody(BaseModel):
    """Every error, in one shape."""

    error: str
    code: str
    remedy: str = ""
    fields: list[dict[str, str]] = Field(default_factory=list)
    request_id: str = ""
