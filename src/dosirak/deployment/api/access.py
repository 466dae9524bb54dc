"""Who may ask the control plane for what: tokens with scopes, or everybody on this machine.

    Authorization: Bearer … → check → Principal(name, scopes) ─ covers? ─▶ the route's `Needs`

Without `require_tokens` a request that carries no token is trusted as the person who started the
control plane: it listens on loopback alone then. A token that is sent is always checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dosirak.deployment.asking import Asking
from dosirak.deployment.state.scopes import covers
from dosirak.errors import DeploymentNotFound, DosirakError, Forbidden, Unauthorized

PUBLIC = ""
ADMIN = "admin"
AUDIT_READ = "audit:read"
SECRETS_WRITE = "secrets:write"
DEPLOY_READ = "deploy:read"
DEPLOY_WRITE = "deploy:write"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        name: as events tell it.
        scopes: what a token allows; None for somebody who may do everything.
        token_id: as the audit log tells it; empty without a token.
    """

    name: str
    scopes: frozenset[str] | None = None
    token_id: str = ""

    def may(self, wanted: str) -> bool:
        """Whether this allows a scope."""
        return self.scopes is None or covers(self.scopes, wanted)


@dataclass(frozen=True, slots=True)
class Needs:
    """The scope that a route needs; a dependency, so that a walk over the routes finds it.

    Attributes:
        scope: such as `audit:read`; empty for what everybody may ask.
        narrowed_by: the path parameter that completes it: `deploy:read:iris`.
        of_some: one that is complete for some deployment will do; the handler minds which.
    """

    scope: str
    narrowed_by: str = ""
    of_some: bool = False

    def __call__(self) -> None:
        """Do nothing: the route has asked before its body was read."""

    def wanted(self, path_parameters: Mapping[str, str]) -> str:
        """Return the scope of one request."""
        if self.narrowed_by:
            return f"{self.scope}:{path_parameters[self.narrowed_by]}"
        return f"{self.scope}:*" if self.of_some else self.scope


class TokenCheck(Protocol):
    """Finds the holder of a token."""

    def __call__(self, text: str) -> Principal:
        """Return who holds a token.

        Raises:
            Unauthorized: it is unknown, revoked or has expired.
        """
        ...


class AuditNote(Protocol):
    """Writes into the audit log what was refused, or failed."""

    def __call__(self, asking: Asking, about: str, outcome: str) -> None:
        """Write it, whole, before this returns."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one control plane.

    Attributes:
        check: finds the holder of a token.
        note: writes the audit log.
        require_tokens: whether a request without a token is refused.
    """

    check: TokenCheck
    note: AuditNote
    require_tokens: bool = False

    def admit(
        self, authorization: str, needs: Needs, path_parameters: Mapping[str, str]
    ) -> Principal:
        """Return who asks, once it is known that they may.

        Raises:
            Unauthorized: a token is missing or of no use.
            Forbidden: the token does not allow this.
            DeploymentNotFound: the token knows nothing of that deployment.
        """
        if needs.scope == PUBLIC:
            return Principal("", scopes=frozenset())
        principal = self._principal(authorization)
        if needs.of_some and (principal.scopes is None or _has_some(principal, needs.scope)):
            return principal
        if principal.may(needs.wanted(path_parameters)):
            return principal
        raise _refused(principal, needs, path_parameters)

    def _principal(self, authorization: str) -> Principal:
        scheme, _, given = authorization.partition(" ")
        if not authorization and not self.require_tokens:
            return Principal("local")
        if scheme.lower() != "bearer" or not given.strip():
            raise Unauthorized(
                "This needs a token.",
                remedy="Set DOSIRAK_PLATFORM_TOKEN, or send Authorization: Bearer <token>.",
            )
        return self.check(given.strip())


def _has_some(principal: Principal, kind: str) -> bool:
    """Whether a token is for deployments, be it one of them."""
    held = {scope.rpartition(":")[0] for scope in principal.scopes or ()}
    return kind in held or (kind == DEPLOY_READ and DEPLOY_WRITE in held)


def _refused(
    principal: Principal, needs: Needs, path_parameters: Mapping[str, str]
) -> DosirakError:
    wanted = needs.wanted(path_parameters)
    name = path_parameters.get(needs.narrowed_by, "")
    # A token of one deployment learns nothing of another, not even that it exists.
    if name and _has_some(principal, DEPLOY_READ) and not principal.may(f"{DEPLOY_READ}:{name}"):
        return unknown_deployment(name)
    return Forbidden(
        "The token does not allow this.",
        remedy=f"Use a token with the scope {wanted}; `dosirak tokens create` makes one.",
    )


def unknown_deployment(name: str) -> DeploymentNotFound:
    """Return the error for a deployment that is not there, or is not to be known of."""
    return DeploymentNotFound(
        f"There is no deployment {name!r}.", remedy="`dosirak deployment list` shows those here."
    )
