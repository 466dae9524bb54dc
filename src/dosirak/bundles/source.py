"""Which files of a project travel with its bundle.

    directory + patterns → select_files → SourceFile, … → copy_files → a directory of the build

Directories that never travel are pruned while walking. A link that stays inside the project travels
as the content it points to; one that leaves it ends the build, and so does anything that is not a
file. Secrets stay behind and are named, or end the build when the author asked for them by name.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pathspec import GitIgnoreSpec

from dosirak.bundles.checkout import is_checkout_of_bundle
from dosirak.bundles.report import BuildEvent, Report
from dosirak.bundles.secrets import (
    OVERLAP_BYTES,
    lone_token,
    names_it,
    secret_by_content,
    secret_by_name,
)
from dosirak.errors import Conflict, InvalidConfiguration, UsageError
from dosirak.store.archive import is_export

IGNORE_FILE = ".dosirakignore"

_NEVER = GitIgnoreSpec.from_lines(
    [
        ".git",
        ".hg",
        ".svn",
        "__pycache__/",
        "*.py[cod]",
        ".venv/",
        "node_modules/",
        ".tox/",
        ".nox/",
        ".eggs/",
        "*.egg-info/",
        ".cache/",
        ".*_cache/",
        ".hypothesis/",
        ".ipynb_checkpoints/",
        ".idea/",
        ".vscode/",
        ".dosirak/",
        ".coverage",
        ".DS_Store",
        "Thumbs.db",
    ]
)
# A directory that holds one of these is an environment, whatever its name.
_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")

_PIECE_BYTES = 1 << 20
# Secrets are small files, or stand early in larger ones; weights are not searched to their end.
_SEARCHED_BYTES = 16 << 20
_LARGE_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that travels.

    Attributes:
        path: where it stands in the project, with `/`.
        origin: the real file to read: the end of the link, when `path` is one.
    """

    path: str
    origin: Path


@dataclass(frozen=True, slots=True)
class Selection:
    """What the author wants to travel, compiled once per build.

    Attributes:
        root: the project's directory; nothing outside it travels.
        only: names in `root` beside which nothing is looked at; None looks at everything.
        include: patterns of what travels; None is everything.
        exclude: patterns of what stays behind.
        skipped_directories: places that never travel, such as the store itself.
    """

    root: Path
    only: frozenset[str] | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    skipped_directories: frozenset[Path] = frozenset()
    _included: GitIgnoreSpec = field(init=False)
    _excluded: GitIgnoreSpec = field(init=False)

    def __post_init__(self) -> None:
        ignored = _ignore_lines(self.root)
        object.__setattr__(self, "_included", _compile(self.include or (), "include"))
        object.__setattr__(self, "_excluded", _compile((*ignored, *self.exclude), "exclude"))

    def prunes(self, directory: str, origin: Path) -> bool:
        """Whether nothing below a directory travels."""
        path = f"{directory}/"
        return (
            _NEVER.match_file(path)
            or self._excluded.match_file(path)
            or origin in self.skipped_directories
            or any((origin / mark).exists() for mark in _ENVIRONMENT_MARKS)
        )

    def wants(self, path: str) -> bool:
        """Whether the patterns let a file travel."""
        if _NEVER.match_file(path) or self._excluded.match_file(path):
            return False
        return self.include is None or self._included.match_file(path)

    def names(self, path: str) -> bool:
        """Whether the author asked for this very file."""
        return any(names_it(pattern, PurePosixPath(path)) for pattern in self.include or ())


def select_files(selection: Selection, report: Report) -> tuple[SourceFile, ...]:
    """Return the files that travel, ordered by path.

    Raises:
        UsageError: a link leaves the project, a file is no regular file, its name cannot travel, or
            a secret was asked for by name (the author's fault).
    """
    found = sorted(_walk(selection, selection.root, "", (), report), key=lambda file: file.path)
    _check_twins(found)
    return tuple(found)


def copy_files(
    files: Iterable[SourceFile], destination: Path, selection: Selection, report: Report
) -> tuple[str, ...]:
    """Copy files below `destination` and return the paths that were copied.

    A file whose content holds a secret is left behind; a Python module that does ends the build,
    because the service would be incomplete without it.

    Raises:
        Conflict: a file changed while it was read.
        UsageError: a file cannot be read, or holds a secret and must travel.
    """
    return tuple(
        file.path for file in files if _copy(file, destination / file.path, selection, report)
    )


def _ignore_lines(root: Path) -> tuple[str, ...]:
    path = root / IGNORE_FILE
    if not path.is_file():
        return ()
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise InvalidConfiguration(
            f"{IGNORE_FILE} is not UTF-8 text.", remedy="Save it as UTF-8."
        ) from error


def _compile(patterns: Iterable[str], where: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except (ValueError, re.error) as error:
        raise InvalidConfiguration(
            f"A pattern of {where} cannot be read: {error}.",
            remedy="Write patterns as in a .gitignore file.",
        ) from error


def _walk(
    selection: Selection, directory: Path, prefix: str, above: tuple[Path, ...], report: Report
) -> Iterator[SourceFile]:
    for entry in _listed(selection, directory, prefix):
        path = f"{prefix}{entry.name}"
        if entry.is_symlink():
            origin = _link_target(selection, path, Path(entry.path))
        else:
            origin = Path(entry.path)
        if origin is None:
            continue
        if origin.is_dir():
            # A link to a directory above itself would never end.
            if selection.prunes(path, origin) or origin in (*above, directory):
                continue
            if is_checkout_of_bundle(origin):
                message = f"{path}/ is a bundle that was checked out and stays behind."
                report(BuildEvent("skip", message, path))
            else:
                yield from _walk(selection, origin, f"{path}/", (*above, directory), report)
        elif selection.wants(path):
            yield from _file(selection, path, origin, report)


def _listed(selection: Selection, directory: Path, prefix: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        raise UsageError(
            f"The directory {prefix or '.'} cannot be read.",
            remedy="Make it readable or exclude it.",
        ) from error
    if prefix or selection.only is None:
        return found
    return [entry for entry in found if entry.name in selection.only]


def _link_target(selection: Selection, path: str, link: Path) -> Path | None:
    if not selection.wants(path) or selection.prunes(path, link):
        return None
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"The link {path} leads nowhere.", remedy="Remove the link or exclude it."
        ) from error
    if not target.is_relative_to(selection.root):
        raise UsageError(
            f"The link {path} leaves the project.",
            remedy="Copy what it points to into the project, or exclude the link.",
        )
    inside = target.relative_to(selection.root).as_posix()
    # What never travels does not travel under another name either.
    return None if _NEVER.match_file(inside) else target


def _file(selection: Selection, path: str, origin: Path, report: Report) -> Iterator[SourceFile]:
    if not stat.S_ISREG(origin.stat().st_mode):
        raise UsageError(
            f"{path} is not a regular file (a pipe, socket or device).",
            remedy="Remove it or exclude it.",
        )
    _check_name(path)
    inside = PurePosixPath(origin.relative_to(selection.root).as_posix())
    secret = secret_by_name(PurePosixPath(path)) or secret_by_name(inside)
    if secret is not None:
        _leave_behind(selection, path, secret, report)
    elif is_export(origin) and not selection.names(path):
        message = f"{path} is an export of dosirak and stays behind."
        report(BuildEvent("skip", message, path))
    else:
        yield SourceFile(path, origin)


def _leave_behind(selection: Selection, path: str, secret: str, report: Report) -> None:
    if selection.names(path):
        raise UsageError(
            f"{path} looks like {secret}, and secrets never travel in a bundle.",
            remedy="Take it out of include; give secrets to the deployment instead.",
        )
    report(BuildEvent("skip", f"{path} looks like {secret} and stays behind.", path))


def _check_name(path: str) -> None:
    wrong = any(
        unicodedata.category(character) in ("Cc", "Cs") or character in '\\:*?"<>|'
        for character in path
    ) or any(part.endswith((" ", ".")) for part in path.split("/"))
    if wrong:
        raise UsageError(
            f"The file name {path!r} cannot travel to every file system.",
            remedy="Rename the file or exclude it.",
        )


def _check_twins(files: Iterable[SourceFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        folded = unicodedata.normalize("NFC", file.path).casefold()
        if folded in seen:
            raise UsageError(
                f"{seen[folded]} and {file.path} are one file on some file systems.",
                remedy="Rename one of them or exclude it.",
            )
        seen[folded] = file.path


def _copy(file: SourceFile, target: Path, selection: Selection, report: Report) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Never through a link that was swapped in, never waiting for a pipe.
        descriptor = os.open(file.origin, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(
            f"{file.path} cannot be read: {error.strerror}.",
            remedy="Make it readable or exclude it.",
        ) from error
    with os.fdopen(descriptor, "rb") as source, target.open("xb") as copy:
        before = os.fstat(descriptor)
        secret = _copy_pieces(source, copy, (PurePosixPath(file.path), PurePosixPath(file.origin)))
        if _moved(before, os.fstat(descriptor), copy.tell()):
            raise Conflict(
                f"{file.path} changed while it was read.",
                remedy="Build again when nothing writes to the project.",
            )
        # The author's umask and group are no part of the content; being a program is.
        os.fchmod(copy.fileno(), 0o755 if before.st_mode & stat.S_IXUSR else 0o644)
    if before.st_size > _LARGE_BYTES:
        message = f"{file.path} is {before.st_size >> 20} MiB; keep weights in the model store."
        report(BuildEvent("warn", message, file.path))
    if secret is None:
        return True
    target.unlink()
    _leave_content_behind(file, secret, selection, report)
    return False


def _moved(before: os.stat_result, after: os.stat_result, copied_bytes: int) -> bool:
    return (
        copied_bytes != before.st_size
        or before.st_size != after.st_size
        or before.st_mtime_ns != after.st_mtime_ns
        or not stat.S_ISREG(before.st_mode)
    )


def _copy_pieces(source: BinaryIO, copy: BinaryIO, names: tuple[PurePosixPath, ...]) -> str | None:
    secret, tail = None, b""
    while piece := source.read(_PIECE_BYTES):
        if copy.tell() == 0 and len(piece) <= OVERLAP_BYTES:
            secret = next(filter(None, (lone_token(name, piece) for name in names)), None)
        if secret is None and copy.tell() < _SEARCHED_BYTES:
            secret = secret_by_content(tail + piece)
            tail = piece[-OVERLAP_BYTES:]
        copy.write(piece)
    return secret


def _leave_content_behind(
    file: SourceFile, secret: str, selection: Selection, report: Report
) -> None:
    if file.path.endswith(".py"):
        raise UsageError(
            f"The module {file.path} holds {secret}.",
            remedy="Read it from the environment when the service starts, or exclude the module.",
        )
    if selection.names(file.path):
        _leave_behind(selection, file.path, secret, report)
    report(BuildEvent("skip", f"{file.path} holds {secret} and stays behind.", file.path))
