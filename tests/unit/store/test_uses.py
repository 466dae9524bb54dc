"""What somebody beyond the store uses is not deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dosirak.errors import Conflict, CorruptContent
from dosirak.naming import Reference
from dosirak.store import Entry, Store
from dosirak.store.layout import Layout
from dosirak.store.uses import users_of, write_uses

Save = Callable[..., Entry]
IRIS = Reference.parse("iris:1")


def test_an_owner_says_all_that_it_uses_at_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert users_of(layout, "bundles", IRIS) == []
    write_uses(layout, "platform", {"bundles": {"iris:1": ["a", "b"]}})
    write_uses(layout, "other", {"bundles": {"iris:2": ["c"]}})
    assert users_of(layout, "bundles", IRIS) == ["platform: a", "platform: b"]
    assert users_of(layout, "models", IRIS) == []
    write_uses(layout, "platform", {"bundles": {}})
    assert users_of(layout, "bundles", IRIS) == []


def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_uses(layout, "platform", {"bundles": {"iris:1": ["a"]}})
    (layout.uses / "platform.json").write_text("[")
    with pytest.raises(CorruptContent, match=r"platform\.json"):
        users_of(layout, "bundles", IRIS)


def test_a_version_in_use_is_not_deleted_until_it_is_not(store: Store, save: Save) -> None:
    save("iris", "1", {"a": b"1"})
    store.note_uses("platform", {"models": {"iris:1": ["my-first"]}})
    with pytest.raises(Conflict, match="platform: my-first"):
        store.delete("models", "iris:1")
    assert store.resolve("models", "iris").version == "1"
    store.note_uses("platform", {})
    store.delete("models", "iris:1")
