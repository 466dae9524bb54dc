"""Where a Unix socket is opened, and where not."""

from __future__ import annotations

import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosirak.errors import InvalidConfiguration
from dosirak.serving.listener import (
    ignore_new_connections,
    open_more_listeners,
    url_of,
    waiting_connections,
)
from dosirak.serving.unix_listener import open_unix_listener


@pytest.fixture
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="dsk-"))
    yield place
    shutil.rmtree(place)


def _check_refused(path: Path, said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=said), open_unix_listener(path):
        pass


def test_it_is_there_for_the_block_and_for_its_owner(folder: Path) -> None:
    path = folder / "new" / "s"
    with open_unix_listener(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert url_of(listener) == f"unix:{path}"
    assert list(path.parent.iterdir()) == []


def test_one_that_does_not_listen_yet_is_not_taken_for_stale(folder: Path) -> None:
    with open_unix_listener(folder / "s"):
        _check_refused(folder / "s", "Another server")
        assert (folder / "s").exists()


def test_one_of_another_make_that_listens_is_left_alone(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "s"))
        other.listen()
        _check_refused(folder / "s", "Another server")
    with open_unix_listener(folder / "s"):
        pass


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "s").write_text("precious")
    _check_refused(folder / "s", "something else")
    assert (folder / "s").read_text() == "precious"


def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    folder.chmod(0o755)
    _check_refused(folder / "s", "chmod 700")


def test_a_path_that_is_too_long_is_refused_in_words(folder: Path) -> None:
    _check_refused(folder / ("x" * 120), "the system takes")


def test_those_who_wait_are_seen_when_nobody_else_may_come(folder: Path) -> None:
    with open_unix_listener(folder / "s") as listener:
        (other,) = open_more_listeners(listener, 1)
        listener.listen()
        with socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as late:
            early.connect(str(folder / "s"))
            ignore_new_connections(listener)
            assert late.connect_ex(str(folder / "s")) != 0
            # Either of the two may accept it.
            assert waiting_connections(other) == waiting_connections(listener) == 1
            listener.accept()[0].close()
            assert waiting_connections(listener) == 0
        other.close()
