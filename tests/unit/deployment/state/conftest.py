"""A clock that tests move, a state in SQLite, and a real PostgreSQL server of the session's own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dosirak.deployment.changes import Asked, BundlePin, Change, create
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state import tables
from dosirak.deployment.state.database import PlatformState, open_state


class Clock:
    """The time that a test says it is."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paths(tmp_path: Path) -> PlatformPaths:
    return PlatformPaths(tmp_path / "home")


@pytest.fixture
def state(paths: PlatformPaths, clock: Clock) -> Iterator[PlatformState]:
    opened = open_state(paths, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def created() -> Callable[..., Change]:
    def created(name: str = "iris", at: float = 1_800_000_000.0, **configuration: object) -> Change:
        wanted = DeploymentConfiguration.model_validate(configuration)
        return create(name, BundlePin(f"{name}:1", "a" * 64), wanted, Asked(at))

    return created


def _postgresql() -> Path | None:
    """Return the folder of PostgreSQL's programs: on the path, or where Debian puts them."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def _unprivileged() -> list[str]:
    """Return how to run a command as somebody who is not root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Path]:
    """The folder of a server's socket; nobody else reaches it."""
    programs = _postgresql()
    if programs is None or find_spec("psycopg") is None:
        pytest.skip("NO POSTGRESQL: install psycopg and PostgreSQL to test the state in it.")
    folder = Path(tempfile.mkdtemp(prefix="dosirak-pg-"))  # the path of a socket must be short
    as_nobody = _unprivileged()
    if as_nobody:
        shutil.chown(folder, "nobody")
    data = folder / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    subprocess.run(
        [*as_nobody, programs / "initdb", "-D", data, "-U", "dosirak", "-A", "trust", "-N"],
        check=True, capture_output=True, env=environment, cwd=folder,
    )  # fmt: skip
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*as_nobody, programs / "postgres", "-D", data, *options],
            stdout=log, stderr=log, env=environment, cwd=folder,
        )  # fmt: skip
    try:
        until_s = time.monotonic() + 60
        while not _answers(folder):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until_s, "PostgreSQL did not start"
            time.sleep(0.05)
        yield folder
    finally:
        server.send_signal(signal.SIGINT)  # ends at once, with its connections
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(folder: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(f"host={folder} user=dosirak dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _new_database(server: Path) -> str:
    import psycopg

    name = f"state_{os.urandom(6).hex()}"
    with psycopg.connect(
        f"host={server} user=dosirak dbname=postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {name} STRATEGY wal_log".encode())
    return f"postgresql://dosirak@/{name}?host={server}"


@pytest.fixture
def postgresql_url(postgresql_server: Path) -> str:
    """An empty database."""
    return _new_database(postgresql_server)


@pytest.fixture(scope="session")
def migrated_url(postgresql_server: Path) -> str:
    """One database for all tests that need its schema and none of its rows."""
    return _new_database(postgresql_server)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_state(
    request: pytest.FixtureRequest, paths: PlatformPaths, clock: Clock
) -> Iterator[PlatformState]:
    """The state, empty, in each of the databases that keep it."""
    url = None if request.param == "sqlite" else request.getfixturevalue("migrated_url")
    opened = open_state(paths, url, clock=clock)
    if url is not None:
        _empty(opened)
    yield opened
    opened.close()


def _empty(state: PlatformState) -> None:
    with state.transaction() as transaction:
        for table in reversed(tables.metadata.sorted_tables):
            if table.name != "turn":
                transaction.write(table.delete())
