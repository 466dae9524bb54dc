"""Distributions and exact versions, from a realistic project and the running environment."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dosirak.bundles.distributions import InstalledDistributions
from dosirak.bundles.environment import Environment, capture, check, check_running_python
from dosirak.bundles.imports import ImportScan, LocalModules, scan_imports
from dosirak.bundles.installed_modules import is_installed_module
from dosirak.bundles.report import BuildEvent
from dosirak.errors import InvalidConfiguration

SERVICE = """
import numpy as np
import pandas as pd
from my_lib import preprocessing

def predict(df):
    import xgboost as xgb
    return preprocessing.clean(df)
"""
PREPROCESSING = """
from __future__ import annotations
import logging
from typing import TYPE_CHECKING
from sklearn.preprocessing import StandardScaler
if TYPE_CHECKING:
    import torch
def clean(df):
    return df
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "my_lib").mkdir()
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "my_lib" / "__init__.py").touch()
    (tmp_path / "my_lib" / "preprocessing.py").write_text(PREPROCESSING)
    return tmp_path


def scan_of(project: Path) -> ImportScan:
    return scan_imports(["service"], LocalModules([project], is_installed_module))


def captured(
    project: Path, events: list[BuildEvent] | None = None, **options: object
) -> Environment:
    report = events.append if events is not None else lambda _: None
    return capture(scan_of(project), project=project, report=report, **options)  # type: ignore[arg-type]


def pinned(*names: str) -> set[str]:
    return {f"{name}=={version(name).partition('+')[0]}" for name in names}


def test_a_realistic_project_is_pinned_to_what_is_installed(project: Path) -> None:
    environment = captured(project)
    assert set(environment.direct) == pinned(
        "dosirak", "numpy", "pandas", "scikit-learn", "xgboost"
    )
    assert pinned("scipy", "joblib", "python-dateutil", "msgspec") <= set(environment.indirect)
    assert not any(line.startswith("torch") for line in environment.requirements)
    assert environment.python == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_what_is_installed_from_a_directory_says_what_that_means_and_what_to_do(
    project: Path,
) -> None:
    events: list[BuildEvent] = []
    captured(project, events)
    (said,) = [event.message for event in events if event.subject == "dosirak"]
    assert f"dosirak=={version('dosirak')}" in said
    assert "Here it is fine" in said
    assert "install dosirak from the same source" in said


def test_the_running_environment_satisfies_what_was_captured(project: Path) -> None:
    assert check(captured(project).requirements) == []


def test_the_text_is_the_same_every_time_with_direct_ones_first(project: Path) -> None:
    first, second = captured(project).requirements_text(), captured(project).requirements_text()
    assert first == second
    lines = first.splitlines()
    comment = next(index for index, line in enumerate(lines) if line.startswith("#"))
    assert lines[: comment - 1] == sorted(lines[: comment - 1])
    assert lines[comment + 1 :] == sorted(lines[comment + 1 :])
    assert not set(lines[:comment]) & set(lines[comment + 1 :])


def test_a_module_that_maps_to_nothing_is_named_with_its_place(project: Path) -> None:
    (project / "service.py").write_text("import no_such_module_anywhere\n")
    events: list[BuildEvent] = []
    captured(project, events)
    warnings = [event for event in events if event.kind == "warn"]
    assert [event.subject for event in warnings] == ["no_such_module_anywhere"]
    assert "service.py:1" in warnings[0].message


@pytest.mark.parametrize(
    ("imported", "required"),
    [
        ("no_such_module", "no-such-module==6.1"),
        ("no_such_module.part", "No.Such_Module"),
        ("no_such.module.part", "no-such-module[extra]>=1; python_version >= '3'"),
    ],
)
def test_a_module_whose_distribution_the_author_names_is_not_warned_of(
    project: Path, imported: str, required: str
) -> None:
    (project / "service.py").write_text(f"import {imported}\nimport nobody_names_this\n")
    events: list[BuildEvent] = []
    captured(project, events, author_requirements=[required])
    warned = [event.subject for event in events if event.kind == "warn"]
    assert [subject for subject in warned if subject != "no-such-module"] == ["nobody_names_this"]


def test_an_optional_module_is_only_noted(project: Path) -> None:
    (project / "service.py").write_text(
        "try:\n    import no_such_module_anywhere\nexcept ImportError:\n    pass\n"
    )
    events: list[BuildEvent] = []
    captured(project, events)
    assert [event.kind for event in events if event.subject == "no_such_module_anywhere"] == [
        "note"
    ]


def test_the_authors_requirement_is_pinned_when_installed(project: Path) -> None:
    environment = captured(project, author_requirements=["pyarrow>=1"])
    assert pinned("pyarrow") <= set(environment.direct)


def test_extras_are_honoured_in_pin_and_closure(project: Path) -> None:
    without = captured(project, author_requirements=["dosirak"])
    environment = captured(project, author_requirements=["dosirak[lightgbm]"])
    assert any(line.startswith("dosirak[lightgbm]==") for line in environment.direct)
    assert pinned("lightgbm") <= set(environment.indirect)
    assert not pinned("lightgbm") & set(without.requirements)


def test_the_authors_word_stands_against_what_is_installed(project: Path) -> None:
    events: list[BuildEvent] = []
    environment = captured(project, events, author_requirements=["pyarrow==0.1"])
    assert "pyarrow==0.1" in environment.direct
    assert any(event.kind == "warn" and event.subject == "pyarrow" for event in events)


def test_what_is_not_installed_keeps_the_authors_words(project: Path) -> None:
    environment = captured(project, author_requirements=["no-such-distribution>=3"])
    assert "no-such-distribution>=3" in environment.direct


def test_a_requirement_that_cannot_be_read_is_refused(project: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="not a requirement"):
        captured(project, author_requirements=["!!"])


def test_a_models_requirement_joins_and_a_difference_is_said(project: Path) -> None:
    events: list[BuildEvent] = []
    environment = captured(project, events, model_requirements=["catboost==0.0.1"])
    assert pinned("catboost") <= set(environment.direct)
    assert any(event.kind == "warn" and event.subject == "catboost" for event in events)


def test_mismatches_are_listed() -> None:
    found = check(["numpy==0.1", "no-such-distribution==1", f"pandas=={version('pandas')}"])
    assert [(item.requirement, item.installed) for item in found] == [
        ("numpy==0.1", version("numpy")),
        ("no-such-distribution==1", None),
    ]


def test_a_requirement_of_another_platform_is_no_mismatch() -> None:
    assert check(["no-such-distribution==1 ; sys_platform == 'nowhere'"]) == []


def test_running_python_is_checked() -> None:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert check_running_python(running) is None
    assert check_running_python("3.7") is not None


def make_distribution(
    site: Path, name: str, *, requires: tuple[str, ...] = (), direct_url: str = "", files: str = ""
) -> None:
    information = site / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    (information / "METADATA").write_text("\n".join(lines) + "\n")
    if direct_url:
        (information / "direct_url.json").write_text(direct_url)
    (information / "RECORD").write_text(files)


def test_the_project_itself_travels_as_source_and_its_needs_are_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, site = tmp_path / "project", tmp_path / "site-packages"
    package = project / "src" / "my_installed_project"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import numpy\n")
    make_distribution(
        site,
        "my-installed-project",
        requires=("pyarrow", "pillow ; extra == 'pictures'"),
        direct_url=f'{{"url": "file://{project}", "dir_info": {{"editable": true}}}}',
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(project / "src"))
    # Outside the scanned roots, as an editable install seen from a service beside it.
    (project / "service.py").write_text("import my_installed_project\n")
    events: list[BuildEvent] = []
    environment = captured(project, events)
    assert not any("my-installed-project" in line for line in environment.requirements)
    assert pinned("pyarrow") <= set(environment.indirect)
    assert not pinned("pillow") & set(environment.indirect)
    assert any(event.subject == "my-installed-project" for event in events)


def test_a_local_distribution_outside_the_project_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, site, project = tmp_path / "other", tmp_path / "site-packages", tmp_path / "project"
    other.mkdir()
    project.mkdir()
    (other / "other_local.py").touch()
    make_distribution(site, "other-local", direct_url=f'{{"url": "file://{other}"}}')
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.syspath_prepend(str(other))
    (project / "service.py").write_text("import other_local\n")
    events: list[BuildEvent] = []
    environment = captured(project, events)
    assert "other-local==1.0" in environment.direct
    assert [event.kind for event in events if event.subject == "other-local"] == ["warn"]


def test_version_control_origin_is_pinned_to_the_commit_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    make_distribution(
        site,
        "from-git",
        direct_url='{"url": "https://user:token@host.example/a/b.git",'
        ' "vcs_info": {"vcs": "git", "commit_id": "abc123"}}',
    )
    monkeypatch.syspath_prepend(str(site))
    found = InstalledDistributions().get("from-git")
    assert found is not None
    assert found.pin == "from-git @ git+https://host.example/a/b.git@abc123"
    assert check([found.pin]) == []


def test_a_shared_namespace_is_told_apart_by_the_longest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    make_distribution(site, "space-one", files="shared_space/one/__init__.py,,\n")
    make_distribution(site, "space-two", files="shared_space/two/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(site))
    installed = InstalledDistributions()
    assert installed.providing("shared_space.one.Thing") == ("space-one",)
    assert installed.providing("shared_space.two") == ("space-two",)


def test_a_missing_part_of_the_closure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, project = tmp_path / "site-packages", tmp_path / "project"
    project.mkdir()
    make_distribution(
        site, "needs-more", requires=("no-such-distribution>=2",), files="needs_more.py,,\n"
    )
    monkeypatch.syspath_prepend(str(site))
    (project / "service.py").write_text("import needs_more\n")
    events: list[BuildEvent] = []
    captured(project, events)
    assert any("no-such-distribution" in event.message for event in events)


def test_a_models_library_under_another_name_is_pinned_to_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, project = tmp_path / "site-packages", tmp_path / "project"
    project.mkdir()
    make_distribution(site, "my-boost-cpu", files="my_boost/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(site))
    (project / "service.py").write_text("import my_boost\n")
    found = captured(project, model_requirements=["my-boost==1.0"])
    wanted = InstalledDistributions().get("my-boost-cpu")
    assert wanted is not None
    assert [line for line in found.requirements if "boost" in line] == [wanted.pin]
