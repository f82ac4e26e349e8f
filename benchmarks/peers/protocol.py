"""A server on a bare ``asyncio.Protocol``: ``protocol.py uvloop|asyncio [CERTIFICATE KEY]``.

Every receive is answered with one write: all its complete lines are translated at once. With
uvloop it is the measure of all the others. It has no limits and no times, and keeps no log. With
a certificate and its key, two PEM files, it speaks TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from importlib import import_module
from io import BytesIO

ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)


class Rot13Echo(asyncio.Protocol):
    """Answers one client."""

    __slots__ = ("rest", "transport")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        end = data.rfind(b"\n") + 1
        block, self.rest = data[:end], data[end:]
        if not block:
            return
        if block.find(b"\n") == end - 1:
            self.transport.write(block + block.translate(ROT13))
            return
        # As cipherecho does it: BytesIO finds lines by memchr, and a bytearray is translated
        # faster than bytes.
        lines = BytesIO(block).readlines()
        reply = lines * 2
        reply[0::2] = lines
        reply[1::2] = BytesIO(bytearray(block).translate(ROT13)).readlines()
        self.transport.write(b"".join(reply))


async def main(certificate_and_key: list[str]) -> None:
    """Serve until killed."""
    context = None
    if certificate_and_key:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate_and_key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Rot13Echo, "127.0.0.1", 0, ssl=context)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # Both set TCP_NODELAY on what they accept.
    with asyncio.Runner(loop_factory=import_module(sys.argv[1]).new_event_loop) as runner:
        runner.run(main(sys.argv[2:]))
