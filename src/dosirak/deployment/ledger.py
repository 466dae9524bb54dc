"""The audit log as the platform's verbs see it: who asked for what, and what came of it.

Asking + outcome → AuditEntry ─ with the change (`note`, then `flush`) or alone (`refuse`)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from dosirak.deployment.admin_views import AuditEntryView, AuditVerdict
from dosirak.deployment.asking import Asking
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.audit_check import verify
from dosirak.deployment.state.audit_lines import AuditEntry, AuditLine, parsed_line
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.transactions import Transaction
from dosirak.deployment.views import moment
from dosirak.errors import StorageError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.store.failures import translated

_logger = logging.getLogger(f"{ROOT_LOGGER}.platform")
_NOBODY = "nobody"
_LINE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Ledger:
    """The audit log of one platform."""

    paths: PlatformPaths
    state: PlatformState
    log: AuditLog

    @classmethod
    def of(cls, paths: PlatformPaths, state: PlatformState) -> Ledger:
        """Return the log of a home."""
        return cls(paths, state, AuditLog(paths, state))

    def note(
        self,
        transaction: Transaction,
        asking: Asking,
        *,
        about: str,
        digest: str = "",
        outcome: str = "done",
    ) -> None:
        """Commit an entry along with the change that it is about; `flush` follows."""
        entry = _entry(asking, transaction.now, about, outcome, digest)
        self.log.note(transaction, entry)

    def flush(self) -> None:
        """Write what was noted to the file.

        What was asked has been done, so a disk that refuses fails nobody: the entries wait in the
        database until the next time.
        """
        try:
            self.log.flush()
        except StorageError as error:
            _logger.error("The audit log waits in the database. %s", error)

    def refuse(self, asking: Asking, about: str, outcome: str, at: float) -> None:
        """Write an entry about what was refused, or failed; of a flood, some."""
        self.log.append_refused(_entry(asking, at, about, outcome, ""))

    def entries(self, limit: int) -> tuple[AuditEntryView, ...]:
        """Return the last entries, the oldest first."""
        with translated("Reading the audit log", self.paths.audit_log):
            return tuple(_view(line) for line in _last_lines(self.paths.audit_log, limit))

    def verify(self) -> AuditVerdict:
        """Read the whole log and say whether it is whole."""
        report = verify(self.paths, self.state)
        return AuditVerdict(
            whole=report.sound,
            entries=report.entries,
            pending=report.pending,
            problems=report.problems,
            notes=report.notes,
        )


def _entry(asking: Asking, at: float, about: str, outcome: str, digest: str) -> AuditEntry:
    kind = asking.action.partition(".")[0]
    return AuditEntry(
        at=at,
        who=asking.token_id or asking.actor or _NOBODY,
        action=asking.action,
        object=f"{kind}/{about}" if about else "",
        object_digest=digest,
        from_address=asking.address,
        result=outcome,
        request_id=asking.request_id,
    )


def _view(line: AuditLine) -> AuditEntryView:
    entry = line.entry
    return AuditEntryView(
        number=line.seq,
        at=moment(entry.at),
        who=entry.who,
        action=entry.action,
        object=entry.object,
        object_digest=entry.object_digest,
        from_address=entry.from_address,
        result=entry.result,
        request_id=entry.request_id,
    )


def _last_lines(path: Path, limit: int) -> list[AuditLine]:
    """Read the end of the file, more of it until there are enough lines."""
    if not path.exists():
        return []
    window_bytes = limit * _LINE_BYTES
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        while True:
            start = max(0, size_bytes - window_bytes)
            file.seek(start)
            pieces = file.read(size_bytes - start).split(b"\n")
            lines = [line for piece in pieces if (line := parsed_line(piece)) is not None]
            if start == 0 or len(lines) >= limit:
                return lines[-limit:]
            window_bytes *= 4
