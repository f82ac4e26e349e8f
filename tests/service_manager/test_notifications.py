"""What the service manager is told, by a real socket in its place."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from cipherecho.service_manager.environment import VariableError
from cipherecho.service_manager.notifications import ServiceManager


class Listening:
    """A socket that takes the messages of a process."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address)

    @property
    def messages(self) -> list[str]:
        """What has come since it was asked the last time."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify@1")


@pytest.fixture
def listening(address: str) -> Iterator[Listening]:
    listening = Listening(address)
    with listening.socket:
        yield listening


@pytest.fixture
def manager(address: str, listening: Listening) -> Iterator[ServiceManager]:
    with ServiceManager({"NOTIFY_SOCKET": address}) as manager:
        yield manager


def test_states_are_told_one_by_one(manager: ServiceManager, listening: Listening) -> None:
    assert listening.messages == []
    manager.ready()
    assert listening.messages == ["READY=1"]
    manager.stopping()
    assert listening.messages == ["STOPPING=1"]


def test_a_reload_is_told_with_the_time_at_which_it_began(
    manager: ServiceManager, listening: Listening
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    manager.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    [message] = listening.messages
    state, moment = message.splitlines()
    assert state == "RELOADING=1"
    name, _, microseconds = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= after


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_address_is_written_with_an_at_sign() -> None:
    name = f"cipherecho@{os.getpid()}"
    listening = Listening(f"\0{name}")
    with listening.socket, ServiceManager({"NOTIFY_SOCKET": f"@{name}"}) as manager:
        manager.ready()
        assert listening.messages == ["READY=1"]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "/nonexistent/notify"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
    ],
)
def test_without_a_manager_nothing_happens(variables: dict[str, str]) -> None:
    with ServiceManager(variables) as manager:
        manager.ready()
        manager.stopping()


def test_a_manager_that_goes_and_comes_again_is_no_matter(
    manager: ServiceManager, listening: Listening, address: str
) -> None:
    manager.ready()
    listening.socket.close()
    manager.ready()
    Path(address).unlink()
    manager.ready()
    again = Listening(address)
    with again.socket:
        manager.stopping()
        assert again.messages == ["STOPPING=1"]


def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: ServiceManager, listening: Listening
) -> None:
    most = 100_000  # many more than a socket of any system holds
    for _ in range(most):
        manager.ready()
    assert 0 < len(listening.messages) < most


def test_after_closing_nothing_is_told(manager: ServiceManager, listening: Listening) -> None:
    manager.close()
    manager.ready()
    assert listening.messages == []


# The watchdog.

US, SOMEBODY_ELSE = str(os.getpid()), str(os.getppid())


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": US}, 1e-6),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": SOMEBODY_ELSE}, None),
        ({"WATCHDOG_PID": US}, None),
    ],
)
def test_how_long_the_watchdog_waits_is_told_by_the_manager(
    variables: dict[str, str], seconds: float | None
) -> None:
    with ServiceManager(variables) as manager:
        assert manager.watchdog_seconds == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "3s", "infinity"])
def test_a_watchdog_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(VariableError) as caught:
        ServiceManager({"WATCHDOG_USEC": text})
    assert caught.value.variable == "WATCHDOG_USEC"
    assert str(caught.value) == (
        f"environment variable WATCHDOG_USEC: got {text!r}, expected a number from 1"
    )


async def test_the_watchdog_is_fed_at_once_and_then_at_half_its_time(
    address: str, listening: Listening, autojump_clock: trio.testing.MockClock
) -> None:
    variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"}
    with ServiceManager(variables) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(manager.feed_watchdog)
            for _ in range(3):  # at 0, 2 and 4 s
                await trio.sleep(1)
                assert listening.messages == ["WATCHDOG=1"]
                await trio.sleep(0.9)
                assert listening.messages == []
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()


async def test_without_a_watchdog_there_is_nothing_to_feed(
    address: str, listening: Listening
) -> None:
    with ServiceManager({"NOTIFY_SOCKET": address}) as manager:
        await manager.feed_watchdog()
    assert listening.messages == []
