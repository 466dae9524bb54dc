"""A Unix socket as the server's address: for a proxy of the same user on the same machine.

Beside the socket lies `PATH.lock`, held for as long as the server runs: a socket whose lock is free
was left by a server that was killed, and is taken. The folder and the socket are for the owner
alone, so whoever connects is of the same user, and what it says of its own callers is believed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
from collections.abc import Generator
from pathlib import Path

from dosirak.errors import InvalidConfiguration

# `sun_path` holds so many bytes, the zero at its end among them (103 where it is shortest).
MOST_PATH_BYTES = 103


@contextlib.contextmanager
def open_unix_listener(path: Path) -> Generator[socket.socket, None, None]:
    """Bind a Unix socket, and remove it at the end; it listens once the server accepts on it.

    Raises:
        InvalidConfiguration: the path is too long, somebody listens there, what lies there is no
            socket, or the folder is open to others (the caller's fault).
    """
    path = path.absolute()
    _check_length(path)
    with contextlib.ExitStack() as held:
        try:
            _prepare_folder(path.parent)
            held.callback(os.close, _locked(Path(f"{path}.lock")))
            _remove_stale(path)
            listener = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            _bind(listener, path)
        except OSError as error:
            raise _unusable(path, os.strerror(error.errno or 0)) from error
        held.callback(_remove, Path(f"{path}.lock"))
        held.callback(_remove, path)
        yield listener


def is_unix(listener: socket.socket) -> bool:
    """Whether it is a Unix socket."""
    return listener.family == socket.AF_UNIX


def path_of(listener: socket.socket) -> Path:
    """Return where a bound Unix socket is."""
    return Path(os.fsdecode(listener.getsockname()))


def forget_address(listener: socket.socket) -> None:
    """Let no further connection begin; those begun can still be accepted."""
    _remove(path_of(listener))


def has_waiting_connection(listener: socket.socket) -> bool:
    """Whether a connection is complete and not accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _check_length(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > MOST_PATH_BYTES:
        raise InvalidConfiguration(
            f"The path of the Unix socket has {length} bytes; the system takes {MOST_PATH_BYTES}.",
            remedy="Use a shorter path for --unix-socket.",
        )


def _prepare_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise InvalidConfiguration(
            f"Others may enter the folder of the Unix socket, {folder}.",
            remedy=f"Use a folder of your own, and close it: chmod 700 {folder}",
        )


def _locked(path: Path) -> int:
    """Hold the lock until the descriptor is closed.

    Raises:
        InvalidConfiguration: another server holds it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before may have removed the file that was opened here.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise _taken(path.with_suffix("")) from error
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        InvalidConfiguration: somebody does, or it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _unusable(path, "something else lies there")
    # A server of another make has no lock of ours.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        if probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT):
            raise _taken(path)
    _remove(path)


def _bind(listener: socket.socket, path: Path) -> None:
    listener.bind(str(path))
    # The folder keeps others out until then.
    path.chmod(0o600)
    listener.setblocking(False)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _taken(path: Path) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"Another server has the Unix socket {path}.",
        remedy="Stop it, or use another path for --unix-socket.",
    )


def _unusable(path: Path, reason: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"The Unix socket {path} cannot be used: {reason}.",
        remedy="Use another path for --unix-socket.",
    )
