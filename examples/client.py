"""A client on Trio: sends the lines of standard input while it prints what comes back.

Start a server (cipherecho), then: echo Hello | python examples/client.py [HOST [PORT]]
"""

import sys
from functools import partial

import trio


async def main(host: str = "127.0.0.1", port: str = "8013") -> None:
    """Send and receive at once: a client that only sends would stop being read from."""
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(send_lines, stream)
        async for part in stream:
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()


async def send_lines(stream: trio.SocketStream) -> None:
    """Send standard input line by line, and say when it has ended."""
    async for line in trio.wrap_file(sys.stdin.buffer):
        await stream.send_all(line)
    await stream.send_eof()


trio.run(partial(main, *sys.argv[1:]))
