"""A server in the manner of Trio's tutorial: a task for each client, and a send for each line.

The tutorial echoes whatever arrives; here the data is cut into lines first.
"""

from __future__ import annotations

import trio

ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)


async def answer(stream: trio.SocketStream) -> None:
    """Answer one client until it sends no more."""
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            await stream.send_all(line + b"\n" + line.translate(ROT13) + b"\n")


async def main() -> None:
    """Serve until killed."""
    # Trio sets TCP_NODELAY on every stream.
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print("listening", listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(answer, listeners)


if __name__ == "__main__":
    trio.run(main)
