"""Who drives a connection, when there is something wrong between two of them."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from cipherecho.connections.client import Client
from cipherecho.connections.connection import SocketConnection, Terms
from cipherecho.connections.counters import Counters, Ended
from cipherecho.connections.drivers import Drivers
from cipherecho.connections.offload.slow_ciphers import SlowCipherDetector
from cipherecho.connections.offload.workers import Workers
from cipherecho.rot13 import Rot13
from cipherecho.session import Session
from cipherecho.settings.limits import Limits


async def test_a_connection_that_fails_before_its_task_begins_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters, detector = Counters(), SlowCipherDetector(Rot13())
    workers = Workers(Limits(), detector, counters)
    terms = Terms(Limits(), detector, workers, lambda failure: None, counters)
    begun: list[Callable[[], Awaitable[None]]] = []

    def start(task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        begun.append(lambda: task(*arguments))

    drivers = Drivers(terms, start, express=False)
    one, other = socket.socketpair()
    with one, other:
        client = Client(one, "", lambda client: None)
        connection = SocketConnection(Session(Rot13()), terms, "unix", client)
        drivers.enter(connection)
        drivers.fail(connection, ValueError("what nobody has thought of"))
        [task] = begun
        with trio.fail_after(5):
            await task()
    assert list(drivers) == []
    assert counters.closed[Ended.INTERNAL_ERROR] == 1
    assert [record.message for record in caplog.records] == [
        "internal error on the connection of unix"
    ]
    workers.close()
