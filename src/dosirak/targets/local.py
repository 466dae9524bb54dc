"""Replicas as processes of this machine (see `deployment.target`).

    start ─▶ order.json ─▶ supervisor (detached, holds the lock) ─▶ dosirak serve on a Unix socket
    look  ─▶ lock, record, /readyz

Nothing of a replica is in this object: another one, in another process, finds them all by their
folders. The lock is taken here and inherited by the supervisor, so there is no moment at which a
replica runs and its lock is free.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.routing import Upstream
from dosirak.deployment.target import ReplicaOrder, SeenReplica
from dosirak.errors import Conflict, DosirakError, NotFound, StorageError
from dosirak.store import Store
from dosirak.targets.control_groups import remove_groups
from dosirak.targets.environments import Chosen, Environments, Wanted
from dosirak.targets.processes import kill_marked, send_signal
from dosirak.targets.readiness import Readiness, ReadinessProbes
from dosirak.targets.replica_folder import ProcessRecord, ReplicaFolder, is_replica_folder
from dosirak.targets.replica_logs import LogTail, follow
from dosirak.targets.replica_order import told
from dosirak.targets.service_options import validate_service_options

# Without site packages and the environment of whoever starts it; dosirak's own folder is enough.
_SUPERVISOR = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from dosirak.targets.replica_supervisor import main; sys.exit(main(sys.argv[2:]))"
)
_SOURCES = Path(__file__).parents[2]
# A supervisor that was told to end everything at once, and has not in this time, is ended itself.
_KILL_PATIENCE_S = 3.0


class LocalTarget:
    """Runs replicas as processes of this machine and user (see `deployment.target.Target`).

    Args:
        paths: where their folders and logs are.
    """

    def __init__(self, paths: PlatformPaths) -> None:
        self._paths = paths
        self._store = Store(paths.home / "store")
        self._environments = Environments(paths.environments)
        self._probes = ReadinessProbes()
        self._lock = threading.Lock()
        self._pythons: dict[str, Chosen] = {}
        # Supervisors that are children of this process: they are to be waited for.
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._alive: dict[str, _Alive] = {}
        self._ended: dict[str, SeenReplica] = {}
        self._kills_s: dict[str, float] = {}

    def start(self, order: ReplicaOrder) -> None:
        """Begin to run a replica; nothing is done if one of that id was begun before.

        Raises:
            InvalidName: the id cannot be a folder's name.
            InvalidConfiguration: its service options cannot be used (see `service_options`).
            StorageError: its folder cannot be written.
        """
        folder = self._folder(order.replica)
        validate_service_options(order.configuration.service_options)
        with self._lock, contextlib.ExitStack() as held:
            log = self._log(order)
            try:
                folder.make()
                log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = folder.lock()
            except OSError as error:
                raise _unwritable(order.replica, error) from error
            if lock is None:
                return
            held.callback(os.close, lock)
            if folder.is_begun:
                return
            chosen = self._chosen(order.bundle_id)
            spoken = told(order, folder, log, chosen, self._paths.home)
            folder.write_order({name: spoken[name] for name in spoken if name != "environment"})
            self._spawn(order.replica, folder, lock, spoken)

    def look(self) -> Mapping[str, SeenReplica]:
        """Return every replica that was begun here and not forgotten, by id."""
        with self._lock:
            self._wait_for_ended()
            folders = self._folders()
            for gone in self._ended.keys() - folders.keys():
                del self._ended[gone]
            alive = {
                replica: folder
                for replica, folder in folders.items()
                if replica not in self._ended and folder.is_alive()
            }
            for gone in self._alive.keys() - alive.keys():
                del self._alive[gone]
            for replica, folder in alive.items():
                self._alive.setdefault(replica, _Alive(folder, folder.agreed_socket))
            ready = self._probes.look((name, one.socket) for name, one in self._alive.items())
            return {
                replica: _seen(replica, self._alive[replica], ready[replica])
                if replica in alive
                else self._seen_ended(replica, folder)
                for replica, folder in folders.items()
            }

    def stop(self, replica: str) -> None:
        """Ask it to end: it finishes what it is doing, within its drain timeout."""
        folder = self._folder(replica)
        if folder.is_alive():
            folder.ask_to_stop()
            self._signal_supervisor(replica, folder, Signals.SIGTERM)

    def kill(self, replica: str) -> None:
        """End it now, with all its processes."""
        folder = self._folder(replica)
        folder.ask_to_stop()
        if not folder.is_alive():
            kill_marked(folder.path)
            return
        now_s = time.monotonic()
        first_s = self._kills_s.setdefault(replica, now_s)
        patient = now_s - first_s < _KILL_PATIENCE_S
        self._signal_supervisor(replica, folder, Signals.SIGQUIT if patient else Signals.SIGKILL)
        kill_marked(folder.path)

    def forget(self, replica: str) -> None:
        """Remove what an ended replica left, its log excepted.

        Raises:
            Conflict: it has not ended.
        """
        folder = self._folder(replica)
        with self._lock:
            if folder.is_alive():
                raise Conflict(
                    f"The replica {replica} has not ended.", remedy="Stop it, or end it, first."
                )
            remove_groups(map(Path, folder.order().get("groups", ())))
            folder.remove()
            self._ended.pop(replica, None)
            self._kills_s.pop(replica, None)

    def logs(self, replica: str, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """Return the end of its log; with `follow`, go on as it grows, until the replica ends.

        Raises:
            NotFound: there is no log of it.
        """
        tail = self.tail(replica, lines=lines)
        return _followed(tail, self._folder(replica)) if follow else _once(tail)

    def tail(self, replica: str, *, lines: int = 200) -> LogTail:
        """Return what reads its log on without ever waiting.

        Raises:
            NotFound: there is no log of it.
        """
        order = self._folder(replica).order()
        path = Path(order["log"]) if "log" in order else self._find_log(replica)
        if path is None:
            raise NotFound(
                f"There is no log of a replica {replica!r}.", remedy="Look up its id first."
            )
        return LogTail(path, lines)

    def close(self) -> None:
        """Let go of threads; replicas go on."""
        self._probes.close()

    def _folder(self, replica: str) -> ReplicaFolder:
        return ReplicaFolder.of(self._paths.replicas, replica)

    def _folders(self) -> dict[str, ReplicaFolder]:
        try:
            found = sorted(self._paths.replicas.iterdir())
        except FileNotFoundError:
            return {}
        # What is not a replica's is left alone: no one of them may keep the others from being seen.
        return {path.name: ReplicaFolder(path) for path in found if is_replica_folder(path)}

    def _log(self, order: ReplicaOrder) -> Path:
        name = f"r{order.revision}-{order.replica}.log"
        return self._paths.logs / order.deployment / name

    def _find_log(self, replica: str) -> Path | None:
        return next(self._paths.logs.glob(f"*/r*-{replica}.log"), None)

    def _chosen(self, bundle_id: str) -> Chosen | None:
        """Return the Python for a bundle, if it is there; what is wrong is said by who makes it."""
        known = self._pythons.get(bundle_id)
        if known is not None and known.python.exists():
            return known
        with contextlib.suppress(DosirakError):
            found = self._environments.ready(Wanted.of_bundle(self._store, bundle_id))
            if found is not None:
                self._pythons[bundle_id] = found
            return found
        return None

    def _spawn(
        self, replica: str, folder: ReplicaFolder, lock: int, spoken: dict[str, Any]
    ) -> None:
        """Start the supervisor; that it could not be started is its end, to be seen by `look`."""
        said = (folder.path / "supervisor.log").open("ab")
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(_SOURCES), str(lock), replica],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                cwd=folder.path,
                env={"LANG": "C.UTF-8"},
                pass_fds=(lock,),
                start_new_session=True,
            )
        except OSError as error:
            self._ended[replica] = _ended(
                replica, f"A process could not be started: {error.strerror}."
            )
            return
        finally:
            said.close()
        self._started[replica] = process
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(OSError), process.stdin as order:  # It may have ended already.
            order.write(json.dumps(spoken).encode())

    def _signal_supervisor(self, replica: str, folder: ReplicaFolder, number: Signals) -> None:
        process = self._started.get(replica)
        if process is not None:
            process.send_signal(number)
            return
        record = folder.record()
        if record is not None:
            send_signal(record.pid, record.started, number)

    def _wait_for_ended(self) -> None:
        for replica, process in list(self._started.items()):
            if process.poll() is not None:
                del self._started[replica]

    def _seen_ended(self, replica: str, folder: ReplicaFolder) -> SeenReplica:
        if replica not in self._ended:
            record = folder.record()
            if record is None or record.stage != "ended":
                # Its supervisor did not come to an end of its own: what it ran may be left.
                kill_marked(folder.path)
            ended = _how_it_ended(replica, folder, record)
            if record is None:
                return ended
            self._ended[replica] = ended
        return self._ended[replica]


@dataclass(slots=True)
class _Alive:
    """A running replica, as far as it has been read."""

    folder: ReplicaFolder
    socket: Path
    record: ProcessRecord | None = None

    def read(self) -> ProcessRecord | None:
        """Return its record: read again until it serves, when it changes only by its end."""
        if self.record is None or self.record.stage != "starting":
            self.record = self.folder.record()
        return self.record


def _seen(replica: str, alive: _Alive, ready: Readiness) -> SeenReplica:
    record = alive.read()
    stage = "starting" if record is None else record.stage
    return SeenReplica(
        replica=replica,
        alive=True,
        ready=ready.ready,
        stage="serving" if ready.ever else stage,
        upstream=Upstream(replica, socket_path=str(alive.socket)),
        pid=record.pid if record is not None else None,
        reason=ready.reason,
    )


def _how_it_ended(replica: str, folder: ReplicaFolder, record: ProcessRecord | None) -> SeenReplica:
    if not folder.is_begun:
        return _ended(replica, "It was never begun.")
    if record is None:
        return _ended(replica, "It ended before it was started.")
    if record.stage != "ended":
        return _ended(replica, "Its supervisor was ended, and it with it.", record)
    return _ended(replica, record.reason, record)


def _ended(replica: str, reason: str, record: ProcessRecord | None = None) -> SeenReplica:
    return SeenReplica(
        replica=replica,
        alive=False,
        ready=False,
        stage="ended",
        pid=record.pid if record is not None else None,
        exit_code=record.exit_code if record is not None else None,
        reason=reason,
        oom=record is not None and record.oom,
    )


def _followed(tail: LogTail, folder: ReplicaFolder) -> Iterator[str]:
    return follow(tail, folder.is_alive)


def _once(tail: LogTail) -> Iterator[str]:
    try:
        yield from tail.finish()
    finally:
        tail.close()


def _unwritable(replica: str, error: OSError) -> StorageError:
    return StorageError(
        f"The folder of replica {replica} cannot be made: {error.strerror}.",
        remedy="Make room on the disk of DOSIRAK_HOME, and look at its permissions.",
    )
