"""What a scope covers; what is not said is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.state.scopes import check_scope, covers
from dosirak.errors import InvalidConfiguration

KINDS = ("infer", "deploy:read", "deploy:write")
SCOPES = (
    "admin",
    "audit:read",
    "secrets:write",
    *(f"{kind}:{name}" for kind in KINDS for name in ("*", "iris", "rose")),
)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_is_taken_as_it_is(scope: str) -> None:
    assert check_scope(scope) == scope


@pytest.mark.parametrize(
    "scope",
    ["", "*", "infer", "infer:", "infer:*:x", "deploy:iris", "deploy:*:iris", "Admin", "admin ",
     "admin:*", "infer:../x", "infer:IRIS", "audit:*", "secrets:read", "deploy:read", "infer:a*"],
)  # fmt: skip
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is not a scope"):
        check_scope(scope)


@pytest.mark.parametrize("wanted", SCOPES)
def test_admin_covers_everything_and_nothing_covers_nothing(wanted: str) -> None:
    assert covers(["admin"], wanted)
    assert not covers([], wanted)


@pytest.mark.parametrize(
    ("scope", "wanted", "expected"),
    [
        ("infer:iris", "infer:iris", True),
        ("infer:*", "infer:iris", True),
        ("infer:iris", "infer:rose", False),
        ("infer:iris", "infer:*", False),
        ("deploy:write:iris", "deploy:read:iris", True),
        ("deploy:write:*", "deploy:read:*", True),
        ("deploy:write:*", "deploy:read:iris", True),
        ("deploy:write:iris", "deploy:read:*", False),
        ("deploy:read:iris", "deploy:write:iris", False),
        ("deploy:read:*", "infer:iris", False),
        ("deploy:write:iris", "infer:iris", False),
        ("infer:*", "deploy:read:iris", False),
        ("infer:*", "secrets:write", False),
        ("audit:read", "secrets:write", False),
        ("deploy:write:*", "admin", False),
        ("deploy:write:*", "", False),
    ],
)
def test_what_a_scope_covers(scope: str, wanted: str, expected: bool) -> None:
    assert covers([scope], wanted) is expected


@given(st.lists(st.sampled_from(SCOPES)), st.sampled_from(SCOPES))
def test_more_scopes_never_cover_less(scopes: list[str], wanted: str) -> None:
    assert covers(scopes, wanted) == any(covers([scope], wanted) for scope in scopes)


@given(st.sampled_from([scope for scope in SCOPES if scope != "admin"]), st.text(max_size=30))
def test_a_name_that_somebody_made_up_opens_nothing(scope: str, name: str) -> None:
    if name not in ("*", "iris", "rose"):
        for kind in KINDS:
            star = scope.endswith(":*")
            allowed = star and scope[:-2] in (kind, "deploy:write") and ":" not in name
            assert not covers([scope], f"{kind}:{name}") or allowed
