"""A server on asyncio's streams, for ``streams.py uvloop`` and ``streams.py asyncio``.

What the documentation of the streams leads to: a line is read, answered, and drained.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client until it sends no more."""
    while line := await reader.readline():
        writer.write(line + line.translate(ROT13))
        await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # Both set TCP_NODELAY on what they accept.
    with asyncio.Runner(loop_factory=import_module(sys.argv[1]).new_event_loop) as runner:
        runner.run(main())
