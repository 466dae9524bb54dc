"""A server of HTTP/2 without TLS that returns what it is sent, with trailers, as gRPC does."""

from __future__ import annotations

import asyncio
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
_TRAILERS = [("grpc-status", "0")]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    bodies: dict[int, bytes] = {}
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, DataReceived):
                bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
            if isinstance(event, StreamEnded):
                connection.send_headers(event.stream_id, _HEAD)
                connection.send_data(event.stream_id, bodies.pop(event.stream_id, b""))
                connection.send_headers(event.stream_id, _TRAILERS, end_stream=True)
        writer.write(connection.data_to_send())
        await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
