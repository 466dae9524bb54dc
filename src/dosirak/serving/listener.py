"""The listening socket: where it may be opened without a credential, and who holds a taken port."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dosirak.errors import InvalidConfiguration
from dosirak.serving.unix_listener import forget_address, has_waiting_connection, is_unix, path_of

_LISTEN = "0A"
_SO_ATTACH_FILTER = 26
_TCP_INFO_BYTES = 104
_TCPI_UNACKED_AT = 24
# Classic BPF over the TCP header: drop a packet whose flags are SYN and not ACK, keep any other.
_SYN_FILTER = tuple(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of flags
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone: the next; else: the one after
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # keep
    )
)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`. A name that is not known is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, token: str | None) -> None:
    """Refuse to open a service to others without a credential.

    Raises:
        InvalidConfiguration: `host` is not loopback and there is no usable token, or it is none.
    """
    if token is not None:
        check_token(token)
    if token is None and not is_loopback(host):
        # Whoever wrote no address is not helped by a token.
        _resolve(host, 0)
        raise InvalidConfiguration(
            f"Serving on {host} without a token would let anybody call the service.",
            remedy="Give a token with --token-file or DOSIRAK_TOKEN, or serve on 127.0.0.1.",
        )


def check_token(token: str) -> None:
    """Refuse a token that is easily guessed, or that no header can carry.

    Raises:
        InvalidConfiguration: it is.
    """
    if len(token) < 8 or not token.isascii() or not token.isprintable():
        raise InvalidConfiguration(
            "The token cannot be used.", remedy="Use at least 8 printable ASCII characters."
        )


def check_admin_token(admin_token: str, token: str | None) -> None:
    """Refuse an admin token that cannot be used, or that every caller has.

    Raises:
        InvalidConfiguration: it is.
    """
    check_token(admin_token)
    if admin_token == token:
        raise InvalidConfiguration(
            "The admin token is the token of the service, so every caller could reload it.",
            remedy="Give the admin routes a token of their own.",
        )


def open_listener(host: str, port: int) -> socket.socket:
    """Bind a socket; it listens once the server accepts on it.

    Raises:
        InvalidConfiguration: the address cannot be bound; the holder's process is named if known.
    """
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refusal(host, port, error) from error
    listener.setblocking(False)
    return listener


def open_more_listeners(first: socket.socket, count: int) -> list[socket.socket]:
    """Bind more sockets to the address of one that does not listen yet.

    The first was bound without sharing, so that a port that somebody has is still refused.

    Raises:
        InvalidConfiguration: this system does not spread connections over several.
    """
    if not count:
        return []
    if is_unix(first):
        # Whoever is free takes the next connection.
        return [first.dup() for _ in range(count)]
    if sys.platform != "linux":
        raise InvalidConfiguration(
            "Several fronts on one port need Linux.", remedy="Leave --fronts out."
        )
    listeners: list[socket.socket] = []
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(count):
            listener = socket.socket(first.family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(first.getsockname())
            listener.setblocking(False)
    except OSError as error:
        for listener in listeners:
            listener.close()
        host, port = first.getsockname()[:2]
        raise _refusal(host, port, error) from error
    return listeners


async def accept_on(
    listener: socket.socket,
    connect: Callable[[], asyncio.BaseProtocol],
    *,
    backlog: int,
    tls: ssl.SSLContext | None,
    handshake_timeout_s: float | None,
) -> asyncio.Server:
    """Listen on a bound socket; `connect` makes the protocol of each connection."""
    loop = asyncio.get_running_loop()
    create = loop.create_unix_server if is_unix(listener) else loop.create_server
    return await create(
        connect,
        sock=listener,
        backlog=backlog,
        ssl=tls,
        ssl_handshake_timeout=handshake_timeout_s,
    )


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return the address of a bound socket as a URL."""
    if is_unix(listener):
        return f"unix:{path_of(listener)}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def ignore_new_connections(listener: socket.socket) -> None:
    """Let no further connection begin, so that those begun can be accepted before the close.

    Closing a listener resets every connection that the kernel has completed and nobody has accepted
    yet, with the request that may be in it. A filter that drops only the first packet of a
    connection (SYN without ACK) empties that queue first. Only Linux has it.
    """
    if is_unix(listener):
        forget_address(listener)
        return
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(_SYN_FILTER))
    header = struct.pack("HP", len(_SYN_FILTER), ctypes.addressof(program))
    # Without the filter the close is as abrupt as it is anywhere: nothing worse.
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


def waiting_connections(listener: socket.socket) -> int:
    """Return how many connections are complete and not accepted; 0 where it cannot be known.

    Of a Unix socket, whether there is any.
    """
    if is_unix(listener):
        return int(has_waiting_connection(listener))
    if sys.platform != "linux":
        return 0
    # For a listening socket the kernel reports its queue where others report unanswered segments.
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return int(struct.unpack_from("I", info, _TCPI_UNACKED_AT)[0])


def holder_of(port: int) -> int | None:
    """Return the pid of the process listening on a TCP port of this machine, if it can be seen."""
    inodes = set(_listening_inodes(port))
    if not inodes:
        return None
    return next(
        (pid for pid, inode in _open_sockets() if inode in inodes),
        None,
    )


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    if not 0 <= port <= 65535:
        raise InvalidConfiguration(
            f"{port} is not a port.", remedy="Use one of 0 to 65535; 0 takes any free one."
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidConfiguration(
            f"{host!r} is not an address of this machine.",
            remedy="Give --host 127.0.0.1 or another address of it, and the port with --port.",
        ) from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _refusal(host: str, port: int, error: OSError) -> InvalidConfiguration:
    if error.errno == errno.EADDRINUSE:
        pid = holder_of(port)
        holder = f" by process {pid}" if pid is not None else ""
        return InvalidConfiguration(
            f"Port {port} is in use{holder}.",
            remedy="Choose another with --port, or 0 for any free one.",
        )
    if error.errno == errno.EACCES:
        return InvalidConfiguration(
            f"Port {port} needs more rights than this process has.",
            remedy="Choose a port over 1023.",
        )
    return InvalidConfiguration(
        f"{host} port {port} cannot be bound: {os.strerror(error.errno or 0)}.",
        remedy="Use an address of this machine.",
    )


def _listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _open_sockets() -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in list((process / "fd").iterdir()):
                opened = _link_target(link)
                if opened.startswith("socket:["):
                    yield int(process.name), opened[len("socket:[") : -1]


def _link_target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""  # Closed meanwhile.
