"""What a token may do, as text: `infer:iris`, `deploy:write:*`, `audit:read`, `admin`.

Pure. What is not said is refused: a scope covers itself; `*` covers every deployment; who may
change a deployment may look at it; `admin` covers everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from dosirak.errors import InvalidConfiguration
from dosirak.naming import is_name

ADMIN = "admin"
EVERY = "*"
_PLAIN = (ADMIN, "audit:read", "secrets:write")
_OF_DEPLOYMENTS = ("infer", "deploy:read", "deploy:write")


def check_scope(scope: str) -> str:
    """Return the scope unchanged.

    Raises:
        InvalidConfiguration: there is no such scope (the fault of who asks for it).
    """
    kind, _, deployment = scope.rpartition(":")
    if scope in _PLAIN:
        return scope
    if kind in _OF_DEPLOYMENTS and (deployment == EVERY or is_name(deployment)):
        return scope
    raise InvalidConfiguration(
        f"{scope!r} is not a scope.",
        remedy="Use infer:NAME, deploy:read:NAME, deploy:write:NAME (with * for every deployment),"
        " secrets:write, audit:read or admin.",
    )


def covers(scopes: Iterable[str], wanted: str) -> bool:
    """Whether one of the scopes allows what is wanted, such as `deploy:read:iris`."""
    return any(_covers(scope, wanted) for scope in scopes)


def _covers(scope: str, wanted: str) -> bool:
    if scope in (ADMIN, wanted):
        return True
    kind, _, deployment = scope.rpartition(":")
    wanted_kind, _, wanted_deployment = wanted.rpartition(":")
    if kind not in _OF_DEPLOYMENTS or deployment not in (EVERY, wanted_deployment):
        return False
    return kind == wanted_kind or (kind, wanted_kind) == ("deploy:write", "deploy:read")
