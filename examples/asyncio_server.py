"""A server on asyncio: a Session for each client, and asyncio for the sockets.

Run it as it is: python examples/asyncio_server.py
"""

import asyncio
from asyncio import StreamReader, StreamWriter

from cipherecho.rot13 import Rot13
from cipherecho.session import Session


async def answer(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer one client until it sends no more."""
    session = Session(Rot13())
    while not session.closed:
        data = await reader.read(65_536)
        writer.write(session.receive(data) if data else session.end())
        while session.has_more:
            await writer.drain()
            writer.write(session.resume())
        await writer.drain()
    writer.close()


async def main() -> None:
    """Start a server on a free port, talk to it, and stop it."""
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"Hello from asyncio\n")
        writer.write_eof()
        print((await reader.read()).decode(), end="")
        writer.close()


asyncio.run(main())
