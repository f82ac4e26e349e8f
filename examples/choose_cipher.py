"""A server whose ciphers are chosen at run time, from whatever is installed.

Run it as it is: python examples/choose_cipher.py [SPEC ...]
"""

import sys

import trio

from cipherecho.registry import Registry, SelectionError, parse
from cipherecho.server import TcpEndpoint, open_listeners, serve


async def main(*texts: str) -> None:
    """Serve the chain of `texts` until it is interrupted."""
    registry = Registry()
    print("installed:", *(entry.name for entry in registry.entries))
    try:
        cipher = registry.load_chain(map(parse, texts or ["rot13"]))
    except SelectionError as error:
        sys.exit(str(error))
    anywhere = TcpEndpoint("127.0.0.1", 0)
    async with open_listeners([anywhere]) as listeners, trio.open_nursery() as nursery:
        [bound] = await nursery.start(serve, listeners, cipher)
        print("listening", bound, flush=True)


try:
    trio.run(main, *sys.argv[1:])
except* KeyboardInterrupt:
    pass
