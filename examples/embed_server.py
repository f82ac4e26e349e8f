"""A server inside your own Trio program: it runs beside your tasks, and ends with them.

Run it as it is: python examples/embed_server.py
"""

import trio

from cipherecho.rot13 import Rot13
from cipherecho.server import Limits, TcpEndpoint, open_listeners, serve


async def main() -> None:
    """Start a server on a free port, talk to it, and stop it."""
    anywhere = TcpEndpoint("127.0.0.1", 0)
    limits = Limits(max_line=1000)
    async with (
        open_listeners([anywhere]) as listeners,
        trio.open_nursery() as nursery,
    ):
        # This returns when clients can connect, with the port it listens on.
        [bound] = await nursery.start(serve, listeners, Rot13(), limits)
        await say_hello(bound)
        nursery.cancel_scope.cancel()


async def say_hello(server: TcpEndpoint) -> None:
    """Be a client: send one line, and print what comes back."""
    async with await trio.open_tcp_stream(server.host, server.port) as client:
        await client.send_all(b"Hello from next door\n")
        await client.send_eof()
        async for part in client:
            print(part.decode(), end="")


trio.run(main)
