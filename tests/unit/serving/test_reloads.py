"""Reloading, as decisions: what may be ordered, what changed, what is news, which files count."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watchfiles import Change

from dosirak.bundles.targets import PinnedTarget, TargetKind
from dosirak.errors import InvalidInput, ModelNotFound
from dosirak.serving.identity import ServiceIdentity
from dosirak.serving.reloads import (
    Followed,
    ReloadOrder,
    Served,
    changes_between,
    followed_by,
    news,
    refusal,
    target_of,
)
from dosirak.serving.watching import (
    change_times_ns,
    late_changes,
    own_changes,
    source_directories,
)


def _served(target: str, revision: str = "r", **models: str) -> Served:
    floating = {attribute: f"{exact.split(':')[0]}:latest" for attribute, exact in models.items()}
    return Served(target, ServiceIdentity(revision, models, floating))


@pytest.mark.parametrize(
    ("asked", "started_with", "pinned", "opened"),
    [
        ("", "service.py", "service.py", "service.py"),
        ("service.py", "service.py", "service.py", "service.py"),
        ("", "iris:latest", "iris:2", "iris:latest"),
        ("iris:latest", "iris:latest", "iris:2", "iris:latest"),
        ("iris:1", "iris:latest", "iris:2", "iris:1"),
        ("iris", "iris:1", "iris:1", "iris"),
    ],
)
def test_an_order_names_what_was_started_or_another_version_of_it(
    asked: str, started_with: str, pinned: str, opened: str
) -> None:
    order, kind = ReloadOrder(asked), "files" if pinned.endswith(".py") else "models"
    served = Served(pinned, ServiceIdentity("r"), kind)
    assert target_of(order, started_with=started_with, served=served) == opened


@pytest.mark.parametrize(
    ("asked", "pinned", "kind"),
    [
        ("other:1", "iris:2", "models"), ("other.py", "service.py", "files"),
        ("iris:1", "service.py", "files"), ("/etc/passwd", "iris:2", "bundles"),
        ("iris:1:2", "iris:2", "bundles"), ("../iris", "iris:2", "models"),
        ("./iris", "./iris-project", "files"), ("service:Other", "service", "files"),
    ],
)  # fmt: skip
def test_an_order_can_name_nothing_else(asked: str, pinned: str, kind: TargetKind) -> None:
    served = Served(pinned, ServiceIdentity("r"), kind)
    with pytest.raises(InvalidInput, match="cannot make it serve"):
        target_of(ReloadOrder(asked), started_with=pinned, served=served)


@given(st.text(max_size=30))
def test_no_text_opens_a_path_of_a_server_of_files(asked: str) -> None:
    try:
        opened = target_of(
            ReloadOrder(asked), started_with="service.py", served=_served("service.py")
        )
    except InvalidInput:
        return
    assert opened == "service.py"


def test_changes_are_told_by_what_differs() -> None:
    old = _served("service.py", "a", model="iris:1", other="x:1")
    assert changes_between(old, _served("service.py", "b", model="iris:2", other="x:1")) == (
        "model: iris:1 → iris:2",
    )
    assert changes_between(old, _served("service.py", "b", model="iris:1", other="x:1")) == (
        "source",
    )
    assert changes_between(old, _served("service.py", "b", other="x:1")) == (
        "model: iris:1 → none",
    )
    assert changes_between(old, old) == ()
    # A model that is served alone is named once.
    assert changes_between(_served("m:1", "a", model="m:1"), _served("m:2", "b", model="m:2")) == (
        "m:1 → m:2",
    )


def test_a_refusal_keeps_the_cause_and_its_remedy() -> None:
    error = refusal(ModelNotFound("No such model.", remedy="Save it."))
    assert (error.code, error.http_status) == ("reload_refused", 409)
    assert error.message.endswith("No such model.")
    assert error.remedy == "Save it."


def test_only_references_without_a_fixed_version_are_followed() -> None:
    assert followed_by("service.py", _served("service.py", model="iris:1")) == {
        Followed("iris:latest", "models"): "iris:1"
    }
    model = Served("iris:3", ServiceIdentity("r"), "models")
    assert followed_by("iris", model) == {Followed("iris", "models"): "iris:3"}
    assert followed_by("iris:3", model) == {}


LATEST = Followed("iris:latest", "models")


def test_news_is_what_means_something_else_than_before() -> None:
    assert news({LATEST: "iris:1"}, {LATEST: "iris:2"}) == ("iris:1 → iris:2",)
    assert news({LATEST: "iris:1"}, {LATEST: "iris:1"}) == ()
    assert news({}, {LATEST: "iris:1"}) == ()
    assert news({LATEST: "iris:1"}, {}) == ()


IDENTITY = ServiceIdentity(
    "r", {}, {}, root="/p", files=("service.py", "parts/one.py", "dosirak.toml")
)


def test_a_file_that_changed_since_its_import_began_is_late_once() -> None:
    times = {"service.py": 5, "parts/one.py": 10, "dosirak.toml": 11}
    assert late_changes(times, {}, began_ns=10) == ["dosirak.toml", "parts/one.py"]
    assert late_changes(times, {"parts/one.py": 9}, began_ns=10) == ["dosirak.toml", "parts/one.py"]
    assert late_changes(times, times, began_ns=10) == []
    assert late_changes(times, {}, began_ns=12) == []


def test_a_file_that_takes_an_imported_ones_place_has_changed(tmp_path: Path) -> None:
    identity = ServiceIdentity("r", {}, {}, str(tmp_path), ("service.py", "gone.py"), 1)
    (tmp_path / "service.py").write_text("1")
    (tmp_path / "other.py").write_text("2")
    os.utime(tmp_path / "other.py", ns=(0, 0))
    before = change_times_ns(identity)
    assert before.keys() == {"service.py"}
    time.sleep(0.02)  # longer than the system's clock stands still
    (tmp_path / "other.py").replace(tmp_path / "service.py")
    assert late_changes(change_times_ns(identity), before, began_ns=1) == ["service.py"]


def test_the_directories_of_imported_files_are_watched_and_no_others() -> None:
    assert source_directories(IDENTITY) == [Path("/p"), Path("/p/parts")]
    assert source_directories(ServiceIdentity("r")) == []


def test_source_and_settings_count_and_nothing_else() -> None:
    changes = [
        (Change.modified, "/p/service.py"),
        (Change.added, "/p/parts/new.py"),
        (Change.modified, "/p/dosirak.toml"),
        (Change.modified, "/p/pyproject.toml"),
        (Change.modified, "/p/requests.log"),
        (Change.added, "/p/data.sqlite3"),
        (Change.modified, "/elsewhere/service.py"),
    ]
    assert own_changes(changes, IDENTITY) == [
        "dosirak.toml", "parts/new.py", "pyproject.toml", "service.py",
    ]  # fmt: skip


def test_what_is_in_the_store_is_known_before_it_is_opened() -> None:
    served = Served("iris:2", ServiceIdentity("r"), "models", "sha256:a")
    assert served.is_what(PinnedTarget("iris:2", "models", "sha256:a"))
    assert not served.is_what(PinnedTarget("iris:3", "models", "sha256:a"))
    # Deleted, and saved again under its name with something else in it.
    assert not served.is_what(PinnedTarget("iris:2", "models", "sha256:b"))
    files = Served("service.py", ServiceIdentity("r"))
    assert not files.is_what(PinnedTarget("service.py", "files"))
