"""A replica's folder: what lies in it, and what its lock and its record say.

| file | what |
|---|---|
| `lock` | held by the supervisor for as long as it lives |
| `order.json` | what was asked for; whoever finds it knows that the replica was begun |
| `process.json` | the supervisor's record: processes, stage, how it ended |
| `stop` | it is to end, whether or not its process is known yet |
| `socket`, `socket.lock` | where it serves |
| `work/` | its working directory |
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from dosirak.errors import InvalidName, StorageError
from dosirak.serving.unix_listener import MOST_PATH_BYTES
from dosirak.targets.kernel_files import replace_file

_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?", re.ASCII)


class ProcessRecord(msgspec.Struct, frozen=True):
    """What a supervisor writes down.

    Attributes:
        pid: the supervisor's, with `started`, when the kernel says that it began.
        child: what it runs, and its process group.
        asked: whether it ended because somebody asked.
    """

    pid: int
    started: int
    child: int
    child_started: int
    stage: str
    exit_code: int | None = None
    oom: bool = False
    reason: str = ""
    asked: bool = False
    dropped_bytes: int = 0


def is_replica_folder(path: Path) -> bool:
    """Whether this can be a replica's: named by an id, with a lock that can be one."""
    return _is_id(path.name) and path.is_dir() and not (path / "lock").is_dir()


def _is_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None and ".." not in name


@dataclass(frozen=True, slots=True)
class ReplicaFolder:
    """One replica's folder.

    Args:
        path: where it is; its name is the replica's id.
    """

    path: Path

    @classmethod
    def of(cls, replicas: Path, replica: str) -> ReplicaFolder:
        """Return the folder of an id.

        Raises:
            InvalidName: the id could be something else than one file's name.
        """
        if not _is_id(replica):
            raise InvalidName(
                f"{replica!r} is not the id of a replica.",
                remedy="Use a-z, 0-9, '.', '_' and '-', a letter or digit at both ends.",
            )
        return cls(replicas / replica)

    @property
    def work(self) -> Path:
        """The working directory of what is served."""
        return self.path / "work"

    @property
    def is_begun(self) -> bool:
        """Whether an order was written."""
        return (self.path / "order.json").exists()

    @property
    def socket(self) -> Path:
        """Where it serves: here, or in a folder with a short name if this one's is too long."""
        near = self.path / "socket"
        if len(os.fsencode(near)) + len(".lock") <= MOST_PATH_BYTES:
            return near
        place = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:24]
        return Path(tempfile.gettempdir()) / f"dosirak-{os.geteuid()}-{place}" / "socket"

    @property
    def agreed_socket(self) -> Path:
        """Where it was told to serve; another process may call other places temporary."""
        return Path(self.order().get("socket", "") or self.socket)

    def make(self) -> None:
        """Make it, for its owner alone."""
        self.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def lock(self) -> int | None:
        """Hold its lock and return the descriptor; None when a supervisor holds it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_alive(self) -> bool:
        """Whether a supervisor holds its lock."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write_order(self, order: dict[str, Any]) -> None:
        """Write down what is asked for.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            replace_file(str(self.path / "order.json"), order)
        except OSError as error:
            raise StorageError(
                f"The order of replica {self.path.name} cannot be written: {error.strerror}.",
                remedy="Make room on the disk of DOSIRAK_HOME.",
            ) from error

    def order(self) -> dict[str, Any]:
        """Return what was asked for; nothing where that cannot be read."""
        try:
            read: object = json.loads((self.path / "order.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", read) if isinstance(read, dict) else {}

    def record(self) -> ProcessRecord | None:
        """Return what the supervisor has written down so far."""
        try:
            return msgspec.json.decode(
                (self.path / "process.json").read_bytes(), type=ProcessRecord
            )
        except (OSError, msgspec.DecodeError):
            return None

    def ask_to_stop(self) -> None:
        """Leave word that it is to end."""
        with contextlib.suppress(OSError):  # It is told by a signal, too.
            (self.path / "stop").touch(mode=0o600)

    def remove(self) -> None:
        """Remove it with everything in it."""
        if self.socket.parent != self.path:
            shutil.rmtree(self.socket.parent, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)
