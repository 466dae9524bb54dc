"""Whether the audit log is as it was written: `verify` reads all of it and says what is not.

An edited, removed, added or moved line breaks the chain; a shortened file has lost the line that
the database remembers. A line that a crash has torn is reported and is no problem: what a crash
leaves can only be the beginning of a line at the file's end, before it was promised to anybody.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import Head, heads, pending_entries
from dosirak.deployment.state.audit_lines import AHEAD, TORN, AuditLine, parsed_line
from dosirak.deployment.state.database import PlatformState
from dosirak.store.failures import translated

PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found.

    Attributes:
        entries: lines that are as they were written.
        pending: entries that the database holds and the file does not yet.
        problems: what was tampered with or is damaged, by line; the first hundred.
        notes: what a crash or a restored database left, and nobody need worry about.
    """

    entries: int
    pending: int = 0
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing was tampered with."""
        return not self.problems


def verify(paths: PlatformPaths, state: PlatformState) -> AuditReport:
    """Read the whole log and check it against itself and the database.

    Raises:
        StorageError: the file cannot be read.
    """
    path = paths.audit_log
    with translated("Reading the audit log", path):
        # Nobody writes while the two are compared; the file itself only grows afterwards.
        with state.transaction() as transaction:
            known, waiting = heads(transaction), pending_entries(transaction)
            size_bytes = path.stat().st_size if path.exists() else 0
        checking = _Checking(known, is_embedded=state.is_embedded)
        for number, data, is_whole in _pieces(path, size_bytes):
            checking.take(number, data, is_whole=is_whole)
    checking.finish({each.id for each in waiting.values()})
    return AuditReport(
        checking.entries,
        sum(each.id not in checking.after_head for each in waiting.values()),
        tuple(checking.problems[:PROBLEMS_MAX]),
        tuple(checking.notes[:PROBLEMS_MAX]),
    )


def _pieces(path: Path, size_bytes: int) -> Generator[tuple[int, bytes, bool], None, None]:
    """Yield each line of the file's first bytes, and whether it has an end."""
    if size_bytes == 0:
        return
    left_bytes = size_bytes
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            taken = line[:left_bytes]
            left_bytes -= len(taken)
            yield number, taken.removesuffix(b"\n"), taken.endswith(b"\n")
            if left_bytes == 0:
                return


@dataclass(slots=True)
class _Checking:
    """The state of reading from the first line to the last."""

    known: dict[str, Head]
    is_embedded: bool
    entries: int = 0
    chain: str = ""
    last: AuditLine | None = None
    head_found: bool = False
    after_head: set[str] = field(default_factory=set[str])
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    torn: deque[tuple[int, str]] = field(default_factory=deque[tuple[int, str]])

    def take(self, number: int, data: bytes, *, is_whole: bool) -> None:
        """Check one line against the one before it."""
        line = parsed_line(data)
        if line is None:
            self._take_torn(number, data, is_whole=is_whole)
            return
        self._explain_torn(number, line)
        self._compare(number, line)
        self.entries += 1
        self.last = line
        if self.head_found:
            self.after_head.add(line.id)
        head = self.known.get(self.chain)
        self.head_found |= head is not None and line.sha256 == head.sha256
        if line.entry.action == AHEAD:
            self.notes.append(f"Line {number}: {line.entry.result}.")

    def finish(self, waiting: set[str]) -> None:
        """Check what only the whole log shows."""
        self._refuse_torn()
        self._check_heads()
        if newer := self.after_head - waiting:
            self.notes.append(f"The database knows nothing of the last {len(newer)} entries.")

    def _take_torn(self, number: int, data: bytes, *, is_whole: bool) -> None:
        if is_whole:
            self.torn.append((number, hashlib.sha256(data).hexdigest()))
        else:
            self.notes.append(f"Line {number}, the last one, was torn by a crash.")

    def _explain_torn(self, number: int, line: AuditLine) -> None:
        """Match torn lines with the entries that must follow them, in their order."""
        if line.entry.action != TORN:
            self._refuse_torn()
        elif self.torn and self.torn[0][1] == line.entry.object_digest:
            self.notes.append(f"Line {self.torn.popleft()[0]} was torn by a crash.")
        else:
            self.problems.append(f"The torn line that line {number} tells of was changed or moved.")

    def _refuse_torn(self) -> None:
        for number, _ in self.torn:
            self.problems.append(f"Line {number} is no entry: it was changed or added.")
        self.torn.clear()

    def _compare(self, number: int, line: AuditLine) -> None:
        if self.last is None:
            self.chain = line.prev
            if line.seq != 1:
                self.problems.append(f"Line {number} is entry {line.seq}: earlier ones are gone.")
        elif line.prev != self.last.sha256 or line.seq != self.last.seq + 1:
            self.problems.append(
                f"Line {number} (entry {line.seq}) does not follow entry {self.last.seq}:"
                " something was changed, removed, added or moved."
            )

    def _check_heads(self) -> None:
        head = self.known.get(self.chain)
        if head is not None and not self.head_found:
            self.problems.append(
                f"The entry {head.seq}, the last one that the database knows, is not in the log:"
                " it was cut short or changed."
            )
        if head is None and self.entries:
            self.notes.append("The database knows nothing of this log.")
        others = [each for chain, each in self.known.items() if chain != self.chain]
        # A shared database also knows the logs of other machines.
        if self.is_embedded and others:
            self.problems.append(
                f"A log of {max(each.seq for each in others)} entries that the database knows is"
                " gone."
            )
