"""`dosirak platform`: what its options set, and what it says of one that runs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Dosirak
from tests.unit.deployment.platform_on_paper import on_paper, served

from dosirak.cli.platform import settings_given
from dosirak.deployment.control.process import ControlRecord, write_record
from dosirak.deployment.platform_settings import PlatformSettings
from dosirak.errors import UsageError
from dosirak.store import Store

NOTHING = {"port": None, "tls_certificate": None, "tls_key": None, "no_tls": False}


def test_tls_is_switched_on_kept_and_switched_off() -> None:
    files = {"tls_certificate": Path("/c.pem"), "tls_key": Path("/k.pem")}
    before = PlatformSettings().changed(settings_given({**NOTHING, **files}))
    assert before.tls_certificate == Path("/c.pem")
    kept = before.changed(settings_given({**NOTHING, "port": 9000}))
    assert (kept.port, kept.tls_key) == (9000, Path("/k.pem"))
    assert settings_given(NOTHING) == {}
    after = kept.changed(settings_given({**NOTHING, "no_tls": True}))
    assert after == PlatformSettings(port=9000)
    with pytest.raises(UsageError, match="contradicts"):
        settings_given({**NOTHING, **files, "no_tls": True})


def test_a_certificate_without_a_name_is_refused(dosirak: Dosirak, home: Path) -> None:
    found = dosirak("platform", "start", "--tls-certificate", "")
    assert (found.code, "--no-tls" in found.err) == (2, True)
    assert not home.exists()


def test_who_has_no_token_is_told_that_it_runs(
    dosirak: Dosirak, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOSIRAK_PLATFORM_TOKEN", "dsk_none")
    with (
        on_paper(home, Store(tmp_path / "store")) as platform,
        served(platform) as url,
        platform.paths.control_lock.open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_record(platform.paths, ControlRecord(url, os.getpid(), 1.0, "0"))
        found = dosirak("platform", "status", "-o", "json")
    assert found.code == 0
    assert (found.data["running"], found.data["url"]) == (True, url)
    assert found.data["pid"] == os.getpid()
    assert "DOSIRAK_PLATFORM_TOKEN" in found.err
