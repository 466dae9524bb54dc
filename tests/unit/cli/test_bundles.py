from __future__ import annotations

from pathlib import Path

import pytest

from dosirak import bundles

SERVICE = """
import dosirak

@dosirak.service
class Greeter:
    @dosirak.api
    def greet(self, name: str) -> str:
        return f"Hello, {name}!"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "greeting"
    directory.mkdir()
    (directory / "greeter_service.py").write_text(SERVICE)
    (directory / "dosirak.toml").write_text('service = "greeter_service:Greeter"\n')
    return directory


@pytest.fixture
def built(dosirak, project: Path) -> str:
    done = dosirak("build", project, "--version", "1", "--label", "team=a", "-o", "json")
    assert done.code == 0, done.err
    return done.data["reference"]


def test_build_seals_a_project_and_says_what_it_did(dosirak, project: Path) -> None:
    done = dosirak("build", project, "--version", "1", "-o", "json")
    assert done.data["reference"] == "greeter:1"
    assert done.data["front_end"] == "native"
    assert "Capturing the environment." in done.err


def test_the_same_project_seals_to_the_same_id(dosirak, project: Path) -> None:
    ids = {dosirak("build", project, "-o", "json").data["id"] for _ in range(2)}
    assert len(ids) == 1


def test_what_is_built_is_listed_and_shown(dosirak, built: str) -> None:
    (row,) = dosirak("bundles", "list", "-o", "json").data
    assert row["labels"] == {"team": "a"}
    assert dosirak("bundles", "get", built, "-o", "json").data["id"] == row["id"]
    assert dosirak("bundles", "list").out.splitlines()[1].startswith("greeter:1")


def test_a_project_without_a_service_is_an_error_with_a_remedy(dosirak, tmp_path: Path) -> None:
    done = dosirak("build", tmp_path)
    assert done.code in {2, 3}
    assert len(done.err.splitlines()) >= 2
    assert "Traceback" not in done.err


def test_a_label_without_a_value_is_refused(dosirak, project: Path) -> None:
    assert dosirak("build", project, "--label", "team").code == 2


def test_a_bundle_is_verified_checked_out_exported_deleted_and_imported(
    dosirak, built: str, tmp_path: Path
) -> None:
    assert dosirak("bundles", "verify", built).code == 0
    directory, archive = tmp_path / "files", tmp_path / "greeter.dosirak"
    assert dosirak("bundles", "checkout", built, directory).out.strip() == str(directory)
    assert list(directory.rglob("greeter_service.py"))
    assert dosirak("bundles", "checkout", built, directory).code == 4
    assert dosirak("bundles", "export", built, archive).out.strip() == str(archive)
    before = bundles.get(built).id
    assert dosirak("bundles", "delete", "greeter", "--yes").code == 2
    assert dosirak("bundles", "delete", built).code == 2
    assert dosirak("bundles", "delete", built, "--yes").code == 0
    assert dosirak("bundles", "list", "-o", "json").data == []
    assert dosirak("bundles", "import", archive, "-o", "json").data["id"] == before


def test_what_is_not_there_is_not_found(dosirak) -> None:
    assert dosirak("bundles", "get", "lunch").code == 3


def damage(home: Path, part: str) -> None:
    place = home / "store" / part
    (damaged,) = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1])


@pytest.mark.parametrize("part", ["references/bundles/greeter/1", "manifests"])
def test_what_is_damaged_is_listed_as_such_and_can_be_deleted(
    part: str, dosirak, built: str, home: Path
) -> None:
    damage(home, part)
    listed = dosirak("bundles", "list")
    assert listed.code == 0
    assert listed.out.splitlines()[1].split()[0] == built
    assert listed.out.splitlines()[1].split()[-1] == "damaged"
    assert f"warning: {built} is damaged: " in listed.err
    assert dosirak("bundles", "get", built).code == 5
    assert dosirak("bundles", "delete", built, "--yes").code == 0
    assert dosirak("bundles", "list", "-o", "json").data == []


@pytest.mark.parametrize("command", [("delete", "greeter", "--all", "--yes"), ("list",)])
def test_what_is_damaged_hides_none_of_the_others(
    command: tuple[str, ...], dosirak, built: str, project: Path, home: Path
) -> None:
    damage(home, "references/bundles/greeter/1")
    assert dosirak("build", project, "--version", "2").code == 0
    rows = dosirak("bundles", "list", "-o", "json").data
    assert [(row["reference"], row["status"]) for row in rows] == [
        ("greeter:2", "ok"),
        ("greeter:1", "damaged"),
    ]
    assert "damaged or was edited" in rows[1]["problem"]
    assert dosirak("bundles", *command).code == 0
    left = dosirak("bundles", "list", "-o", "json").data
    assert len(left) == (0 if "delete" in command else 2)


def test_a_list_of_what_is_sound_has_no_column_for_its_status(dosirak, built: str) -> None:
    listed = dosirak("bundles", "list")
    assert "STATUS" not in listed.out
    assert "warning" not in listed.err


def test_a_home_of_nobody_is_an_error_with_a_remedy(dosirak, monkeypatch) -> None:
    monkeypatch.setenv("DOSIRAK_HOME", "~no-such-user/x")
    done = dosirak("bundles", "list")
    assert done.code == 2
    assert "no-such-user" in done.err


def test_people_see_how_much_travels_and_scripts_see_all_of_it(dosirak, project: Path) -> None:
    (project / "train.csv").write_text("x" * 3000)
    told = dosirak("build", project, "--version", "1")
    line = next(line for line in told.out.splitlines() if line.startswith("files"))
    reference = dosirak("bundles", "list", "-o", "json").data[0]["reference"]
    data = dosirak("bundles", "get", reference, "-o", "json").data
    assert f"{len(data['files'])} files" in line
    assert "src/train.csv 2.9 KiB" in line
    assert {"path": "src/train.csv", "size_bytes": 3000} in data["files"]


def test_people_see_direct_requirements_and_the_count_of_the_others(dosirak, project: Path) -> None:
    for done in (
        dosirak("build", project, "--version", "1"),
        dosirak("bundles", "get", dosirak("bundles", "list", "-o", "json").data[0]["reference"]),
    ):
        reference = dosirak("bundles", "list", "-o", "json").data[0]["reference"]
        data = dosirak("bundles", "get", reference, "-o", "json").data
        others = set(data["requirements"]) - set(data["direct_requirements"])
        assert others
        assert f"and {len(others)} that those need" in done.out
        assert not any(line in done.out for line in others)
        assert all(line in done.out for line in data["direct_requirements"])
