"""The server as a process of its own: signals in, an exit status out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import trio

from cipherecho.allocation import keep_freed_blocks
from cipherecho.cipher import Cipher
from cipherecho.descriptors import allow_descriptors
from cipherecho.endpoint import Endpoint
from cipherecho.limits import Limits
from cipherecho.listeners import open_listeners
from cipherecho.server import MOST_REFUSALS, serve
from cipherecho.session import Reply, Reset

__all__ = ["run"]

# A worker thread that codes in pure Python keeps the interpreter until somebody has
# asked for it for so long, and each receive and send of the server asks anew. With
# Python's 5 ms, one such thread makes other clients wait for 16 ms (median), with this for 1.
_SWITCH_INTERVAL_SECONDS = 0.0002


def run(
    endpoints: Sequence[Endpoint],
    cipher: Cipher,
    limits: Limits,
    *,
    reply: Reply,
    reset: Reset,
    express: bool,
    announce: Callable[[Endpoint], None],
) -> int:
    """Serve at `endpoints` until signals end it, and return the exit status.

    The first SIGTERM or SIGINT shuts the server down in order, and the status is 0.  A
    second one ends it at once, and the status is 128 plus the signal's number.
    `announce` is called with each endpoint once clients can connect to it; the rest is
    as in :func:`~cipherecho.server.serve`.

    Raises:
      ListenError: the system refuses one of the endpoints; none is announced then.
    """
    serving = partial(
        serve, cipher=cipher, limits=limits, reply=reply, reset=reset, express=express
    )
    keep_freed_blocks()
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    # Beside those who are served, there are those who are refused.
    most = limits.max_connections + MOST_REFUSALS
    return trio.run(_until_signalled, endpoints, serving, most, announce)


async def _until_signalled(
    endpoints: Sequence[Endpoint],
    serving: partial[Coroutine[Any, Any, None]],
    most: int,
    announce: Callable[[Endpoint], None],
) -> int:
    status = 0
    shutdown = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_listeners(endpoints) as listeners, trio.open_nursery() as nursery:

            async def until_shut_down(task_status: trio.TaskStatus[list[Endpoint]]) -> None:
                await serving(listeners, shutdown=shutdown, task_status=task_status)
                nursery.cancel_scope.cancel()

            allow_descriptors(most)
            for endpoint in await nursery.start(until_shut_down):
                announce(endpoint)
            await anext(signals)
            shutdown.set()
            status = 128 + await anext(signals)
            nursery.cancel_scope.cancel()
    return status
