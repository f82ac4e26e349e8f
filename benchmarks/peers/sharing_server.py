"""Two servers in one process: one of a table, and one of a cipher that takes as long as it is told.

It says both ports. ``slow`` has the cipher say that it is slow, and the coding time be short: only
in a worker thread can a line be given up.
"""

from __future__ import annotations

import functools
import sys
import time

import trio

from cipherecho.cipher import Cipher
from cipherecho.rot13 import Rot13
from cipherecho.server import Limits, TcpEndpoint, open_listeners, serve


class Asked:
    """Takes the milliseconds that a line asks for, asleep or at work."""

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow

    def encrypt(self, body: bytes) -> bytes:
        how, _, milliseconds = body.partition(b" ")
        seconds = float(milliseconds) / 1000
        if how == b"sleep":
            time.sleep(seconds)
        elif seconds:
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
        return body


async def main() -> None:
    sys.setswitchinterval(0.0002)  # as the command does
    endpoints = [TcpEndpoint("127.0.0.1", 0)]
    slow = "slow" in sys.argv
    ciphers: list[Cipher] = [Rot13(), Asked(slow=slow)]
    limits = Limits(coding_timeout=0.2 if slow else Limits.coding_timeout)
    async with (
        trio.open_nursery() as nursery,
        open_listeners(endpoints) as first,
        open_listeners(endpoints) as second,
    ):
        for listeners, cipher in zip((first, second), ciphers, strict=True):
            [endpoint] = await nursery.start(functools.partial(serve, listeners, cipher, limits))
            print(f"listening {endpoint}", flush=True)


if __name__ == "__main__":
    trio.run(main)
