"""A server on anyio: a Session for each client, and anyio for the sockets.

Run it as it is: python examples/anyio_server.py
"""

import anyio
from anyio.abc import ByteStream, SocketAttribute

from cipherecho.rot13 import Rot13
from cipherecho.session import Session


async def answer(stream: ByteStream) -> None:
    """Answer one client until it sends no more."""
    session = Session(Rot13())
    async with stream:
        while not session.closed:
            try:
                reply = session.receive(await stream.receive())
            except anyio.EndOfStream:
                reply = session.end()
            await stream.send(reply)
            while session.has_more:
                await stream.send(session.resume())


async def main() -> None:
    """Start a server on a free port, talk to it, and stop it."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"Hello from anyio\n")
            await client.send_eof()
            async for part in client:
                print(part.decode(), end="")
        tasks.cancel_scope.cancel()


anyio.run(main)
