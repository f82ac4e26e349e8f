"""Clients that bring a cipher all the work that they can, and how long others wait meanwhile.

python3 sharing.py TABLE-PORT CIPHER-PORT SCENARIO SECONDS    prints that, in JSON
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

# Before anybody is asked, others are at it for so long.
_WARM_UP_SECONDS = 0.5

_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Scenario:
    """What others send again and again, and what a client of the same cipher asks meanwhile.

    Attributes:
      title: for people.
      clients: how many others there are.
      text: what each of them sends, as fast as it is taken.
      line: what the client of the same cipher asks, ten times a second.
      bar_ms: how long that may wait: for a line of theirs that is under way, and its own, with
        room for how exact a sleep is; None where that depends on the machine alone.
      slow: whether the cipher says that it is.
    """

    title: str
    clients: int
    text: bytes
    line: bytes
    bar_ms: float | None
    slow: bool = False


SCENARIOS = {
    "alone": Scenario("nobody else", 0, b"", b"work 0\n", 10),
    "pipelined": Scenario("600 lines of 15 ms in one", 1, b"sleep 15\n" * 600, b"sleep 15\n", 40),
    "computing": Scenario("600 that compute", 1, b"work 15\n" * 600, b"work 15\n", 80),
    "now-and-then": Scenario(
        "100 quick lines and one of 0.1 s", 1, b"work 0\n" * 100 + b"sleep 100\n", b"work 0\n", 110
    ),
    "crowd": Scenario("20 clients, 15 ms a line", 20, b"sleep 15\n" * 100, b"sleep 15\n", 40),
    # Eight threads share the core and the interpreter.
    "crowd-computing": Scenario(
        "20 clients that have it compute", 20, b"work 15\n" * 100, b"work 15\n", None
    ),
    "endless": Scenario("a line without an end", 1, b"sleep 60000\n", b"work 0\n", 10, slow=True),
}


def _connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS, (source, 0))


def _keep_busy(port: int, text: bytes) -> None:
    """Send as fast as that is taken, from another address, until the server ends it."""
    client = _connected(port, "127.0.0.2")
    client.settimeout(None)

    def discard() -> None:
        with suppress(OSError):
            while client.recv(1 << 16):
                pass

    threading.Thread(target=discard, daemon=True).start()
    with suppress(OSError):
        while True:
            client.sendall(text)


def _ask(port: int, line: bytes, pause: float, until: float, waits: list[float]) -> None:
    with _connected(port) as client:
        while time.monotonic() < until:
            begin = time.perf_counter()
            client.sendall(line)
            reply = b""
            while reply.count(b"\n") < 2:
                more = client.recv(1000)
                if not more or reply.startswith(b"!error"):
                    print(f"got {reply + more!r} for {line!r}", file=sys.stderr)
                    os._exit(1)
                reply += more
            waits.append(1000 * (time.perf_counter() - begin))
            time.sleep(pause)


def _share(waits: Sequence[float], share: float) -> float:
    return sorted(waits)[min(len(waits) - 1, int(share * len(waits)))]


def main() -> None:
    """Do what the command line says."""
    table_port, cipher_port, name, seconds = sys.argv[1:]
    scenario = SCENARIOS[name]
    for _ in range(scenario.clients):
        arguments = int(cipher_port), scenario.text
        threading.Thread(target=_keep_busy, args=arguments, daemon=True).start()
    time.sleep(_WARM_UP_SECONDS)
    until = time.monotonic() + float(seconds)
    of_table: list[float] = []
    of_cipher: list[float] = []
    asking = [
        threading.Thread(target=_ask, args=(int(table_port), b"Hello\n", 0.002, until, of_table)),
        threading.Thread(
            target=_ask, args=(int(cipher_port), scenario.line, 0.1, until, of_cipher)
        ),
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    result = {
        "table_p99_ms": _share(of_table, 0.99),
        "table_max_ms": max(of_table),
        "same_p50_ms": _share(of_cipher, 0.5),
        "same_p99_ms": _share(of_cipher, 0.99),
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # others are still at it


if __name__ == "__main__":
    main()
