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
from dosirak.errors import DeploymentNotFound, Forbidden, Unauthorized

PUBLIC = ""
ADMIN = "admin"
AUDIT_READ = "audit:read"
DEPLOY_READ = "deploy:read"
DEPLOY_WRITE = "deploy:write"
BUNDLE_READ = "bundle:read"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        name: as events and the audit log tell it.
        scopes: what a token allows; None for somebody who may do everything.
    """

    name: str
    scopes: frozenset[str] | None = None

    def may(self, wanted: str) -> bool:
        """Whether this allows a scope."""
        return self.scopes is None or any(covers(scope, wanted) for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Needs:
    """The scope that a route needs; a dependency, so that a walk over the routes finds it.

    Attributes:
        scope: such as `deploy:read`; empty for what everybody may ask.
        narrowed_by: the path parameter that narrows it: `deploy:read:iris`.
        any_narrowed: a token for one deployment is let in too; the handler shows it only that.
    """

    scope: str
    narrowed_by: str = ""
    any_narrowed: bool = False

    def __call__(self) -> None:
        """Do nothing: the route has asked before its body was read."""

    def wanted(self, path_parameters: Mapping[str, str]) -> str:
        """Return the scope of one request."""
        return f"{self.scope}:{path_parameters[self.narrowed_by]}" if self.narrowed_by else self.scope


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
            return Principal("anonymous", frozenset())
        principal = self._principal(authorization)
        wanted = needs.wanted(path_parameters)
        if principal.may(wanted) or (needs.any_narrowed and _narrowed(principal, needs.scope)):
            return principal
        if needs.narrowed_by and not principal.may(_reading(wanted)):
            raise _hidden(principal, needs, path_parameters)
        raise Forbidden(
            "The token does not allow this.", remedy=f"Use a token with the scope {wanted}."
        )

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


def covers(granted: str, wanted: str) -> bool:
    """Whether a scope that was granted allows another.

    `admin` allows everything, `deploy:write` also reading, and a scope without a deployment's name
    allows it for all of them.
    """
    if granted == ADMIN or granted == wanted or wanted.startswith(f"{granted}:"):
        return True
    return granted.startswith(DEPLOY_WRITE) and covers(_reading(granted), wanted)


def _reading(scope: str) -> str:
    return DEPLOY_READ + scope.removeprefix(DEPLOY_WRITE) if scope.startswith(DEPLOY_WRITE) else scope


def _narrowed(principal: Principal, scope: str) -> bool:
    return any(_reading(granted).startswith(f"{scope}:") for granted in principal.scopes or ())


def _hidden(
    principal: Principal, needs: Needs, path_parameters: Mapping[str, str]
) -> Exception:
    """A token of one deployment learns nothing of another, not even that it exists."""
    if any(scope.startswith("deploy:") for scope in principal.scopes or ()):
        name = path_parameters[needs.narrowed_by]
        return unknown_deployment(name)
    return Forbidden(
        "The token does not allow this.",
        remedy=f"Use a token with the scope {needs.wanted(path_parameters)}.",
    )


def unknown_deployment(name: str) -> DeploymentNotFound:
    """Return the error for a deployment that is not there, or is not to be known of."""
    return DeploymentNotFound(
        f"There is no deployment {name!r}.", remedy="`dosirak deployment list` shows those here."
    )


