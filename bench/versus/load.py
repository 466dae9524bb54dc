"""Load: wrk where it is installed, else this file's own closed loop over raw sockets."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def measure(
    url: str, body: bytes, content_type: str, concurrency: int, seconds: float, core: int
) -> dict[str, float]:
    """Return rate, p50_ms, p99_ms, requests and errors."""
    with tempfile.TemporaryDirectory() as directory:
        body_file = Path(directory) / "body"
        body_file.write_bytes(body)
        pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
        if shutil.which("wrk"):
            script = Path(directory) / "post.lua"
            script.write_text(
                f'local f = io.open("{body_file}", "rb")\nwrk.body = f:read("*a")\n'
                f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{content_type}"\n'
            )
            command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds:g}s", "--latency",
                       "--timeout", "20s", "-s", str(script), url]  # fmt: skip
            return _from_wrk(_output([*pin, *command]))
        command = [sys.executable, __file__, url, str(body_file), content_type,
                   str(concurrency), str(seconds)]  # fmt: skip
        return json.loads(_output([*pin, *command]))


def measure_open(
    url: str, body: bytes, content_type: str, holds: bytes, rate_per_s: float, seconds: float,
    core: int,
) -> dict[str, float]:  # fmt: skip
    """Return the same of requests that come by the clock, timed from when they were meant to."""
    with tempfile.TemporaryDirectory() as directory:
        body_file = Path(directory) / "body"
        body_file.write_bytes(body)
        pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
        command = [sys.executable, str(Path(__file__).parent / "open_load.py"), url,
                   str(body_file), content_type, holds.decode(), str(rate_per_s),
                   str(seconds)]  # fmt: skip
        return json.loads(_output([*pin, *command]))


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _from_wrk(text: str) -> dict[str, float]:
    def milliseconds(label: str) -> float:
        value, unit = re.search(rf"{label}\s+([\d.]+)([a-z]+)", text).groups()
        return float(value) * _UNITS[unit]

    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    socket_errors = re.search(r"Socket errors: (.*)", text)
    return {
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
        "p50_ms": milliseconds("50%"),
        "p99_ms": milliseconds("99%"),
        "requests": int(re.search(r"(\d+) requests in", text).group(1)),
        "errors": int(bad.group(1) if bad else 0)
        + sum(map(int, re.findall(r"\d+", socket_errors.group(1) if socket_errors else ""))),
    }


class _Client(asyncio.Protocol):
    """Sends the next request when the last is answered."""

    def __init__(self, request: bytes, times: list[float], ends_s: float) -> None:
        self._request, self._times, self._ends_s = request, times, ends_s
        self._buffer = b""
        self.errors = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._send()

    def connection_lost(self, exc) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = re.search(rb"(?i)content-length: (\d+)", self._buffer[:end])
        if len(self._buffer) < end + 4 + int(length.group(1) if length else 0):
            return
        self.errors += self._buffer[9:10] != b"2"
        self._times.append(time.perf_counter() - self._began_s)
        self._buffer = b""
        if time.perf_counter() < self._ends_s:
            self._send()
        else:
            self._transport.close()

    def _send(self) -> None:
        self._began_s = time.perf_counter()
        self._transport.write(self._request)


async def _run(
    url: str, body: bytes, content_type: str, concurrency: int, seconds: float
) -> dict[str, float]:
    parts = urlsplit(url)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    times: list[float] = []
    ends_s = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(concurrency):
        _, client = await loop.create_connection(
            lambda: _Client(request, times, ends_s), parts.hostname, parts.port
        )
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    times.sort()
    return {
        "rate": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
        "requests": len(times),
        "errors": sum(client.errors for client in clients),
    }


if __name__ == "__main__":
    import uvloop

    url, file, media_type, count, duration = sys.argv[1:]
    print(json.dumps(uvloop.run(
        _run(url, Path(file).read_bytes(), media_type, int(count), float(duration))
    )))  # fmt: skip
