"""A server inside your own Trio program: it runs beside your tasks, and ends with them.

Run it as it is: python examples/embed_server.py
"""

import trio

from cipherecho.rot13 import Rot13
from cipherecho.server import Limits, TcpEndpoint, open_listeners, serve


async def main() -> None:
    """Start a server on a free port, talk to it, and stop it."""
    anywhere = TcpEndpoint("127.0.0.1", 0)
    async with open_listeners([anywhere]) as listeners, trio.open_nursery() as nursery:
        # start() returns when clients can connect, with the port that the system picked.
        [bound] = await nursery.start(serve, listeners, Rot13(), Limits(max_line=1000))

        async with await trio.open_tcp_stream(bound.host, bound.port) as client:
            await client.send_all(b"Hello from next door\n")
            await client.send_eof()
            async for part in client:
                print(part.decode(), end="")

        nursery.cancel_scope.cancel()


trio.run(main)
