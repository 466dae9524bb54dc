"""What people and programs may do beside deployments: tokens, secrets, the audit log.

asked → state.transaction(): tokens │ secrets, and an audit entry → published → view
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dosirak.deployment.admin_views import (
    AuditEntryView,
    AuditVerdict,
    CreatedToken,
    RevokedToken,
    SecretView,
    TokenView,
)
from dosirak.deployment.asking import Asking
from dosirak.deployment.ledger import Ledger
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.access_files import publish_access
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.secrets import (
    SecretRecord,
    delete_secret,
    list_secrets,
    set_secret,
)
from dosirak.deployment.state.tokens import (
    TokenRecord,
    check_token,
    create_token,
    find_token,
    list_tokens,
    revoke_token,
)
from dosirak.deployment.views import moment
from dosirak.errors import Conflict


@dataclass(frozen=True, slots=True)
class Administration:
    """The verbs of tokens, secrets and the audit log.

    Attributes:
        state: where tokens and secrets are kept.
        paths: where the key, the log and the files of callers' tokens are.
        ledger: writes the audit log.
        wake: tells the controller that something changed.
    """

    state: PlatformState
    paths: PlatformPaths
    ledger: Ledger
    wake: Callable[[], None]

    # Tokens.

    def holder(self, text: str) -> TokenRecord:
        """Return the token that a caller has shown.

        Raises:
            Unauthorized: it is unknown, revoked or has expired.
        """
        return check_token(self.state, text, None)

    def create_token(
        self, asking: Asking, name: str, scopes: Iterable[str], *, lifetime_s: float | None
    ) -> CreatedToken:
        """Make a token; its text is in the answer and nowhere else.

        No answer is kept to be repeated, for it shows the token: of two requests the second one
        finds the name taken.

        Raises:
            AlreadyExists: a valid token has this name.
            InvalidConfiguration: the scopes or the lifetime are of no use.
        """
        with self.state.transaction() as transaction:
            made = create_token(
                transaction, name, scopes, created_by=asking.actor, lifetime_s=lifetime_s
            )
            self.ledger.note(transaction, asking, about=name)
        self._tokens_changed()
        return CreatedToken(**_token_view(made.record).model_dump(), token=made.text)

    def list_tokens(self) -> tuple[TokenView, ...]:
        """Return the tokens, the oldest first."""
        with self.state.reading() as reading:
            return tuple(map(_token_view, list_tokens(reading)))

    def revoke_token(self, asking: Asking, which: str) -> RevokedToken:
        """End a token now; one that was revoked already stays as it is.

        Raises:
            NotFound: there is none.
        """
        with self.state.transaction() as transaction:
            before = find_token(transaction, which)
            revoked = revoke_token(transaction, before.id)
            self.ledger.note(transaction, asking, about=revoked.name)
        self._tokens_changed()
        already = before.revoked_at is not None
        return RevokedToken(**_token_view(revoked).model_dump(), already=already)

    # Secrets.

    def set_secret(self, asking: Asking, name: str, value: str) -> SecretView:
        """Keep a secret, new or not.

        Raises:
            InvalidName: the name is none that a variable may have.
            InvalidConfiguration: the value is none that one may have.
        """
        with self.state.transaction() as transaction:
            set_secret(transaction, self.paths, name, value)
            kept = next(each for each in list_secrets(transaction) if each.name == name)
            self.ledger.note(transaction, asking, about=name)
        self.ledger.flush()
        return _secret_view(kept)

    def list_secrets(self) -> tuple[SecretView, ...]:
        """Return the secrets, by name, without their values."""
        with self.state.reading() as reading:
            return tuple(map(_secret_view, list_secrets(reading)))

    def delete_secret(self, asking: Asking, name: str) -> SecretView:
        """Forget a secret; replicas that have it keep it until they end.

        Raises:
            NotFound: there is none of this name.
            Conflict: a deployment names it, and could not start a replica any more.
        """
        with self.state.transaction() as transaction:
            users = [
                deployment.name
                for deployment in transaction.deployments()
                if name in deployment.configuration.secrets
            ]
            if users:
                raise Conflict(
                    f"The secret {name!r} is used by {', '.join(users)}.",
                    remedy="Take it out of their configuration first.",
                )
            known = [each for each in list_secrets(transaction) if each.name == name]
            delete_secret(transaction, name)
            self.ledger.note(transaction, asking, about=name)
        self.ledger.flush()
        return _secret_view(known[0])

    # The audit log.

    def audit_entries(self, limit: int) -> tuple[AuditEntryView, ...]:
        """Return the last entries, the oldest first."""
        return self.ledger.entries(limit)

    def verify_audit(self) -> AuditVerdict:
        """Read the whole log and say whether it is whole."""
        return self.ledger.verify()

    def _tokens_changed(self) -> None:
        """Have replicas know at once, before what a full disk could keep from happening."""
        with self.state.reading() as reading:
            deployments = {
                deployment.name: deployment.configuration.access
                for deployment in reading.deployments()
            }
        publish_access(self.state, self.paths, deployments)
        self.ledger.flush()
        self.wake()


def _token_view(record: TokenRecord) -> TokenView:
    return TokenView(
        id=record.id,
        name=record.name,
        scopes=record.scopes,
        created_at=moment(record.created_at),
        created_by=record.created_by,
        expires_at=None if record.expires_at is None else moment(record.expires_at),
        last_used_at=None if record.last_used_at is None else moment(record.last_used_at),
        revoked_at=None if record.revoked_at is None else moment(record.revoked_at),
    )


def _secret_view(record: SecretRecord) -> SecretView:
    return SecretView(
        name=record.name,
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
    )
