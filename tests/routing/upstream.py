"""A small real replica on a Unix socket, run as a program: `python upstream.py SOCKET NAME NOTES`.

/livez            200
/work, /once      twice the value of {"value": N}; N is noted before it is answered
/slow?ms=N        the same as /who, after N milliseconds
/stream?n=N&ms=M  N lines, M milliseconds apart
/hang             nothing, ever
/raw              101, then every byte comes back
anything else     what was asked, as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit


class Replica:
    def __init__(self, name: str, notes: str) -> None:
        self.name = name
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await self.body(reader, headers)
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/raw":
            await self.echo(reader, writer)
            return False
        if url.path == "/hang":
            await asyncio.sleep(3600)
        if url.path == "/stream":
            await self.stream(writer, int(query["n"]), int(query["ms"]))
            return True
        if url.path == "/slow":
            await asyncio.sleep(int(query["ms"]) / 1000)
        if url.path in ("/work", "/once"):
            value = json.loads(body)["value"]
            os.write(self.notes, b"%s %d\n" % (url.path.encode(), value))
            await asyncio.sleep(0.01)
            answer = b"%d" % (2 * value)
        elif url.path == "/livez":
            answer = b"alive"
        else:
            said = {"who": self.name, "method": method, "target": target, "headers": headers}
            answer = json.dumps({**said, "body": body.decode("latin-1")}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
        await writer.drain()
        return True

    async def body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            pieces = b""
            while size := int(await reader.readline(), 16):
                pieces += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
            return pieces
        return await reader.readexactly(int(headers.get("content-length", 0)))

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()

    async def stream(self, writer: asyncio.StreamWriter, lines: int, pause_ms: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(lines):
            line = b"%s %d\n" % (self.name.encode(), number)
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(pause_ms / 1000)
        writer.write(b"0\r\n\r\n")


async def main(socket: str, name: str, notes: str) -> None:
    server = await asyncio.start_unix_server(Replica(name, notes).serve, socket)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
