"""A flood of refused attempts fills no log, and what was left out is said."""

from __future__ import annotations

import json

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.audit import AuditLog
from dosirak.deployment.state.audit_check import verify
from dosirak.deployment.state.audit_lines import AuditEntry
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.refusals import AT_ONCE, RefusalBudget


def test_a_thousand_at_once_and_a_thousand_each_minute() -> None:
    budget = RefusalBudget()
    assert [budget.take(5.0) for _ in range(AT_ONCE)] == [0] * AT_ONCE
    assert [budget.take(5.0) for _ in range(3)] == [None] * 3
    assert budget.take(4.0) is None  # a clock that goes back gives nothing
    assert budget.take(4.07) == 4
    assert budget.take(4.07) is None
    later = [budget.take(1e6) for _ in range(AT_ONCE + 1)]
    assert later == [1, *[0] * (AT_ONCE - 1), None]


def test_the_log_says_how_many_it_left_out(paths: PlatformPaths, state: PlatformState) -> None:
    audit = AuditLog(paths, state)
    refused = AuditEntry(1.0, "nobody", "deployment.delete", result="refused: unauthorized")
    audit.append_refused(refused)
    audit._refusals._omitted = 7
    audit.append_refused(refused)
    lines = [json.loads(line) for line in paths.audit_log.read_bytes().splitlines()]
    assert [line["action"] for line in lines] == [
        "deployment.delete",
        "audit.omitted",
        "deployment.delete",
    ]
    assert lines[1]["result"] == "7 more refused attempts were not written"
    assert verify(paths, state).sound
