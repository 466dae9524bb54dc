"""The Python client and the command line, over a real socket; nobody makes anything come true."""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import bentoml
import pytest
import yaml
from click.testing import CliRunner
from tests.unit.deployment.platform_on_paper import SERVICE, Platform, on_paper, served

from dosirak.bundles.targets import open_target
from dosirak.cli.failure import run
from dosirak.compat.bentoml_classic.cli import command as bentoml_command
from dosirak.deployment import Deployment, PlatformClient
from dosirak.deployment.records import Replica, ReplicaPhase, Rollout, RolloutPhase
from dosirak.errors import (
    AlreadyExists,
    DeadlineExceeded,
    DeploymentConflict,
    DeploymentNotFound,
    InvalidConfiguration,
    RolloutFailed,
    Unauthorized,
    Unavailable,
)
from dosirak.store import Store

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[tuple[Platform, str]]:
    """A platform on a socket, for the whole file."""
    with on_paper(tmp_path_factory.mktemp("there"), store) as found, served(found) as url:
        yield found, url


@pytest.fixture
def paper(there: tuple[Platform, str]) -> Iterator[Platform]:
    """The platform, without the deployments that a test made."""
    found, _ = there
    yield found
    with found.state.transaction() as transaction:
        for deployment in transaction.deployments():
            transaction.delete_deployment(deployment.name)


@pytest.fixture
def platform_client(there: tuple[Platform, str], paper: Platform) -> Iterator[PlatformClient]:
    with PlatformClient(there[1], timeout_s=20) as found:
        yield found


def _come_true(platform: Platform, name: str, phase: RolloutPhase, reason: str = "") -> None:
    """Do what a controller would do."""
    with platform.state.transaction() as transaction:
        deployment = transaction.deployment(name)
        rollout = deployment.rollout
        assert isinstance(rollout, Rollout)
        done = phase is RolloutPhase.COMPLETED
        transaction.put_deployment(
            replace(
                deployment,
                rollout=replace(rollout, phase=phase, reason=reason),
                active_revision=rollout.to_revision if done else deployment.active_revision,
            )
        )
        if done:
            revision = rollout.to_revision
            transaction.put_replica(
                Replica(f"{name}-{revision}", name, revision, ReplicaPhase.READY, 1.0, 1.0)
            )


def test_a_deployment_from_beginning_to_end(
    platform_client: PlatformClient, paper: Platform
) -> None:
    made = Deployment(
        platform_client.create("iris", "iris:1", {"environment": {"A": "1"}}), platform_client
    )
    assert made.url == "http://127.0.0.1:8800/iris"
    timer = threading.Timer(0.2, _come_true, (paper, "iris", RolloutPhase.COMPLETED))
    timer.start()
    seen: list[str] = []
    made.wait(30, lambda view: seen.append(view.status.status.value))
    timer.join()
    assert seen[-1] == "running"
    made.update("iris:2", note="next")
    assert [(r.number, r.note) for r in made.history()] == [(2, "next"), (1, "")]
    _come_true(paper, "iris", RolloutPhase.COMPLETED)
    assert made.wait(30).bundle == "iris:2"
    assert [event.kind for event in made.events()] == ["created", "updated"]
    paper.logs.lines["iris-2"] = ["ready"]
    assert list(made.logs()) == ["ready"]
    assert [each.name for each in platform_client.list()] == ["iris"]
    made.delete()
    with paper.state.transaction() as transaction:
        transaction.delete_deployment("iris")
    made.wait_until_gone(30)


def test_what_was_rolled_back_can_come_again(
    platform_client: PlatformClient, paper: Platform
) -> None:
    made = Deployment(platform_client.create("iris", "iris:1"), platform_client)
    _come_true(paper, "iris", RolloutPhase.COMPLETED)
    made.refresh().update("iris:2")
    _come_true(paper, "iris", RolloutPhase.COMPLETED)
    made.refresh().rollback(1)
    _come_true(paper, "iris", RolloutPhase.COMPLETED)
    assert made.refresh().bundle == "iris:1"
    made.update("iris:2")
    assert [revision.bundle for revision in made.history()] == ["iris:2", "iris:2", "iris:1"]
    _come_true(paper, "iris", RolloutPhase.FAILED)
    made.refresh().update("iris:2")
    assert made.history()[0].number == 4


def test_a_revision_that_fails_ends_the_wait(
    platform_client: PlatformClient, paper: Platform
) -> None:
    made = Deployment(platform_client.create("iris", "iris:1"), platform_client)
    _come_true(paper, "iris", RolloutPhase.FAILED, "It crashed three times.")
    with pytest.raises(RolloutFailed, match="It crashed three times"):
        made.wait(30)


def test_a_wait_has_an_end(platform_client: PlatformClient, paper: Platform) -> None:
    made = Deployment(platform_client.create("iris", "iris:1"), platform_client)
    with pytest.raises(DeadlineExceeded, match="iris"):
        made.wait(0.3)


def test_what_the_platform_raised_is_raised_here(
    platform_client: PlatformClient, there: tuple[Platform, str]
) -> None:
    platform_client.create("iris", "iris:1")
    with pytest.raises(AlreadyExists):
        platform_client.create("iris", "iris:1")
    with pytest.raises(DeploymentNotFound):
        platform_client.get("none")
    with pytest.raises(DeploymentConflict):
        platform_client.update("iris", settings={"timeout_s": 5}, generation=7)
    with pytest.raises(InvalidConfiguration) as caught:
        platform_client.update("iris", settings={"timeout_s": "soon"})
    assert [problem.field for problem in caught.value.fields] == ["timeout_s"]
    with PlatformClient(there[1], token="dsk_none") as other, pytest.raises(Unauthorized):
        other.list()


def test_a_stale_object_overwrites_nothing(platform_client: PlatformClient) -> None:
    made = Deployment(platform_client.create("iris", "iris:1"), platform_client)
    platform_client.update("iris", settings={"timeout_s": 5})
    with pytest.raises(DeploymentConflict, match="changed meanwhile"):
        made.update(configuration={"timeout_s": 6})
    assert made.refresh().update(configuration={"timeout_s": 6}).view.configuration.timeout_s == 6


def test_events_are_told_as_they_happen(platform_client: PlatformClient, paper: Platform) -> None:
    platform_client.create("iris", "iris:1")
    known = platform_client.events("iris")[-1].id
    found = platform_client.follow_events("iris", after=known)
    timer = threading.Timer(0.3, platform_client.perform, ("iris", "pause"))
    timer.start()
    event = next(found)
    found.close()  # type: ignore[attr-defined]
    timer.join()
    assert event.kind == "rollout_paused"


def test_a_platform_that_is_away_is_waited_for_and_then_told() -> None:
    begun = time.monotonic()
    with (
        PlatformClient("http://127.0.0.1:9", timeout_s=0.5) as away,
        pytest.raises(Unavailable, match="Nothing answers"),
    ):
        away.list()
    assert time.monotonic() - begun > 0.1  # it was tried again


@pytest.fixture
def dosirak(
    there: tuple[Platform, str],
    paper: Platform,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """The command line, with that platform and its store."""
    monkeypatch.setenv("DOSIRAK_PLATFORM_URL", there[1])
    monkeypatch.setenv("DOSIRAK_HOME", str(store.root.parent))
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([str(word) for word in words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_deploying_from_the_shell(dosirak: Call, paper: Platform, tmp_path: Path) -> None:
    path = tmp_path / "iris.yaml"
    path.write_text("name: iris\ncluster: far\nenvs: [{name: A, value: b}]\n")
    code, out, err = dosirak(
        "deploy", "iris:1", "-f", path, "--env", "C=d", "--no-wait", "-o", "json"
    )
    made = json.loads(out)
    assert code == 0, err
    assert (made["name"], made["bundle"]) == ("iris", "iris:1")
    assert made["configuration"]["environment"] == {"A": "b", "C": "d"}
    assert "cluster has no meaning here" in err
    code, _, err = dosirak("deploy", "iris:1", "--name", "iris")
    assert (code, "dosirak deployment update iris" in err) == (4, True)
    code, out, _ = dosirak("deployment", "get", "iris", "-o", "json")
    assert json.loads(out)["endpoint_urls"][0] == "http://127.0.0.1:8800/iris"
    code, out, _ = dosirak("deployment", "list")
    assert "deploying" in out
    assert yaml.safe_load(dosirak("deployment", "list", "-o", "yaml")[1])[0]["name"] == "iris"


def test_a_build_that_fails_deploys_nothing(dosirak: Call, paper: Platform, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import nothing_of_this_name\n")
    code, _, _ = dosirak("deploy", tmp_path, "--name", "broken", "--no-wait")
    assert code != 0
    assert paper.operations.list() == ()


def test_a_wrong_name_is_refused_before_anything_is_sealed(
    dosirak: Call, paper: Platform, tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text("import nothing_of_this_name\n")
    code, _, err = dosirak("deploy", tmp_path, "--name", "My Iris", "--no-wait")
    assert code != 0
    assert "'My Iris' is not a valid name." in err
    assert "nothing_of_this_name" not in err


def test_where_there_is_no_project_it_is_said_how_to_name_one(
    dosirak: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = dosirak("deploy", "--name", "iris", "--no-wait")
    assert code != 0
    assert "`dosirak deploy DIR --name iris`" in err


def test_a_wait_in_vain_has_the_exit_code_of_its_reason(dosirak: Call, paper: Platform) -> None:
    dosirak("deploy", "iris:1", "--name", "iris", "--no-wait")
    timer = threading.Timer(0.3, _come_true, (paper, "iris", RolloutPhase.FAILED, "It crashed."))
    timer.start()
    code, _, err = dosirak("deployment", "resume", "iris")
    assert code == 4  # there is nothing to resume
    code, _, err = dosirak("deployment", "update", "iris", "--env", "A=b", "--timeout-s", "30")
    timer.join()
    assert (code, "It crashed." in err) == (8, True)


def test_a_deployment_shows_the_ids_of_its_replicas(dosirak: Call, paper: Platform) -> None:
    dosirak("deploy", "iris:1", "--name", "iris", "--no-wait")
    _come_true(paper, "iris", RolloutPhase.COMPLETED)
    out = dosirak("deployment", "get", "iris")[1]
    assert "iris-1 (revision 1, ready)" in out


def test_updating_from_the_shell(dosirak: Call, paper: Platform, tmp_path: Path) -> None:
    dosirak("secrets", "set", "KEY", "--file", _file(tmp_path, "hunter2\n"))
    dosirak("secrets", "set", "KEY2", "--file", _file(tmp_path, "hunter3"))
    dosirak("deploy", "iris:1", "--name", "iris", "--secret", "KEY", "--no-wait")
    code, out, err = dosirak(
        "deployment", "update", "iris", "--bundle", "iris:2", "--secret", "KEY2", "--max", "3",
        "--no-wait", "-o", "json",
    )  # fmt: skip
    assert code == 0, err
    configuration = json.loads(out)["configuration"]
    assert (configuration["secrets"], configuration["scaling"]["max_replicas"]) == (
        ["KEY", "KEY2"],
        3,
    )
    assert dosirak("deployment", "update", "iris")[0] == 2
    out = dosirak("deployment", "history", "iris")[1]
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["2", "iris:2"], ["1", "iris:1"]]
    assert "hunter" not in dosirak("secrets", "list", "-o", "json")[1]


def test_an_update_that_changes_nothing_says_so(
    dosirak: Call, paper: Platform, tmp_path: Path
) -> None:
    dosirak("deploy", "iris:1", "--name", "iris", "--no-wait")
    update = ("deployment", "update", "iris", "--no-wait")
    code, _, err = dosirak(*update, "--bundle", "iris:1", "--note", "again")
    assert (code, "Nothing changed: iris" in err, "note is not kept" in err) == (0, True, True)
    assert paper.operations.get("iris").generation == 1
    code, _, err = dosirak(*update, "--bundle", "iris:1", "--strategy", "canary")
    assert (code, "Nothing changed for the replicas" in err) == (0, True)
    assert "next revision" in err
    assert "Nothing changed" not in dosirak(*update, "--label", "a=b")[2]
    assert "Nothing changed" not in dosirak(*update, "--bundle", "iris:2", "--note", "new")[2]
    path = _file(tmp_path, "name: iris\nlabels: {a: b}\nstrategy: canary\n")
    assert "Nothing changed: iris" in dosirak("deployment", "apply", "-f", path, "--no-wait")[2]
    assert [event.kind for event in paper.operations.events("iris", newest=True, limit=4)] == [
        "created", "configured", "configured", "updated"
    ]  # fmt: skip


def test_applying_from_the_shell(dosirak: Call, paper: Platform, tmp_path: Path) -> None:
    path = _file(tmp_path, "name: iris\nbundle: iris:1\ntimeout_s: 5\n")
    assert dosirak("deployment", "apply", "-f", path, "--no-wait")[0] == 0
    path.write_text("name: iris\nscaling: {max_replicas: 2}\n")
    code, out, _ = dosirak("deployment", "apply", "-f", path, "--no-wait", "-o", "json")
    after = json.loads(out)
    assert (code, after["bundle"], after["configuration"]["timeout_s"]) == (0, "iris:1", 60.0)
    code, _, err = dosirak("deployment", "apply", "rose", "-f", path)
    assert (code, "'rose'" in err and "'iris'" in err) == (2, True)
    path.write_text("name: iris\nscalng: {}\n")
    code, _, err = dosirak("deployment", "apply", "-f", path)
    assert (code, "did you mean 'scaling'?" in err) == (2, True)


def test_every_verb_of_the_shell(dosirak: Call, paper: Platform) -> None:
    dosirak("deploy", "iris:1", "--name", "iris", "--no-wait")
    assert dosirak("deployment", "pause", "iris")[0] == 0
    assert dosirak("deployment", "resume", "iris", "--no-wait")[0] == 0
    assert dosirak("deployment", "scale", "iris", "2", "--max", "4", "--no-wait")[0] == 0
    assert dosirak("deployment", "promote", "iris", "--no-wait")[0] == 0
    assert dosirak("deployment", "weight", "iris", "5")[0] == 4
    assert dosirak("deployment", "rollback", "iris", "--to", "9")[0] == 3
    assert dosirak("deployment", "abort", "iris", "--no-wait")[0] == 0
    assert dosirak("deployment", "terminate", "iris")[0] == 2  # nobody can be asked
    assert dosirak("deployment", "terminate", "iris", "--yes")[0] == 0
    assert dosirak("deployment", "start", "iris", "--no-wait")[0] == 0
    assert dosirak("deployment", "restart", "iris", "--no-wait")[0] == 0
    assert [each.number for each in paper.operations.revisions("iris")] == [2, 1]
    assert dosirak("deployment", "logs", "iris")[0] == 0
    assert "terminated" in dosirak("deployment", "events", "iris")[1]
    assert dosirak("deployment", "delete", "iris", "--yes", "--no-wait")[0] == 0
    assert dosirak("deployment", "get", "none")[0] == 3


def test_tokens_and_the_audit_log_of_the_shell(dosirak: Call, paper: Platform) -> None:
    code, out, err = dosirak("tokens", "create", "ci", "--scope", "admin", "--expires-in", "12h")
    assert (code, out.startswith("dsk_"), out.strip() in err) == (0, True, False)
    assert "valid" in dosirak("tokens", "list")[1]
    assert dosirak("tokens", "create", "x", "--scope", "admin", "--expires-in", "soon")[0] == 2
    assert "Revoked" in dosirak("tokens", "revoke", "ci")[2]
    code, _, err = dosirak("tokens", "revoke", "ci")
    assert (code, "was revoked already" in err) == (0, True)
    assert dosirak("tokens", "revoke", "nobody")[0] == 3
    assert "revoked" in dosirak("tokens", "list")[1]
    assert "token.revoke" in dosirak("audit", "list")[1]
    assert dosirak("audit", "verify")[0] == 0


def test_a_token_has_an_end_unless_it_is_to_have_none(dosirak: Call, paper: Platform) -> None:
    made = [
        json.loads(dosirak("tokens", "create", *words, "--scope", "admin", "-o", "json")[1])
        for words in (("some-days",), ("for-ever", "--expires-in", "never"))
    ]
    assert made[1]["expires_at"] is None
    begun, end = (datetime.fromisoformat(made[0][key]) for key in ("created_at", "expires_at"))
    assert end - begun == timedelta(days=90)


def test_the_lines_of_bentocloud(dosirak: Call, paper: Platform, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE.format(number=3))
    deploy = (
        "deploy",
        str(tmp_path),
        "--name",
        "my-first-bento",
        "--no-wait",
        "--scaling-max",
        "2",
    )
    made = CliRunner().invoke(bentoml_command, deploy)
    assert made.exit_code == 0, made.output
    got = CliRunner().invoke(bentoml_command, ["deployment", "get", "my-first-bento", "-o", "json"])
    found = json.loads(got.stdout)
    assert found["endpoint_urls"][0] == "http://127.0.0.1:8800/my-first-bento"
    assert found["status"]["status"] == "deploying"
    update = ("deployment", "update", "my-first-bento", "--bento", "iris:2", "--no-wait")
    assert CliRunner().invoke(bentoml_command, update).exit_code == 0
    assert paper.operations.revisions("my-first-bento")[0].bundle == "iris:2"
    assert "my-first-bento" in CliRunner().invoke(bentoml_command, ["deployment", "list"]).output
    config = tmp_path / "config.yaml"
    config.write_text("name: my-first-bento\nenvs: [{name: A, value: b}]\n")
    apply = ("deployment", "apply", "-f", str(config), "--no-wait")
    assert CliRunner().invoke(bentoml_command, apply).exit_code == 0
    native = bentoml.deployment.get("my-first-bento")
    assert native.get_config()["envs"] == [{"name": "A", "value": "b"}]
    assert native.get_endpoint_urls() == found["endpoint_urls"]
    for verb in ("terminate", "delete"):
        assert (
            CliRunner().invoke(bentoml_command, ["deployment", verb, "my-first-bento"]).exit_code
            == 0
        )
    missing = CliRunner().invoke(bentoml_command, ["deployment", "get", "none"])
    assert (missing.exit_code, "There is no deployment" in missing.output) == (3, True)


def test_a_saved_classic_service_is_deployed(
    dosirak: Call, paper: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "greeter_of_old.py").write_text(CLASSIC)
    greeter = importlib.import_module("greeter_of_old").Greeter()
    path = greeter.pack("words", "Hello").save()
    deploy = ("deploy", "Greeter:latest", "--name", "greeter", "--no-wait")
    made = CliRunner().invoke(bentoml_command, deploy)
    assert made.exit_code == 0, made.output
    [revision] = paper.operations.revisions("greeter")
    assert revision.bundle == f"greeter:{Path(path).name}"
    again = CliRunner().invoke(
        bentoml_command, ["deployment", "update", "greeter", "--bento", path, "--no-wait"]
    )
    assert again.exit_code == 0, again.output
    assert len(paper.operations.revisions("greeter")) == 1  # it is the same bundle
    with open_target(revision.bundle) as opened:
        assert "greet" in [api.name for api in opened.spec.apis]


CLASSIC = """
from bentoml import BentoService, api, artifacts, env
from bentoml.adapters import JsonInput
from bentoml.service.artifacts.common import PickleArtifact


@env(infer_pip_packages=True)
@artifacts([PickleArtifact("words")])
class Greeter(BentoService):
    @api(input=JsonInput(), batch=False)
    def greet(self, parsed_json):
        return self.artifacts["words"] + parsed_json["name"]
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "given"
    path.write_text(text)
    return path
