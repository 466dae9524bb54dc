from __future__ import annotations

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dosirak.cli import serve
from dosirak.cli.serve import read_token
from dosirak.errors import InvalidConfiguration
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.revisions import Revisions
from dosirak.serving.serve import Reloading, Serving
from dosirak.serving.serve import serve as serve_target
from dosirak.serving.task_plan import TaskPlan

SERVICE = """
import dosirak

@dosirak.service
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


def test_a_token_comes_from_a_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOSIRAK_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("DOSIRAK_TOKEN", "from-environment")
    assert read_token(None) == "from-environment"
    file = tmp_path / "token"
    file.write_text(" from-file\n")
    assert read_token(file) == "from-file"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"one\ntwo", b"\xff\xfe"])
def test_a_file_without_a_token_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match="token file"):
        read_token(file)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--port", "70000"], 2),
        (["--workers", "0"], 2),
        (["--max-body", "much"], 2),
        (["--timeout-s", "0"], 2),
        (["--host", "0.0.0.0"], 2),
    ],
)
def test_options_out_of_range_are_refused(
    dosirak, tmp_path: Path, words: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOSIRAK_TOKEN", raising=False)
    file = tmp_path / "service.py"
    file.write_text(SERVICE)
    done = dosirak("serve", file, *words)
    assert done.code == code
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "variable", "said"),
    [
        (["--port", "abc"], None, "'--port': 'abc' is not a whole number from 0 to 65535."),
        (["--port", "70000"], "80", "'--port': '70000' is not a whole number from 0 to 65535."),
        ([], "abc", "the environment variable DOSIRAK_PORT: 'abc' is not a whole number from 0"),
        (["--workers", "0"], None, "'--workers': '0' is not a whole number from 1 to 1024."),
        (["--timeout-s", "0"], None, "'--timeout-s': '0' is not a number of seconds above 0."),
        (["--timeout-s", "nan"], None, "'nan' is not a number of seconds above 0."),
        (["--drain-delay-s", "-1"], None, "'-1' is not a number of seconds of at least 0."),
    ],
)
def test_a_number_that_is_none_is_told_what_it_may_be_and_where_it_came_from(
    dosirak,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variable: str | None,
    said: str,
) -> None:
    if variable is not None:
        monkeypatch.setenv("DOSIRAK_PORT", variable)
    done = dosirak("serve", "service.py", *words)
    assert done.code == 2
    assert said in done.err
    assert "DOSIRAK_PORT" not in done.err or "environment" in said


_LIMITS = ("limit", "hard_limit")


def test_everything_that_serve_may_be_told_has_an_option() -> None:
    told = set(inspect.signature(serve_target).parameters)
    options = {parameter.name for parameter in serve.command.params}
    # What a person gives in another way, and the same thing in other words.
    elsewhere = {"token", "admin_token", "settings", "report"}
    assert {"token_file", "admin_token_file"} <= options
    words = {"max_body_bytes": "max_body", "max_head_bytes": "max_head"}
    words |= {"body_bytes_per_s": "body_pace"}
    words |= {f"worker_memory_{kind}_bytes": f"worker_memory_{kind}" for kind in _LIMITS}
    words |= {"tasks": "task_store"}
    assert {words.get(name, name) for name in told - elsewhere} <= options
    shown = set(TaskPlan.__struct_fields__) - {"store_url", "webhooks"}
    assert {f"task_{name}" for name in shown} <= options
    # It follows from a Unix socket.
    assert {field.name for field in dataclasses.fields(HttpOptions)} - {"behind_proxy"} <= told


def test_the_defaults_are_those_of_the_function() -> None:
    own = HttpOptions()
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(serve_target).parameters.items()
    }
    for field in dataclasses.fields(HttpOptions):
        if field.name not in ("token", "allowed_hosts", "access_file", "behind_proxy"):
            assert defaults[field.name] == getattr(own, field.name)
    context = serve.command.make_context("serve", ["x"])
    for name, value in context.params.items():
        if name in defaults and defaults[name] is not inspect.Parameter.empty and value != ():
            assert value == defaults[name] or defaults[name] == (), name
    assert context.params["max_head"] == own.max_head_bytes
    assert context.params["body_pace"] == own.body_bytes_per_s


def test_serves_until_ctrl_c_and_ends_in_order(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    process = subprocess.Popen(
        [sys.executable, "-m", "dosirak", "serve", "service.py", "--port", "0"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        # Not a terminal: programs read it, and find one JSON object on each line.
        first = json.loads(process.stderr.readline())["message"]
        assert "greet is served at http://127.0.0.1:" in first
        with urllib.request.urlopen(first.split()[-1] + "/readyz", timeout=30) as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    said = [json.loads(line) for line in rest.splitlines()]
    assert any("finishing the requests" in str(line.get("message")) for line in said)
    assert "Traceback" not in rest


@pytest.mark.parametrize(("count", "said"), [(1, "1 worker "), (2, "2 workers ")])
def test_the_workers_are_counted_as_people_count(
    count: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serve._report(Serving("http://127.0.0.1:3000", "greeter", ("/greet",), tuple(range(count))))
    assert said in capsys.readouterr().err


def test_a_reload_that_was_asked_for_is_a_whole_line(capsys: pytest.CaptureFixture[str]) -> None:
    default = inspect.signature(Revisions.reload).parameters["reason"].default
    serve._report(Reloading(default))
    assert capsys.readouterr().err == "Asked to reload …\n"


@pytest.mark.parametrize("option", ["--inference-log-redact", "--inference-log-rate"])
def test_an_option_of_an_inference_log_that_there_is_none_of_is_refused(
    dosirak, tmp_path: Path, option: str
) -> None:
    file = tmp_path / "service.py"
    file.write_text(SERVICE)
    done = dosirak("serve", file, option, "1")
    assert done.code == 2
    assert f"{option} acts on nothing" in done.err
    assert "--inference-log" in done.err


def test_the_help_shows_every_option_once_and_none_without_a_heading(dosirak) -> None:
    shown = dosirak("serve", "--help").out
    named = [name for names in serve.command.groups.values() for name in names]
    options = [option for option in serve.command.params if option.param_type_name == "option"]
    assert sorted(named) == sorted(option.name for option in options)
    for option in options:
        assert shown.count(f"\n  {option.opts[0]} ") + shown.count(f"\n  {option.opts[0]}\n") == 1
    assert shown.index("Others:") < shown.index("--help ")
