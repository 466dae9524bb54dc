from __future__ import annotations

import shlex
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dosirak.cli import doctor
from dosirak.models import save

FOUND = Requirement("click>=8")
TOO_NEW = Requirement("click>=999")
ABSENT = Requirement("no-such-distribution-anywhere>=1")


def test_everything_installed_is_shown(dosirak) -> None:
    rows = dosirak("doctor", "-o", "json").data
    assert {"python", "dosirak", "library", "store"} <= {row["area"] for row in rows}
    assert {row["name"] for row in rows if row["area"] == "library"} == set(doctor.extras())


def test_extras_come_from_the_distribution_and_all_is_their_sum() -> None:
    found = doctor.extras()
    assert {requirement.name for requirement in found["sklearn"]} == {"scikit-learn", "skops"}
    assert "all" not in found
    assert all(requirements for requirements in found.values())


def test_an_extra_is_ok_missing_or_a_problem() -> None:
    assert doctor.examine_extra("x", [FOUND]).state == "ok"
    missing = doctor.examine_extra("x", [FOUND, ABSENT])
    assert (missing.state, missing.remedy) == ("missing", _installs(FOUND, ABSENT))
    assert missing.detail == f"{ABSENT.name} is not installed"
    problem = doctor.examine_extra("x", [TOO_NEW])
    assert (problem.state, problem.remedy) == ("problem", _installs(TOO_NEW))


def _installs(*requirements: Requirement) -> str:
    return f"pip install {shlex.join(map(str, requirements))}"


def test_a_missing_extra_names_its_library_before_what_goes_with_it() -> None:
    library = Requirement("no-such-library")
    found = doctor.examine_extra(library.name, [ABSENT, FOUND, library])
    assert found.detail == f"{library.name} and {ABSENT.name} are not installed"


def test_requirements_are_compared_with_what_is_installed() -> None:
    found = list(doctor.examine_requirements([str(FOUND), str(TOO_NEW), str(ABSENT)]))
    assert [finding.state for finding in found] == ["ok", "problem", "missing"]
    assert found[2].remedy == f"pip install '{ABSENT}'"


def test_a_model_s_needs_are_shown_and_met(dosirak) -> None:
    tree = pytest.importorskip("sklearn.tree")
    save("tree", tree.DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]))
    done = dosirak("doctor", "tree", "-o", "json")
    assert done.code == 0, done.err
    needs = [row["name"] for row in done.data if row["area"] == "target"]
    assert any(name.startswith("scikit-learn==") for name in needs)


def test_an_unmet_need_ends_with_the_exit_code_of_a_missing_library(
    dosirak, tmp_path: Path
) -> None:
    service = tmp_path / "needy_service.py"
    service.write_text(
        "import dosirak\n"
        f"@dosirak.service(requirements=['{ABSENT}'])\n"
        "def greet(name: str) -> str:\n"
        "    return name\n"
    )
    done = dosirak("doctor", service)
    assert done.code == 7
    assert f"pip install '{ABSENT}'" in done.err
    assert str(ABSENT) in done.out.splitlines()[1], "what needs mending comes first"


def test_a_target_that_is_not_there_is_not_found(dosirak) -> None:
    assert dosirak("doctor", "no-such-target").code == 3


def test_a_damaged_store_is_a_finding_not_a_crash(dosirak, home: Path) -> None:
    record = home / "store" / "references" / "models" / "tree" / "1"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    done = dosirak("doctor", "-o", "json")
    assert done.code == 0
    (finding,) = [row for row in done.data if (row["area"], row["name"]) == ("store", "models")]
    assert finding["state"] == "problem"


def test_a_library_that_only_the_golden_examples_need_is_missed(
    dosirak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = pytest.importorskip("sklearn.tree")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pandas.DataFrame({"a": [0.0, 1.0]})
    save("tree", tree.DecisionTreeClassifier(random_state=0).fit(table, [0, 1]), examples=table)
    (tmp_path / "service.py").write_text(
        "import dosirak\n"
        "@dosirak.service\n"
        "class Tree:\n"
        "    model = dosirak.model('tree')\n"
        "    @dosirak.api\n"
        "    def name(self) -> str:\n"
        "        return 'tree'\n"
    )
    assert dosirak("build", tmp_path, "--name", "sealed-tree").code == 0
    assert dosirak("doctor", "sealed-tree").code == 0
    installed = metadata.Distribution.from_name

    def without_pyarrow(name: str) -> metadata.Distribution:
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", staticmethod(without_pyarrow))
    for target in ("sealed-tree", "tree"):
        done = dosirak("doctor", target, "-o", "json")
        rows = {row["name"].partition("==")[0]: row for row in done.data}
        assert done.code == 7, done.err
        assert rows["pyarrow"]["state"] == "missing"
