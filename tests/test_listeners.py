"""Listening sockets: opened all or none, named, and cleaned up after."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
import trio

from cipherecho.endpoint import TcpEndpoint, UnixEndpoint
from cipherecho.listeners import ListenError, endpoint_of, open_listeners

LOOPBACK = TcpEndpoint("127.0.0.1", 0)


async def test_a_listener_is_named_by_where_it_really_listens(tmp_path: Path) -> None:
    unix = UnixEndpoint(str(tmp_path / "echo.sock"))
    async with open_listeners([LOOPBACK, unix]) as [tcp_listener, unix_listener]:
        endpoint = endpoint_of(tcp_listener)
        assert isinstance(endpoint, TcpEndpoint)
        assert endpoint.host == "127.0.0.1"
        assert endpoint.port > 0
        assert endpoint_of(unix_listener) == unix


async def test_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    async with open_listeners([UnixEndpoint(str(path))]):
        assert path.is_socket()
    assert not path.exists()


async def test_a_unix_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert path.is_socket()
    async with open_listeners([UnixEndpoint(str(path))]):
        async with await trio.open_unix_socket(path):
            pass


async def test_a_unix_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    async with open_listeners([UnixEndpoint(str(path))]):
        with pytest.raises(ListenError, match="Address already in use"):
            async with open_listeners([UnixEndpoint(str(path))]):
                pass
        async with await trio.open_unix_socket(path):
            pass


async def test_a_socket_that_has_replaced_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    async with open_listeners([UnixEndpoint(str(path))]) as [old]:
        await old.aclose()  # and its file is stale
        await trio.lowlevel.checkpoint()
        new = open_listeners([UnixEndpoint(str(path))])
        await new.__aenter__()
    assert path.is_socket()
    await new.__aexit__(None, None, None)
    assert not path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader")
    with pytest.raises(ListenError, match="Address already in use"):
        async with open_listeners([UnixEndpoint(str(path))]):
            pass
    assert path.read_text() == "Dear reader"


async def test_if_one_is_refused_none_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    async with open_listeners([LOOPBACK]) as [listener]:
        taken = endpoint_of(listener)
        with pytest.raises(ListenError) as caught:
            async with open_listeners([UnixEndpoint(str(path)), taken]):
                pass
    assert not path.exists()
    assert caught.value.endpoint == taken
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRINUSE
    assert str(caught.value) == (
        f"can't listen on {taken}: Address already in use; stop what listens there, or "
        "choose another port (0 picks a free one)"
    )


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (TcpEndpoint("192.0.2.1", 0), "expected an address of this machine"),
        (TcpEndpoint("a..b", 0), "no host can have that name"),
        (UnixEndpoint("/nonexistent/echo.sock"), "expected its directory to be there"),
        (UnixEndpoint("/" + "x" * 200), "AF_UNIX path too long"),
    ],
)
async def test_what_the_system_refuses_is_told_with_its_reason(
    endpoint: TcpEndpoint | UnixEndpoint, reason: str
) -> None:
    with pytest.raises(ListenError) as caught:
        async with open_listeners([endpoint]):
            pass
    assert str(caught.value).startswith(f"can't listen on {endpoint}: ")
    assert reason in str(caught.value)
