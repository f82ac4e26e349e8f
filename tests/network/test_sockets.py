"""Plain sockets, asked and named without waiting."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from cipherecho.network.listeners import open_listeners
from cipherecho.network.sockets import accepting_socket, is_readable, peer_name
from cipherecho.settings.endpoint import TcpEndpoint, UnixEndpoint

LOOPBACK = TcpEndpoint("127.0.0.1", 0)


async def test_a_listener_is_readable_until_what_waits_is_accepted() -> None:
    async with open_listeners([LOOPBACK]) as [listener]:
        with accepting_socket(listener.socket) as accepting:
            assert not is_readable(accepting)
            with socket.create_connection(listener.socket.getsockname()):
                assert is_readable(accepting)
                client, _ = accepting.accept()
                with client:
                    assert not is_readable(accepting)


@pytest.mark.parametrize("act", ["data", "end", "reset"])
def test_a_connection_is_readable_when_something_has_come(act: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with server, client:
            assert not is_readable(server)
            if act == "data":
                client.sendall(b"x")
            elif act == "end":
                client.shutdown(socket.SHUT_WR)
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            assert is_readable(server)


async def test_accepting_does_not_wait_when_nobody_connects() -> None:
    async with open_listeners([LOOPBACK]) as [listener]:
        with accepting_socket(listener.socket) as accepting, pytest.raises(BlockingIOError):
            accepting.accept()


async def test_a_socket_listens_on_when_the_one_that_accepts_for_it_is_closed() -> None:
    async with open_listeners([LOOPBACK]) as [listener]:
        accepting_socket(listener.socket).close()
        with socket.create_connection(listener.socket.getsockname()):
            listener.socket.accept()[0].close()


@pytest.fixture
async def accepted() -> AsyncIterator[socket.socket]:
    """What was accepted."""
    async with open_listeners([LOOPBACK]) as [listener]:
        with accepting_socket(listener.socket) as accepting:
            with socket.create_connection(listener.socket.getsockname()):
                client, _ = accepting.accept()
                with client:
                    yield client


async def test_short_replies_do_not_wait_for_more(accepted: socket.socket) -> None:
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_client_whose_network_is_gone_is_dead_within_ten_minutes(
    accepted: socket.socket,
) -> None:
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    silence, between, number = (
        accepted.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert silence + between * number <= 600


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 8013), "127.0.0.1:8013"),
        (("2001:db8::1", 8013, 0, 0), "[2001:db8::1]:8013"),
        (("2001:db8::1", 8013), "[2001:db8::1]:8013"),
        (("::ffff:192.0.2.1", 8013, 0, 0), "192.0.2.1:8013"),
        (("::ffff:c000:201", 8013), "192.0.2.1:8013"),  # of a PROXY header, with Python 3.11
        (("::ffff:0:1:2", 8013, 0, 0), "[::ffff:0:1:2]:8013"),
        (("fe80::1", 8013, 0, 1), f"[fe80::1%{socket.if_indextoname(1)}]:8013"),
        (("fe80::1", 8013, 0, 2**31 - 1), "[fe80::1%2147483647]:8013"),
        ((3, 1024), "vsock:3:1024"),
        ("", "unix"),
        (b"\0abstract", "unix"),
    ],
)
def test_a_peer_is_named_by_its_address(address: object, name: str) -> None:
    assert peer_name(address) == name


async def test_a_client_on_a_unix_socket_has_no_name(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with open_listeners([UnixEndpoint(path)]) as [listener]:
        with accepting_socket(listener.socket) as accepting:
            async with await trio.open_unix_socket(path):
                client, address = accepting.accept()
                client.close()
                assert peer_name(address) == "unix"


def test_an_ipv4_client_of_a_socket_for_both_is_named_as_such() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        with socket.create_connection(("127.0.0.1", both.getsockname()[1])) as client:
            accepted, address = both.accept()
            accepted.close()
            assert peer_name(address) == f"127.0.0.1:{client.getsockname()[1]}"
