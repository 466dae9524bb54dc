"""Whether a port can be had, and who has it where it cannot."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from dosirak.errors import InvalidConfiguration, Unavailable

_LISTENING = "0A"


def check_free(host: str, port: int, what: str) -> None:
    """Check that a port can be listened on.

    Raises:
        InvalidConfiguration: the address is not this machine's, or the port not this user's.
        Unavailable: another process has it.
    """
    try:
        _bind(host, port)
    except PermissionError as error:
        raise InvalidConfiguration(
            f"{what} cannot listen on port {port}: it is the system's own.",
            remedy="Use a port from 1024 on.",
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"{what} cannot listen on {host}:{port}: {holder_of(port)} has it.",
                remedy="End that process, or choose another port.",
            ) from error
        raise InvalidConfiguration(
            f"{what} cannot listen on {host}:{port}: {error.strerror}.",
            remedy="Use an address of this machine.",
        ) from error


def is_free(host: str, port: int) -> bool:
    """Whether a port can be listened on."""
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def holder_of(port: int) -> str:
    """Name the process that listens on a port, as far as this user may know."""
    inodes = {f"socket:[{inode}]" for inode in _listening_on(port)}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _holds(process, inodes):
            return f"process {process.name} ({_name_of(process)})"
    return "another process"


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As Envoy does: connections that have just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _listening_on(port: int) -> set[str]:
    lines = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {
        fields[9]
        for fields in lines
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in inodes for link in (process / "fd").iterdir())
    except OSError:  # Another user's, or it has ended.
        return False


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "ended"
