"""The classic verbs, as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dosirak.compat.bentoml_classic import BentoService, api
from dosirak.compat.bentoml_classic.adapters import DataframeInput, JsonInput, MultiFileInput
from dosirak.compat.bentoml_classic.cli import command, service_command
from dosirak.compat.bentoml_classic.cli.labels import label_query
from dosirak.compat.bentoml_classic.exceptions import CLIException


class Shell(BentoService):
    """A service for the shell."""

    @api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [{"got": value} for value in values]

    @api(input=DataframeInput(), batch=True)
    def total(self, df):
        return df.sum(axis=1)

    @api(input=MultiFileInput(["left", "right"]))
    def join(self, left, right):
        return (left.read() + right.read()).decode()

    @api(input=JsonInput())
    def fail(self, value):
        raise RuntimeError("secret")


@pytest.fixture(autouse=True)
def saved() -> None:
    Shell().save(version="v1", labels={"stage": "prod"})
    Shell().save(version="v2", labels={"stage": "dev"})


def shell(*arguments: str, expect: int = 0, answer: str = "") -> Result:
    result = CliRunner().invoke(command, list(arguments), input=answer)
    assert result.exit_code == expect, result.output
    return result


def test_list_shows_the_newest_first() -> None:
    header, *rows = shell("list").output.splitlines()
    assert header.split() == ["BENTO_SERVICE", "AGE", "APIS", "ARTIFACTS", "LABELS"]
    assert [row.split()[0] for row in rows] == ["Shell:v2", "Shell:v1"]
    assert shell("list", "--ascending-order").output.splitlines()[1].startswith("Shell:v1")
    assert len(shell("list", "--limit", "1", "--offset", "1").output.splitlines()) == 2
    assert str(Path("repository") / "Shell" / "v2") in shell("list", "-o", "wide").output


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_list_and_get_speak_to_scripts(output: str, read: Any) -> None:
    assert [item["version"] for item in read(shell("list", "-o", output).output)] == ["v2", "v1"]
    got = read(shell("get", "Shell:v1", "-o", output).output)
    assert got["uri"]["type"] == "LOCAL"
    assert got["bentoServiceMetadata"]["apis"][0]["inputType"] == "JsonInput"
    assert got["bentoServiceMetadata"]["labels"] == {"stage": "prod"}


def test_get_shows_versions_and_places() -> None:
    assert len(shell("get", "Shell").output.splitlines()) == 3
    place = shell("get", "Shell:latest", "--print-location").output.strip()
    assert (Path(place) / "bentoml.yml").is_file()
    missing = shell("get", "Shell:v9", expect=3)
    assert "There is no saved service Shell:v9. It has the versions v2, v1." in missing.output


@pytest.mark.parametrize("verb", ["serve", "info"])
def test_a_slip_in_a_services_name_is_answered_with_what_was_meant(verb: str) -> None:
    assert "Did you mean Shell?" in shell(verb, "shel:latest", expect=3).output


def test_labels_select() -> None:
    assert "Shell:v1" not in shell("list", "--labels", "stage=dev").output
    assert "Error: The label query" in shell("list", "--labels", "?!", expect=2).output


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("stage=prod", True),
        ("stage!=prod", False),
        ("stage in (dev, prod)", True),
        ("stage NotIn (dev, prod)", False),
        ("stage Exists", True),
        ("stage DoesNotExist", False),
        ("other DoesNotExist, stage = prod", True),
        ("stage=prod, other=1", False),
        (None, True),
    ],
)
def test_label_queries(query: str | None, fits: bool) -> None:
    assert label_query(query)({"stage": "prod"}) is fits


def test_a_label_query_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(CLIException):
        label_query("stage prod")


def test_delete_asks_first() -> None:
    shell("delete", "Shell:v1", answer="n\n")
    assert "Shell:v1" in shell("list").output
    assert "Deleted Shell:v1." in shell("delete", "Shell:v1", "-y").output
    shell("delete", "Shell", "-y")
    assert len(shell("list").output.splitlines()) == 1
    shell("delete", "Shell", "-y", expect=3)
    shell("delete", "-y", expect=2)


@pytest.mark.parametrize(
    "said", ["Shell:", "Shell:latest", "Shell:v", "Shell:v1,", "my-model", "*"]
)
def test_delete_guesses_nothing(said: str) -> None:
    refused = shell("delete", said, "-y", expect=3)
    assert "There is no saved service" in refused.output
    assert len(shell("list").output.splitlines()) == 3


def test_delete_of_a_name_asks_about_each_of_its_versions() -> None:
    asked = shell("delete", "Shell", answer="y\nn\n").output
    assert "Delete Shell:v2?" in asked
    assert "Delete Shell:v1?" in asked
    assert [row.split()[0] for row in shell("list").output.splitlines()[1:]] == ["Shell:v1"]


def test_delete_takes_several_and_labels() -> None:
    shell("delete", "--labels", "stage=dev", "-y")
    assert [row.split()[0] for row in shell("list").output.splitlines()[1:]] == ["Shell:v1"]
    Shell().save(version="v3")
    shell("delete", "Shell:v1,Shell:v3", "-y")
    shell("delete", "--all", "-y")


def test_run_answers_each_input() -> None:
    answered = shell("run", "Shell:latest", "predict", "--input", "1", '{"a": 2}')
    assert answered.output.splitlines() == ['{"got": 1}', '{"got": {"a": 2}}']
    one = shell("run", "Shell:v1", "predict", "--max-batch-size", "1", "--input", "1", "2")
    assert len(one.output.splitlines()) == 2
    assert shell("run", "Shell:v1", "predict", "--input", "1", "-o", "str").output == "{'got': 1}\n"


def test_run_reads_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "l").write_text("L")
    (tmp_path / "r").write_text("R")
    table = shell(
        "run", "Shell:v1", "total", "--format", "csv", "--input-file", str(tmp_path / "t.csv")
    )
    assert table.output == '[{"0":3},{"0":7}]\n'
    files = ("--input-file-left", str(tmp_path / "l"), "--input-file-right", str(tmp_path / "r"))
    assert shell("run", "Shell:v1", "join", *files).output == '"LR"\n'


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("predict", "--input", "{"), 1, "Not a valid JSON format"),
        (("fail", "--input", "1"), 1, "Exception happened in API function"),
        (("predict",), 2, "An input is missing"),
        (("predict", "--input", "1", "--input-file", "x"), 2, "both given"),
        (("predict", "--input-file", "no-such-file"), 2, "There is no file"),
        (("join", "--input-left", "1", "2", "--input-right", "3"), 2, "different number"),
        (("total", "--input", "[[1]]", "--format", "xml"), 2, "invalid choice"),
        (("nothing", "--input", "1"), 3, "no api 'nothing'"),
    ],
)
def test_run_says_what_is_wrong(arguments: tuple[str, ...], code: int, words: str) -> None:
    assert words in shell("run", "Shell:v1", *arguments, expect=code).output


def test_info_and_open_api_spec() -> None:
    assert json.loads(shell("info", "Shell:v1").output)["name"] == "Shell"
    document = json.loads(shell("open-api-spec", "Shell:v1").output)
    assert document["info"] == {"version": "v1", "title": "Shell"}
    assert document["paths"]["/predict"]["post"]["tags"] == ["app"]


def test_serve_listens_on_port_5000_by_default() -> None:
    for verb in ("serve", "serve-gunicorn"):
        assert "default: 5000" in shell(verb, "--help").output


def test_serve_off_loopback_without_a_token_is_refused() -> None:
    refused = shell("serve", "Shell:v1", "--host", "0.0.0.0", "--port", "0", expect=2)
    assert "token" in refused.output


def test_an_installed_service_has_the_verbs_for_itself(tmp_path: Path) -> None:
    place = Path(shell("get", "Shell:v1", "--print-location").output.strip()) / "Shell"
    answered = CliRunner().invoke(service_command(place), ["run", "predict", "--input", "1"])
    assert answered.output == '{"got": 1}\n'


@pytest.mark.parametrize("name", ["push", "containerize"])
def test_a_command_that_is_left_out_says_so(name: str) -> None:
    assert "is not part of dosirak" in shell(name, "Shell:v1", expect=2).output
