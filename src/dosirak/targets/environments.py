"""A Python for each bundle: the running one where it has what is needed, else one of its own.

    requirements ─▶ met here? ─▶ this Python
                        └─▶ made before? ─▶ environments/DIGEST
                                └─▶ uv: a folder aside, then renamed

An environment is named by all that it was made from, so it is made once, also when several replicas
come at a time, and is never changed. dosirak itself is not asked of an index: its files, and those
of other distributions that are installed here from a directory, are linked from the running
environment, so that a replica runs the dosirak that the platform runs. What dosirak needs is
installed as its metadata says; where the bundle pins it, the bundle's version counts.

`python -m dosirak.targets.environments BUNDLE_ID ANSWER` makes one and writes where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dosirak.bundles.distributions import InstalledDistributions
from dosirak.bundles.environment import check, check_running_python
from dosirak.bundles.installed_modules import OWN_DISTRIBUTION
from dosirak.bundles.manifest import read_manifest
from dosirak.deployment.paths import PlatformPaths
from dosirak.errors import DosirakError, MissingDependency, StorageError
from dosirak.settings import Settings
from dosirak.store import Store
from dosirak.targets.kernel_files import replace_file

_LAST_LINES = 15
_FORMAT = 1
# What would lead an environment of its own back to the running one.
LEADING_ASTRAY = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle needs.

    Attributes:
        requirements: exact versions, mostly.
        python: a version such as `3.11`, or specifiers.
    """

    requirements: tuple[str, ...]
    python: str

    @classmethod
    def of_bundle(cls, store: Store, bundle_id: str) -> Wanted:
        """Read it from a bundle's manifest.

        Raises:
            CorruptContent: the manifest is missing or damaged.
        """
        digest = bundle_id.removeprefix("sha256:")
        manifest = read_manifest(store.manifest(digest), where=digest[:12])
        return cls(tuple(manifest.requirements), manifest.python)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A Python that has what a bundle needs.

    Attributes:
        python: the interpreter.
        isolated: whether it has an environment of its own.
    """

    python: Path
    isolated: bool


class Environments:
    """All environments of one platform.

    Args:
        root: the folder that they are in.
        own: distributions that are linked from the running environment whatever is asked of them.
    """

    def __init__(self, root: Path, *, own: Sequence[str] = (OWN_DISTRIBUTION,)) -> None:
        self._root = root
        self._own = tuple(own)

    def ready(self, wanted: Wanted) -> Chosen | None:
        """Return a Python that has all of it now; None when one is to be made.

        Raises:
            InvalidConfiguration: a requirement, or the Python asked for, cannot be read.
        """
        if not _differences(wanted):
            return Chosen(Path(sys.executable), isolated=False)
        place = self._root / self._digest(wanted, self._linked(wanted))
        return _chosen(place) if place.is_dir() else None

    def make(self, wanted: Wanted) -> Chosen:
        """Return a Python that has all of it, made if need be; what is done is printed.

        Raises:
            MissingDependency: uv is not installed, or could not install what is asked for.
            StorageError: the disk failed.
        """
        found = self.ready(wanted)
        if found is not None:
            return found
        linked = self._linked(wanted)
        place = self._root / self._digest(wanted, linked)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(self._root / f"{place.name}.lock"):
                if not place.is_dir():
                    _say(f"Making an environment: {'; '.join(_differences(wanted))}.")
                    self._make(wanted, linked, place)
        except OSError as error:
            raise StorageError(
                f"An environment cannot be made: {error.strerror}.",
                remedy="Make room on the disk of DOSIRAK_HOME.",
            ) from error
        return _chosen(place)

    def _make(self, wanted: Wanted, linked: Sequence[Distribution], place: Path) -> None:
        aside = self._root / f".{place.name}.new"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            names = {canonicalize_name(one.name) for one in linked}
            lines = [line for line in wanted.requirements if _name(line) not in names]
            lines += [line for one in linked for line in _needs(one) if _name(line) not in names]
            (self._root / f"{place.name}.txt").write_text("\n".join(lines) + "\n")
            _run_uv(
                ["venv", "--quiet", "--no-project", "--relocatable", *_python(wanted), str(aside)]
            )
            _run_uv(
                [
                    "pip",
                    "install",
                    f"--python={aside / 'bin' / 'python'}",
                    f"--requirement={self._root / f'{place.name}.txt'}",
                ]
            )
            for one in linked:
                _link(one, next(aside.glob("lib/python*/site-packages")))
            aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _linked(self, wanted: Wanted) -> list[Distribution]:
        """Return what no index needs to be asked for: it is installed here from a directory."""
        installed = InstalledDistributions()
        names = dict.fromkeys(map(canonicalize_name, self._own))
        for line in wanted.requirements:
            found = installed.get(_name(line))
            if found is not None and found.directory is not None and not check([line]):
                names.setdefault(canonicalize_name(found.name))
        return [_installed(name) for name in names]

    def _digest(self, wanted: Wanted, linked: Sequence[Distribution]) -> str:
        made_from = {
            "format": _FORMAT,
            "requirements": sorted(wanted.requirements),
            "python": _python(wanted),
            "version": platform.python_version(),
            "platform": [sys.platform, platform.machine(), *platform.libc_ver()],
            "linked": [[one.name, one.version, one.read_text("RECORD") or ""] for one in linked],
        }
        text = json.dumps(made_from, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def leads_astray() -> tuple[str, ...]:
    """Return variables that a Python of its own must not see.

    Where dosirak itself is found by PYTHONPATH, as in its own tests, that stays.
    """
    sources = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = {"PYTHONPATH"} if sources in paths else set[str]()
    return tuple(name for name in LEADING_ASTRAY if name not in kept)


def _differences(wanted: Wanted) -> list[str]:
    # Whatever version of dosirak is asked for, the running one serves.
    others = [line for line in wanted.requirements if _name(line) != OWN_DISTRIBUTION]
    python = check_running_python(wanted.python)
    return [str(one) for one in (*([python] if python else []), *check(others))]


def _name(line: str) -> str:
    return canonicalize_name(Requirement(line).name)


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise MissingDependency(
            f"{name} runs here without being installed, so no environment can be given it.",
            remedy=f"Install {name} with pip, in the environment that the platform runs in.",
        ) from error


def _needs(one: Distribution) -> Iterator[str]:
    """Return what a distribution needs without any of its extras."""
    for line in one.requires or ():
        marker = Requirement(line).marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield line


def _python(wanted: Wanted) -> list[str]:
    fits = check_running_python(wanted.python) is None
    return ["--python", sys.executable if fits else wanted.python]


def _chosen(place: Path) -> Chosen:
    return Chosen(place / "bin" / "python", isolated=True)


def _link(one: Distribution, packages: Path) -> None:
    """Let an environment have the very files that a distribution has here."""
    for file in one.files or ():
        if ".." in file.parts or file.is_absolute():
            continue  # A script, say: it names the Python that it is for.
        source, target = Path(str(one.locate_file(file))), packages / file
        if source.is_file() and "__pycache__" not in file.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)


def _run_uv(arguments: Sequence[str]) -> None:
    """Run uv; its output is passed on, and its last lines are part of an error.

    Raises:
        MissingDependency: it is not installed, or did not succeed.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        [_uv(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        for line in process.stdout:
            last.append(line)
            _say(line.rstrip())
    if process.returncode:
        raise MissingDependency(
            f"uv could not make the environment (exit code {process.returncode}):\n"
            f"{''.join(last).rstrip()}",
            remedy="Correct the bundle's requirements, or the index that pip and uv are set to.",
        )


def _uv() -> str:
    if find_spec("uv") is None:
        raise MissingDependency(
            "The bundle needs an environment of its own, which uv makes.",
            remedy="Install it with: pip install 'dosirak[platform]'.",
        )
    from uv import find_uv_bin  # noqa: PLC0415 - an extra

    return find_uv_bin()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - it goes into the replica's log


@contextmanager
def _locked(path: Path) -> Generator[None, None, None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Make the environment of a bundle, and write where it is."""
    bundle_id, answer = arguments
    home = Settings.from_environment().home
    try:
        wanted = Wanted.of_bundle(Store(home / "store"), bundle_id)
        chosen = Environments(PlatformPaths(home).environments).make(wanted)
    except DosirakError as error:
        _say(f"{error.message}\n{error.remedy}")
        return error.exit_code
    replace_file(answer, {"python": str(chosen.python), "isolated": chosen.isolated})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
