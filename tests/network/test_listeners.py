"""Listening sockets: opened all or none, named, and cleaned up after."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from cipherecho.network.certificates import Certificates
from cipherecho.network.listeners import ListenError, ListeningSocket, open_listeners
from cipherecho.network.sockets import accepting_socket
from cipherecho.settings.endpoint import ANY_CID, Endpoint, FdEndpoint, TcpEndpoint, UnixEndpoint
from cipherecho.settings.endpoint import VsockEndpoint as Vsock
from cipherecho.settings.tls import TlsSettings
from tests.helpers.certificates import Authority
from tests.helpers.running import COMMAND, ROT13, ask, do_without, run_program, started, tool

LOOPBACK = TcpEndpoint("127.0.0.1", 0)


def tcp_endpoint(listener: ListeningSocket) -> TcpEndpoint:
    """Return where a socket listens, which is by TCP."""
    assert isinstance(listener.endpoint, TcpEndpoint)
    return listener.endpoint


async def test_a_listener_is_named_by_where_it_really_listens(tmp_path: Path) -> None:
    unix = UnixEndpoint(str(tmp_path / "echo.sock"))
    async with open_listeners([LOOPBACK, unix]) as [tcp_listener, unix_listener]:
        endpoint = tcp_endpoint(tcp_listener)
        assert endpoint.host == "127.0.0.1"
        assert endpoint.port > 0
        assert unix_listener.endpoint == unix


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
        old.socket.close()  # and its file is stale
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
        taken = listener.endpoint
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


async def refusal(*endpoints: Endpoint) -> str:
    """Return why the last of these can't be listened at."""
    with pytest.raises(ListenError) as caught:
        async with open_listeners(endpoints):
            pass
    assert isinstance(caught.value.__cause__, OSError)
    start = f"can't listen on {caught.value.endpoint}: "
    assert caught.value.endpoint == endpoints[-1]
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


# A name with several addresses.


class Names(trio.abc.HostnameResolver):
    """Knows one name, with these addresses, some of them twice."""

    def __init__(self, *addresses: tuple[socket.AddressFamily, str]) -> None:
        self.addresses = addresses

    async def getaddrinfo(  # type: ignore[override]
        self, host: object, port: int, *_: object
    ) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        rest = {socket.AF_INET: (), socket.AF_INET6: (0, 0)}
        return [
            (family, socket.SOCK_STREAM, 0, "", (address, port, *rest.get(family, ())))
            for family, address in self.addresses * 2
        ]

    async def getnameinfo(self, *_: object) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


NAME = TcpEndpoint("cipherecho.test", 0)
HERE = (socket.AF_INET, "127.0.0.1")
HERE_TOO = (socket.AF_INET, "127.0.0.2")
EVERY = (socket.AF_INET, "0.0.0.0")  # noqa: S104
NOT_HERE = (socket.AF_INET, "192.0.2.1")  # which is for documentation


async def test_the_addresses_of_a_name_have_one_port() -> None:
    trio.socket.set_custom_hostname_resolver(Names(HERE, HERE_TOO))
    async with open_listeners([NAME]) as listeners:
        first, second = map(tcp_endpoint, listeners)
        assert (first.host, second.host) == ("127.0.0.1", "127.0.0.2")
        assert first.port == second.port > 0


async def test_an_address_that_this_machine_does_not_have_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hosts file may have ::1 for localhost where there is no IPv6."""
    trio.socket.set_custom_hostname_resolver(Names(NOT_HERE, HERE))
    async with open_listeners([NAME]) as [listener]:
        assert tcp_endpoint(listener).host == "127.0.0.1"
    assert caplog.messages == [
        "not listening at 192.0.2.1, which is an address of tcp://cipherecho.test:0: Cannot assign "
        "requested address; listening at its others"
    ]


async def test_a_name_of_another_machine_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    trio.socket.set_custom_hostname_resolver(Names(NOT_HERE, (socket.AF_INET, "198.51.100.1")))
    said = await refusal(NAME)
    assert said == "Cannot assign requested address; expected an address of this machine"
    assert not caplog.messages


async def test_a_port_in_use_at_one_address_of_a_name_is_refused() -> None:
    """Or clients would get one server or another, by chance."""
    async with open_listeners([LOOPBACK]) as [listener]:
        trio.socket.set_custom_hostname_resolver(Names(HERE_TOO, HERE))
        taken = TcpEndpoint(NAME.host, tcp_endpoint(listener).port)
        assert (await refusal(taken)).startswith("Address already in use")
    # And a port that is free at both can't be found.
    trio.socket.set_custom_hostname_resolver(Names(EVERY, HERE))
    assert (await refusal(NAME)).startswith("Address already in use")


NO_IPV6 = """
ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1
printf '127.0.0.1 localhost\n::1 localhost\n' > hosts && mount --bind hosts /etc/hosts
exec cipherecho --listen localhost:8013 --cipher rot13
"""
LINK_LOCAL = """
ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up
ip -6 addr add fe80::a/64 dev v0 nodad
cipherecho --listen 'tcp://[fe80::a]:8014'
exec cipherecho --listen 'tcp://[fe80::a%v0]:8013' --log-level debug
"""


def in_a_network_of_its_own(script: str) -> list[str]:
    """Return how to run a script where it may set up addresses and files, or skip the test."""
    unshare = ["unshare", "--net", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    if run_program(tool("unshare"), *unshare[1:], "true").status != 0:
        do_without("the right to make a network namespace")
    return [*unshare, "sh", "-ec", script]


def test_localhost_where_there_is_no_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with started(*in_a_network_of_its_own(NO_IPV6)) as server:
        assert server.endpoints == ["tcp://127.0.0.1:8013"]
        server.wait_for_record("not listening at ::1, which is an address of tcp://localhost:8013")


def test_a_link_local_endpoint_is_announced_with_its_zone() -> None:
    """So that it can be given to a client as it is."""
    script = LINK_LOCAL.replace("cipherecho --listen", "! cipherecho --listen", 1)
    with started(*in_a_network_of_its_own(script)) as server:
        assert server.endpoints == ["tcp://[fe80::a%v0]:8013"]
        assert "Invalid argument; a link-local address needs its zone" in server.stderr


# Unix sockets: their mode, and several servers in one directory.


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o77])
async def test_a_unix_socket_has_the_mode_that_was_asked_for(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "echo.sock"
    with umask(mask):
        async with open_listeners([UnixEndpoint(str(path), 0o660)]):
            assert mode_of(path) == 0o660


async def test_the_mode_is_left_to_the_umask_if_none_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with umask(0o27):
        async with open_listeners([UnixEndpoint(str(path))]):
            assert mode_of(path) == 0o750


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep a directory as a server does that is opening a socket in it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def test_of_two_servers_that_find_a_stale_socket_one_has_it(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    refusals = []

    async def second() -> None:
        refusals.append(await refusal(UnixEndpoint(str(path))))

    with socket.socket(socket.AF_UNIX) as first:
        async with trio.open_nursery() as nursery:
            with locked(tmp_path):
                nursery.start_soon(second)
                await trio.testing.wait_all_tasks_blocked()
                path.unlink()  # as it is stale
                first.bind(str(path))
                await trio.testing.wait_all_tasks_blocked()
                first.listen()
        assert refusals == [
            "Address already in use; stop the server that listens there, or choose a path "
            "where nothing is"
        ]
        async with await trio.open_unix_socket(path):
            pass


async def test_a_directory_that_stays_locked_is_used_all_the_same(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "echo.sock"
    with locked(tmp_path):
        async with open_listeners([UnixEndpoint(str(path))]):
            assert path.is_socket()
        assert not path.exists()
    assert trio.current_time() == pytest.approx(2.0)  # a second to open it, and one to remove it


async def test_a_unix_socket_is_removed_even_if_the_task_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with trio.CancelScope() as scope:
        async with open_listeners([UnixEndpoint(str(path))]):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not path.exists()


# Sockets that were opened by whoever started the process.


def handed_over(inherited: socket.socket) -> FdEndpoint:
    """Return the endpoint of a socket that is nobody's any more but the listener's."""
    return FdEndpoint(str(inherited.detach()))


def is_open(endpoint: FdEndpoint) -> bool:
    assert endpoint.number is not None
    try:
        os.fstat(endpoint.number)
    except OSError:
        return False
    return True


async def test_an_inherited_socket_is_named_by_where_it_is_bound_and_closed_at_the_end() -> None:
    outside = socket.create_server(("127.0.0.1", 0))
    host, port = outside.getsockname()
    os.set_inheritable(outside.fileno(), True)
    endpoint = handed_over(outside)
    async with open_listeners([LOOPBACK, endpoint]) as [_, listener]:
        assert listener.endpoint == TcpEndpoint(host, port)
        assert not os.get_inheritable(listener.socket.fileno())
        async with await trio.open_tcp_stream(host, port):
            await trio.lowlevel.wait_readable(listener.socket)
            listener.socket.accept()[0].close()
    assert not is_open(endpoint)


async def test_an_inherited_unix_socket_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    outside = socket.socket(socket.AF_UNIX)
    outside.bind(str(path))
    outside.listen()
    async with open_listeners([handed_over(outside)]) as [listener]:
        assert listener.endpoint == UnixEndpoint(str(path))
    assert path.is_socket()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
async def test_an_inherited_unix_socket_with_an_abstract_name_is_shown_with_an_at_sign() -> None:
    outside = socket.socket(socket.AF_UNIX)
    outside.bind("")  # the system picks a name, of five hexadecimal digits
    outside.listen()
    name = outside.getsockname().decode().removeprefix("\0")
    async with open_listeners([handed_over(outside)]) as [listener]:
        assert str(listener.endpoint) == f"unix://@{name}"


async def test_instances_that_share_a_socket_each_accept_from_it() -> None:
    outside = socket.create_server(("127.0.0.1", 0))
    address = outside.getsockname()
    another = handed_over(outside.dup())
    async with open_listeners([handed_over(outside), another]) as listeners:
        for listener in listeners:
            with accepting_socket(listener.socket) as accepting:
                with socket.create_connection(address):
                    accepting.accept()[0].close()
                with pytest.raises(BlockingIOError):  # the other has taken what there was
                    accepting.accept()


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ((socket.AF_INET, socket.SOCK_DGRAM), "the socket is of type SOCK_DGRAM"),
        ((socket.AF_INET, socket.SOCK_STREAM), "the socket does not listen"),
        ((socket.AF_UNIX, socket.SOCK_SEQPACKET), "the socket is of type SOCK_SEQPACKET"),
        pytest.param(
            ("AF_NETLINK", socket.SOCK_RAW),
            "the socket is of family AF_NETLINK",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's"),
        ),
    ],
)
async def test_an_inherited_socket_that_does_not_listen_is_refused_and_left_open(
    what: tuple[socket.AddressFamily | str, socket.SocketKind], problem: str
) -> None:
    family, kind = what
    family = getattr(socket, family) if isinstance(family, str) else family
    with socket.socket(family, kind) as outside:
        endpoint = FdEndpoint(str(outside.fileno()))
        expected = f"{problem}; expected an inherited stream socket that listens"
        assert await refusal(endpoint) == expected
        assert is_open(endpoint)


async def test_a_descriptor_that_is_no_socket_is_refused_and_left_open(tmp_path: Path) -> None:
    with (tmp_path / "letter.txt").open("w") as letter:
        endpoint = FdEndpoint(str(letter.fileno()))
        assert await refusal(endpoint) == (
            "Socket operation on non-socket; expected an inherited stream socket that listens"
        )
        assert is_open(endpoint)


async def test_a_descriptor_that_is_not_open_is_refused() -> None:
    assert await refusal(FdEndpoint("1000000")) == (
        "Bad file descriptor; expected an inherited stream socket that listens"
    )


async def test_a_descriptor_that_is_given_twice_is_refused() -> None:
    endpoint = handed_over(socket.create_server(("127.0.0.1", 0)))
    assert await refusal(endpoint, endpoint) == (
        f"descriptor {endpoint.name} is in use by the listeners before it already"
    )
    assert not is_open(endpoint)


async def test_a_name_is_of_no_socket_if_none_was_handed_over() -> None:
    assert await refusal(FdEndpoint("web")) == (
        "no service manager has handed over any socket (LISTEN_PID and LISTEN_FDS)"
    )


@pytest.mark.parametrize("url", ["fd://3", "fd://web"])
def test_a_server_that_was_started_for_a_connection_answers_it(tmp_path: Path, url: str) -> None:
    path = tmp_path / "echo.sock"
    activate: list[str | Path] = [tool("systemd-socket-activate"), "--fdname=web", "-l", path]
    with started(*activate, COMMAND, "--listen", url, listeners=0) as server:
        server.wait_for_record("Listening on")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert ask(client, b"Hello\n") == b"Hello\n" + b"Hello\n".translate(ROT13)
        server.wait_for_listeners(1)  # it may have answered before it said so
        assert server.endpoints == [f"unix://{path}"]
        assert server.stop() == 0
    assert path.is_socket()


def test_a_name_that_several_sockets_have_means_them_all(tmp_path: Path) -> None:
    paths = [tmp_path / "0", tmp_path / "1", tmp_path / "2"]
    activate = [tool("systemd-socket-activate"), "--fdname=web:admin:web"]
    for path in paths:
        activate += ["-l", str(path)]
    with started(*activate, COMMAND, "--listen", "fd://web", listeners=0) as server:
        server.wait_for_record("Listening on")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(paths[2]))
            assert ask(client, b"") == b""
        server.wait_for_listeners(2)
        assert server.endpoints == [f"unix://{paths[0]}", f"unix://{paths[2]}"]


def test_a_name_that_no_socket_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    activate: list[str | Path] = [tool("systemd-socket-activate"), "--fdname=web", "-l", path]
    with started(*activate, COMMAND, "--listen", "fd://wbe", listeners=0) as server:
        server.wait_for_record("Listening on")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert server.wait() != 0
        assert (
            "can't listen on fd://wbe: no inherited socket has that name; expected one of web"
            in server.stderr
        )


# TLS is of the endpoint; the certificates are the service's.


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    certificate, key = Authority.at(tmp_path / "ca").write_server()
    return Certificates(TlsSettings(certificate, key))


async def test_an_endpoint_with_tls_makes_a_listener_with_the_certificates(
    tmp_path: Path, certificates: Certificates
) -> None:
    unix = UnixEndpoint(str(tmp_path / "echo.sock"), tls=True)
    outside = socket.create_server(("127.0.0.1", 0))
    inherited = FdEndpoint(str(outside.detach()), tls=True)
    tcp = TcpEndpoint("127.0.0.1", 0, tls=True)
    async with open_listeners([LOOPBACK, tcp, unix, inherited], certificates) as listeners:
        assert listeners[0].certificates is None
        for listener in listeners[1:]:
            assert listener.certificates is certificates
        assert [listener.endpoint.tls for listener in listeners] == [False, True, True, True]
        assert listeners[2].endpoint == unix


async def test_an_endpoint_with_tls_is_refused_without_certificates() -> None:
    tls = TcpEndpoint("127.0.0.1", 0, tls=True)
    assert await refusal(LOOPBACK, tls) == "TLS needs a certificate; give --tls-cert"


# Vsock: this machine may have it or not.


def vsock_or_skip() -> None:
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except (AttributeError, OSError) as error:
        pytest.skip(f"this machine has no vsock: {error}")


async def test_a_vsock_listener_is_named_by_where_it_really_listens() -> None:
    vsock_or_skip()
    async with open_listeners([Vsock(ANY_CID, 0)]) as [listener]:
        endpoint = listener.endpoint
        assert isinstance(endpoint, Vsock)
        assert endpoint.cid == ANY_CID
        assert 0 < endpoint.port < 2**32 - 1
        with accepting_socket(listener.socket) as accepting, pytest.raises(BlockingIOError):
            accepting.accept()
        assert await refusal(endpoint) == (
            "Address already in use; stop what listens there, or choose another port (0 picks a "
            "free one)"
        )


async def test_an_inherited_vsock_is_named_by_where_it_is_bound() -> None:
    vsock_or_skip()
    outside = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    outside.bind((ANY_CID, socket.VMADDR_PORT_ANY))
    outside.listen()
    _, port = outside.getsockname()
    async with open_listeners([handed_over(outside)]) as [listener]:
        assert listener.endpoint == Vsock(ANY_CID, port)


async def test_a_cid_of_another_machine_is_refused() -> None:
    vsock_or_skip()
    assert await refusal(Vsock(999, 0)) == (
        "Cannot assign requested address; expected a CID of this machine, or any"
    )


def test_a_python_without_vsock_is_told_of() -> None:
    program = """
import socket, trio
vars(socket).pop("AF_VSOCK", None)
from cipherecho.settings.endpoint import parse_endpoint
from cipherecho.network.listeners import open_listeners
async def main():
    async with open_listeners([parse_endpoint("vsock://any:0")]):
        pass
trio.run(main)
"""
    ended = run_program(sys.executable, "-c", program)
    assert ended.status == 1
    assert (
        "ListenError: can't listen on vsock://any:0: this Python has no vsock; expected one for "
        "Linux\n" in ended.stderr
    )


def test_a_machine_without_vsock_is_told_of() -> None:
    refused = ListenError(Vsock(3, 1), OSError(errno.EAFNOSUPPORT, "Not supported"))
    assert str(refused) == (
        "can't listen on vsock://3:1: Not supported; this machine has no vsock, which is a "
        "module of Linux's"
    )
