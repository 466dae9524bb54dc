from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from dosirak.cli.run import error_in, media_type_of
from dosirak.errors import InvalidInput, ServiceError
from dosirak.payload.wire import WireResponse

SERVICE = """
from collections.abc import Iterator
import dosirak
import numpy as np

@dosirak.service
class Counter:
    @dosirak.api
    def double(self, number: int) -> int:
        return 2 * number

    @dosirak.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @dosirak.api
    def echo(self, data: bytes, /) -> bytes:
        return data

    @dosirak.api
    def array(self) -> np.ndarray:
        return np.arange(3)

    @dosirak.api
    def fail_on_the_way(self) -> Iterator[int]:
        yield 1
        raise RuntimeError("the kitchen is closed")

    @dosirak.api
    def fail(self) -> int:
        raise RuntimeError("the kitchen is closed")
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Each test's module has a name of its own: a process imports a name once.
    path = tmp_path / f"counter_{abs(hash(tmp_path))}.py"
    path.write_text(SERVICE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return path


def test_an_answer_goes_to_stdout(dosirak, service: Path) -> None:
    done = dosirak("run", service, "double", "--input", '{"number": 21}')
    assert (done.code, done.out) == (0, "42\n")


def test_a_stream_is_a_line_for_each_item(dosirak, service: Path) -> None:
    done = dosirak("run", service, "count", "--input", '{"to": 3}')
    assert [json.loads(line) for line in done.out.splitlines()] == [0, 1, 2]


def test_files_go_in_and_out(dosirak, service: Path, tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(b"\x00\xff")
    answer = tmp_path / "out.bin"
    done = dosirak(
        "run", service, "echo", "--input-file", tmp_path / "in.bin", "--output-file", answer
    )
    assert done.code == 0, done.err
    assert answer.read_bytes() == b"\x00\xff"
    assert not list(tmp_path.glob(".*partial"))


def test_stdin_is_read_on_demand(dosirak, service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"number": 4}')))
    assert dosirak("run", service, "double", "--input-file", "-").out == "8\n"


def test_wrong_input_names_the_field(dosirak, service: Path) -> None:
    done = dosirak(
        "run",
        service,
        "double",
        "--input",
        '{"number": "many"}',
    )
    assert done.code == InvalidInput.exit_code
    assert "'number'" in done.err


def test_the_example_in_the_help_is_one_that_works(dosirak, tmp_path: Path) -> None:
    shown = dosirak("run", "--help").out
    line = shown.partition("dosirak run greeter ")[2].partition("\n")[0]
    words = shlex.split(line)
    path = tmp_path / f"greeter_{abs(hash(tmp_path))}.py"
    path.write_text(
        "import dosirak\n\n\n@dosirak.service\ndef greet(name: str) -> str:\n    return name\n"
    )
    assert dosirak("run", path, *words).out == '"Ada"\n'


def test_a_file_whose_name_says_a_type_that_the_answer_has_not_is_told_the_suffixes(
    dosirak, service: Path, tmp_path: Path
) -> None:
    for api, words, offered in (
        ("array", (), (".json", ".msgpack", ".npy")),
        ("count", ("--input", '{"to": 3}'), (".ndjson", ".jsonl")),
    ):
        answer = tmp_path / "answer.csv"
        done = dosirak("run", service, api, *words, "--output-file", answer)
        assert done.code == 2
        assert "answer.csv" in done.err
        assert all(suffix in done.err for suffix in offered)
        assert not answer.exists()


def test_stdin_that_is_not_json_asks_what_it_is(
    dosirak, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"number\n4\n")))
    done = dosirak("run", service, "double", "--input-file", "-")
    assert done.code == 2
    assert "--content-type text/csv" in done.err


def test_an_error_of_the_author_s_code_has_its_own_exit_code(dosirak, service: Path) -> None:
    done = dosirak("run", service, "fail")
    assert done.code == ServiceError.exit_code
    assert "error: The api 'fail' failed." in done.err


@pytest.mark.parametrize("api", ["fail", "fail_on_the_way"])
def test_the_author_sees_their_own_frames_and_is_sent_to_no_server(
    dosirak, service: Path, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    done = dosirak("run", service, api)
    assert done.code == ServiceError.exit_code
    assert "Traceback" in done.err
    assert f'"{service}", line' in done.err
    assert "RuntimeError: the kitchen is closed" in done.err
    assert "handlers.py" not in done.err
    assert "server" not in done.err
    assert "[request" not in done.err
    assert "$error" not in done.out
    monkeypatch.setenv("DOSIRAK_DEBUG", "1")
    whole = dosirak("run", service, api).err
    assert "handlers.py" in whole
    assert "RuntimeError: the kitchen is closed" in whole


def test_half_a_stream_is_not_left_in_the_answers_file(
    dosirak, service: Path, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.ndjson"
    assert dosirak("run", service, "fail_on_the_way", "--output-file", answer).code == 8
    assert not answer.exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["lunch"], 3),
        ([], 2),
        (["double", "--input", "{}", "--input-file", "-"], 2),
    ],
)
def test_wrong_words_are_refused(dosirak, service: Path, words: list[str], code: int) -> None:
    assert dosirak("run", service, *words).code == code


def test_a_target_that_is_not_there_is_not_found(dosirak, tmp_path: Path) -> None:
    assert dosirak("run", tmp_path / "nowhere.py").code == 3


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.json", "application/json"),
        ("a.CSV", "text/csv"),
        ("a.npy", "application/x-npy"),
        ("a.parquet", "application/vnd.apache.parquet"),
        ("a.arrow", "application/vnd.apache.arrow.stream"),
        ("a.png", "image/png"),
        ("a.lunch", "application/octet-stream"),
    ],
)
def test_a_file_s_name_says_what_it_holds(name: str, media_type: str) -> None:
    assert media_type_of(Path(name)) == media_type


def test_an_answer_that_is_an_error_becomes_one_of_its_class() -> None:
    body = {"error": "No.", "code": "invalid_input", "remedy": "Yes.",
            "fields": [{"field": "a", "reason": "b"}]}  # fmt: skip
    error = error_in(WireResponse(json.dumps(body).encode(), "application/json", 400))
    assert isinstance(error, InvalidInput)
    assert (error.message, error.remedy, error.fields) == ("No.", "Yes.", (("a", "b"),))


@pytest.mark.parametrize("body", [b"plain words", b"[1]", b'"text"', b"\xff", b""])
def test_an_error_in_another_form_is_still_an_error(body: bytes) -> None:
    error = error_in(WireResponse(body, "text/plain", 500))
    assert isinstance(error, ServiceError)
    assert error.message
