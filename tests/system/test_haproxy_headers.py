"""What a real HAProxy says of the connections that it forwards, and of its own.

It gets its listening sockets from the test, so that nobody has to find a free port for it.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from cipherecho.network.proxy_protocol import ProxyHeader, parse_proxy_header
from tests.helpers.proxy_headers import HEADERS
from tests.helpers.running import PATIENCE, ending, receive_all, tool

CONFIGURATION = """
defaults
    mode tcp
    timeout connect {patience}s
    timeout client {patience}s
    timeout server {patience}s
    unique-id-format %[uuid]

listen forwarding
    bind fd@{front} {bind}
    server behind {host}:{port} {server}
"""

VERSIONS = [
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c",
    "send-proxy-v2 proxy-v2-options unique-id,crc32c",
]


def listening(family: socket.AddressFamily, path: Path) -> socket.socket:
    """Return a socket that listens on this machine; IPv6 ones take IPv4 clients as well."""
    if family == socket.AF_UNIX:
        listener = socket.socket(family)
        listener.bind(str(path / "front"))
        listener.listen()
    elif family == socket.AF_INET:
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.create_server(("::", 0), family=family, dualstack_ipv6=True)
    listener.settimeout(PATIENCE)
    return listener


@contextmanager
def haproxy(
    path: Path, front: socket.socket, behind: socket.socket, server: str, bind: str = ""
) -> Iterator[None]:
    """Run a HAProxy that forwards what connects to `front` to `behind`."""
    host, port = behind.getsockname()[:2]
    file = path / "haproxy.cfg"
    file.write_text(
        CONFIGURATION.format(
            patience=int(PATIENCE),
            front=front.fileno(),
            bind=bind,
            host="127.0.0.1" if host == "::" else host,
            port=port,
            server=server,
        )
    )
    command = [tool("haproxy"), "-db", "-q", "-f", str(file)]
    with ending(subprocess.Popen(command, pass_fds=[front.fileno()])):
        yield


def received(behind: socket.socket) -> tuple[ProxyHeader, bytes, object]:
    """Return the next connection's header, read a byte at a time, all after it, and its peer."""
    connection, peer = behind.accept()
    with connection:
        connection.settimeout(PATIENCE)
        data, header = b"", None
        while header is None:
            byte = connection.recv(1)
            assert byte, f"only this came: {data!r}"
            data += byte
            header = parse_proxy_header(data)
        assert header.size == len(data)
        try:
            return header, receive_all(connection), peer
        except ConnectionResetError:  # this is how HAProxy ends a health check
            return header, b"", peer


@pytest.mark.parametrize("server", VERSIONS)
@pytest.mark.parametrize(
    ("front_family", "family"),
    [
        (socket.AF_INET, socket.AF_INET),
        (socket.AF_INET6, socket.AF_INET6),
        (socket.AF_INET6, socket.AF_INET),
        (socket.AF_UNIX, socket.AF_UNIX),
    ],
    ids=["IPv4", "IPv6", "IPv4 to IPv6", "Unix"],
)
def test_a_client_is_known_behind_haproxy(
    server: str,
    front_family: socket.AddressFamily,
    family: socket.AddressFamily,
    tmp_path: Path,
) -> None:
    with (
        listening(front_family, tmp_path) as front,
        listening(socket.AF_INET, tmp_path) as behind,
        haproxy(tmp_path, front, behind, server),
        socket.socket(family) as client,
    ):
        target = front.getsockname()
        if family != socket.AF_UNIX:
            target = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family], target[1]
        client.settimeout(PATIENCE)
        client.connect(target)
        client.sendall(b"Hello\n")
        client.shutdown(socket.SHUT_WR)
        header, data, _ = received(behind)
        assert data == b"Hello\n"
        assert header.source == (None if family == socket.AF_UNIX else client.getsockname()[:2])


def test_what_haproxy_says_of_a_tls_client_is_passed_over(tmp_path: Path) -> None:
    """The header has additions inside an addition, and texts that the client gave."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    server = authority.issue_cert("echo.example").private_key_and_cert_chain_pem
    server.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("client@example", common_name="Client").configure_cert(context)
    additions = "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id"
    bind = f"ssl crt {tmp_path / 'server.pem'} ca-file {tmp_path / 'authority.pem'} verify required"
    with (
        listening(socket.AF_INET, tmp_path) as front,
        listening(socket.AF_INET, tmp_path) as behind,
        haproxy(tmp_path, front, behind, f"send-proxy-v2 proxy-v2-options {additions}", bind),
        socket.create_connection(front.getsockname(), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="echo.example") as client,
    ):
        client.sendall(b"Hello\n")
        client.shutdown(socket.SHUT_WR)
        header, data, _ = received(behind)
        assert header.source == client.getsockname()
        assert header.size > 150
        assert data == b"Hello\n"


@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
def test_a_health_check_is_haproxys_own(server: str, tmp_path: Path) -> None:
    """Version 1 has no word for it, so that HAProxy gives the connection's own address."""
    with (
        listening(socket.AF_INET, tmp_path) as front,
        listening(socket.AF_INET, tmp_path) as behind,
        haproxy(tmp_path, front, behind, f"{server} check inter 100ms check-send-proxy"),
    ):
        header, data, peer = received(behind)
        assert data == b""
        assert header.source == (peer if server == "send-proxy" else None)


def test_haproxy_reads_headers_alike(tmp_path: Path) -> None:
    """What it takes the source for is seen in the header that it sends on.

    It refuses sources that are no TCP addresses, as the specification lets it do, and a line
    of more than the word UNKNOWN, which it does not.
    """
    sayings = [
        said
        for name, said in HEADERS.items()
        if isinstance(said.source, tuple) or name in ("UNKNOWN, the short form", "LOCAL")
    ]
    assert len(sayings) > 10
    with (
        listening(socket.AF_INET, tmp_path) as front,
        listening(socket.AF_INET, tmp_path) as behind,
        haproxy(tmp_path, front, behind, "send-proxy-v2", "accept-proxy"),
    ):
        for said in sayings:
            with socket.create_connection(front.getsockname(), timeout=PATIENCE) as client:
                client.sendall(said.header + b"Hello\n")
                client.shutdown(socket.SHUT_WR)
                header, data, _ = received(behind)
                assert (header.source, data) == (said.source or client.getsockname(), b"Hello\n")
