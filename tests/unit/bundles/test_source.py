"""Which files travel, which stay, and which end the build."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from dosirak.bundles.report import BuildEvent
from dosirak.bundles.source import Selection, copy_files, select_files
from dosirak.errors import Conflict, InvalidConfiguration, UsageError

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    write(root, "service.py", "x = 1\n")
    return root


def write(root: Path, path: str, text: str = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def selected(root: Path, events: list[BuildEvent] | None = None, **options: object) -> list[str]:
    report = events.append if events is not None else lambda _: None
    selection = Selection(root, **options)  # type: ignore[arg-type]
    return [file.path for file in select_files(selection, report)]


def test_everything_travels_in_order(project: Path) -> None:
    write(project, "b/data.json")
    write(project, "a.txt")
    assert selected(project) == ["a.txt", "b/data.json", "service.py"]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "__pycache__/service.cpython-311.pyc",
        "pkg/__pycache__/x.pyc",
        ".venv/bin/python",
        ".pytest_cache/x",
        "node_modules/x/index.js",
        "x.egg-info/PKG-INFO",
        ".DS_Store",
    ],
)
def test_what_is_made_by_tools_never_travels(project: Path, path: str) -> None:
    write(project, path)
    assert selected(project) == ["service.py"]


def test_an_environment_is_known_by_its_mark(project: Path) -> None:
    write(project, "my-env/pyvenv.cfg")
    write(project, "my-env/lib/x.py")
    assert selected(project) == ["service.py"]


def test_the_store_itself_never_travels(project: Path) -> None:
    write(project, "store/blobs/x")
    assert selected(project, skipped_directories=frozenset({project / "store"})) == ["service.py"]


def test_ignore_file_and_exclude_leave_files_behind(project: Path) -> None:
    write(project, ".dosirakignore", "*.csv\n!keep.csv\n/data/\n")
    write(project, "train.csv")
    write(project, "keep.csv")
    write(project, "data/x.txt")
    write(project, "deep/data/x.txt")
    write(project, "notes.md")
    found = selected(project, exclude=("*.md",))
    assert found == [".dosirakignore", "deep/data/x.txt", "keep.csv", "service.py"]


def test_include_chooses(project: Path) -> None:
    write(project, "lib/a.py")
    write(project, "lib/a.txt")
    assert selected(project, include=("*.py",)) == ["lib/a.py", "service.py"]


def test_an_excluded_directory_is_not_even_read(project: Path) -> None:
    closed = project / "closed"
    closed.mkdir()
    os.mkfifo(closed / "pipe")
    assert selected(project, exclude=("closed/",)) == ["service.py"]


def test_a_pattern_that_cannot_be_read_is_named(project: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="exclude"):
        selected(project, exclude=("!",))


def test_a_link_inside_travels_as_its_content(project: Path, tmp_path: Path) -> None:
    write(project, "real/a.txt", "content")
    (project / "alias.txt").symlink_to("real/a.txt")
    (project / "folder").symlink_to("real")
    selection = Selection(project)
    files = select_files(selection, lambda _: None)
    assert [file.path for file in files] == [
        "alias.txt", "folder/a.txt", "real/a.txt", "service.py",
    ]  # fmt: skip
    copy_files(files, tmp_path / "out", selection, lambda _: None)
    assert not (tmp_path / "out" / "alias.txt").is_symlink()
    assert (tmp_path / "out" / "alias.txt").read_text() == "content"


def test_a_link_that_leaves_is_refused_by_name(project: Path, tmp_path: Path) -> None:
    write(tmp_path, "outside.txt")
    (project / "hole").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(UsageError, match="The link hole leaves the project"):
        selected(project)


def test_a_link_to_a_directory_outside_is_refused(project: Path) -> None:
    (project / "etc").symlink_to("/etc")
    with pytest.raises(UsageError, match="The link etc leaves the project"):
        selected(project)


def test_a_link_in_a_chain_that_leaves_is_refused(project: Path) -> None:
    (project / "one").symlink_to("two")
    (project / "two").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="leaves the project"):
        selected(project)


def test_an_excluded_link_is_nobodys_business(project: Path) -> None:
    (project / "hole").symlink_to("/etc/passwd")
    assert selected(project, exclude=("hole",)) == ["service.py"]


def test_a_dangling_link_and_a_loop_are_named(project: Path) -> None:
    (project / "gone").symlink_to("nowhere")
    with pytest.raises(UsageError, match="The link gone leads nowhere"):
        selected(project)
    (project / "gone").unlink()
    (project / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="The link loop leads nowhere"):
        selected(project)


def test_a_link_to_its_own_parent_ends(project: Path) -> None:
    (project / "again").symlink_to(".")
    assert selected(project) == ["service.py"]


def test_a_link_does_not_carry_what_never_travels(project: Path) -> None:
    write(project, ".git/config", "token")
    (project / "settings.txt").symlink_to(".git/config")
    assert selected(project) == ["service.py"]


def test_a_link_does_not_hide_a_secret(project: Path) -> None:
    write(project, ".env", "TOKEN=1")
    (project / "settings.txt").symlink_to(".env")
    events: list[BuildEvent] = []
    assert selected(project, events) == ["service.py"]
    assert {event.subject for event in events} == {".env", "settings.txt"}


def test_secrets_stay_behind_and_are_named(project: Path) -> None:
    write(project, "deploy/.env.production", "TOKEN=1")
    events: list[BuildEvent] = []
    assert selected(project, events) == ["service.py"]
    assert [(event.kind, event.subject) for event in events] == [("skip", "deploy/.env.production")]


def test_a_secret_asked_for_by_name_ends_the_build(project: Path) -> None:
    write(project, ".env", "TOKEN=1")
    with pytest.raises(UsageError, match=r"\.env looks like an environment file"):
        selected(project, include=("*.py", ".env"))


def test_a_pipe_and_a_socket_are_refused(project: Path) -> None:
    os.mkfifo(project / "pipe")
    with pytest.raises(UsageError, match="pipe is not a regular file"):
        selected(project)
    (project / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project / "socket"))
        with pytest.raises(UsageError, match="socket is not a regular file"):
            selected(project)


def test_twins_that_differ_in_case_are_refused(project: Path) -> None:
    write(project, "Data.txt")
    write(project, "data.txt")
    with pytest.raises(UsageError, match=r"Data\.txt and data\.txt"):
        selected(project)


@pytest.mark.parametrize("name", ["a\nb", "a:b", "a ", "a\\b"])
def test_names_that_cannot_travel_are_refused(project: Path, name: str) -> None:
    write(project, name)
    with pytest.raises(UsageError, match="cannot travel"):
        selected(project)


def copied(root: Path, out: Path, **options: object) -> tuple[tuple[str, ...], list[BuildEvent]]:
    events: list[BuildEvent] = []
    selection = Selection(root, **options)  # type: ignore[arg-type]
    files = select_files(selection, events.append)
    return copy_files(files, out, selection, events.append), events


def test_a_key_inside_a_file_stays_behind(project: Path, tmp_path: Path) -> None:
    write(project, "notes.txt", f"see\n{KEY}")
    paths, events = copied(project, tmp_path / "out")
    assert paths == ("service.py",)
    assert not (tmp_path / "out" / "notes.txt").exists()
    assert [event.subject for event in events] == ["notes.txt"]


def test_a_key_across_two_pieces_is_found(project: Path, tmp_path: Path) -> None:
    write(project, "big.txt", "\n" * ((1 << 20) - 20) + KEY)
    paths, _ = copied(project, tmp_path / "out")
    assert paths == ("service.py",)


def test_a_key_inside_a_module_ends_the_build(project: Path, tmp_path: Path) -> None:
    write(project, "keys.py", f'KEY = """{KEY}"""')
    with pytest.raises(UsageError, match=r"The module keys\.py holds a private key"):
        copied(project, tmp_path / "out")


def test_modes_are_reduced_to_program_or_not(project: Path, tmp_path: Path) -> None:
    write(project, "run.sh").chmod(0o750)
    (project / "service.py").chmod(0o600)
    copied(project, tmp_path / "out")
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "service.py").stat().st_mode & 0o777 == 0o644


def test_a_file_that_changes_while_it_is_read_is_noticed(project: Path, tmp_path: Path) -> None:
    growing = write(project, "growing.bin")
    os.truncate(growing, 64 << 20)
    stop = threading.Event()

    def grow() -> None:
        with growing.open("ab") as file:
            while not stop.is_set():
                file.write(b"x")
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(Conflict, match=r"growing\.bin changed while it was read"):
            copied(project, tmp_path / "out")
    finally:
        stop.set()
        writer.join()


def test_a_pattern_that_is_no_expression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        Selection(tmp_path, include=("[z-a]",))


@pytest.mark.parametrize(
    "path", ["token", "deep/admin-token", "service.token", "my_secret", "token.txt"]
)
def test_a_file_that_is_one_token_and_named_so_stays_behind(
    project: Path, tmp_path: Path, path: str
) -> None:
    write(project, path, "a-token-of-the-house\n")
    events: list[BuildEvent] = []
    selection = Selection(project)
    copied = copy_files(
        select_files(selection, events.append), tmp_path / "c", selection, events.append
    )
    assert copied == ("service.py",)
    assert [event.subject for event in events if event.kind == "skip"] == [path]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("token", "tokens are kept elsewhere\n"),
        ("tokenizer.json", '{"a":1234567}'),
        ("secret_santa.csv", "giver,taker\nann,bob\n"),
        ("secrets_of_success.md", "# Work hard.\n"),
        ("token", ""),
    ],
)
def test_what_only_sounds_like_a_token_travels(
    project: Path, tmp_path: Path, path: str, text: str
) -> None:
    write(project, path, text)
    selection = Selection(project)
    files = select_files(selection, lambda _: None)
    assert path in copy_files(files, tmp_path / "c", selection, lambda _: None)


def test_a_link_does_not_hide_a_token(project: Path, tmp_path: Path) -> None:
    write(project, "admin-token", "a-token-of-the-house")
    (project / "notes").symlink_to("admin-token")
    selection = Selection(project)
    files = select_files(selection, lambda _: None)
    assert copy_files(files, tmp_path / "c", selection, lambda _: None) == ("service.py",)
