"""From whom a PROXY header is required."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cipherecho.settings.trusted_proxies import TrustedProxies


@pytest.mark.parametrize(
    ("texts", "peer"),
    [
        (["10.0.0.0/8"], ("10.1.2.3", 4711)),
        (["10.0.0.0/255.0.0.0"], ("10.1.2.3", 4711)),
        (["192.0.2.1"], ("192.0.2.1", 4711)),
        (["0.0.0.0/0"], ("192.0.2.1", 4711)),
        (["::1"], ("::1", 4711, 0, 0)),
        (["2001:db8::/32"], ("2001:db8:1::2", 4711, 0, 0)),
        (["192.0.2.1", "2001:db8::/32", "unix"], ("2001:db8::1", 4711, 0, 0)),
        # A link-local address has the interface it belongs to.
        (["fe80::/10"], ("fe80::1%eth0", 4711, 0, 2)),
        (["fe80::/10"], ("fe80::1", 4711, 0, 2)),
        # An IPv4 peer of an IPv6 socket, and its network as the log shows it.
        (["10.0.0.0/8"], ("::ffff:10.1.2.3", 4711, 0, 0)),
        (["::ffff:10.0.0.0/104"], ("::ffff:10.1.2.3", 4711, 0, 0)),
        (["::ffff:10.1.2.3"], ("10.1.2.3", 4711)),
        (["::ffff:0:0/96"], ("10.1.2.3", 4711)),
        # Unix sockets: clients without an address, with a path, and with an abstract one.
        (["unix"], ""),
        (["unix"], "/run/proxy.sock"),
        (["unix"], b"\0proxy"),
        (["10.0.0.0/8", "unix"], ""),
    ],
)
def test_a_proxy_is_known_by_its_address(texts: list[str], peer: object) -> None:
    assert peer in TrustedProxies(texts)


@pytest.mark.parametrize(
    ("texts", "peer"),
    [
        ([], ("10.1.2.3", 4711)),
        ([], ("::1", 4711, 0, 0)),
        ([], ""),
        (["10.0.0.0/8"], ("11.0.0.0", 4711)),
        (["192.0.2.1"], ("192.0.2.2", 4711)),
        (["10.0.0.0/8"], ""),
        (["unix"], ("127.0.0.1", 4711)),
        # All of IPv6 is not all of IPv4, nor the other way round.
        (["::/0"], ("10.1.2.3", 4711)),
        (["::/0"], ("::ffff:10.1.2.3", 4711, 0, 0)),
        (["0.0.0.0/0"], ("::1", 4711, 0, 0)),
        (["::ffff:10.0.0.0/104"], ("::a00:1", 4711, 0, 0)),
        # Virtual machines have a number, which is no address, whatever its value.
        (["0.0.0.0/0", "::/0", "unix"], (3, 4711)),
        (["0.0.0.0/0"], (0x0A010203, 4711)),
    ],
)
def test_others_are_not(texts: list[str], peer: object) -> None:
    assert peer not in TrustedProxies(texts)


def test_none_are_named_unless_some_are() -> None:
    assert not TrustedProxies()
    assert TrustedProxies(["unix"])
    assert TrustedProxies(["::1"])


NETWORK = "expected a network such as 10.0.0.0/8, an address, or unix"
NO_ZONE = "expected an address without a zone"
NO_HOST = "expected a network with no bits of a host; did you mean "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NETWORK),
        ("localhost", NETWORK),
        ("Unix", NETWORK),
        ("10.0.0.0/33", NETWORK),
        ("10.0.0.0/", NETWORK),
        ("10.0.0", NETWORK),
        ("010.0.0.0/8", NETWORK),
        (" 10.0.0.0/8", NETWORK),
        ("10.0.0.0/8,::1", NETWORK),
        ("127.0.0.1:8013", NETWORK),
        ("[::1]", NETWORK),
        ("fe80::1%eth0", NO_ZONE),
        ("fe80::%eth0/64", NO_ZONE),
        ("10.1.2.3/8", NO_HOST + "10.0.0.0/8?"),
        ("2001:db8::1/32", NO_HOST + "2001:db8::/32?"),
    ],
)
def test_what_is_no_network_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        TrustedProxies(["::1", text])
    assert str(refusal.value) == f"got {text!r}, {expected}"


def test_addresses_are_taken_as_accept_gives_them(tmp_path: Path) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "socket"))
    unix.listen()
    dual = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with unix, dual:
        for listener, target, network in [
            (unix, unix.getsockname(), "unix"),
            (dual, ("127.0.0.1", dual.getsockname()[1]), "127.0.0.0/8"),
        ]:
            family = socket.AF_UNIX if listener is unix else socket.AF_INET
            with socket.socket(family) as client:
                client.connect(target)
                connection, peer = listener.accept()
                connection.close()
            assert peer in TrustedProxies([network])
            assert peer not in TrustedProxies(["192.0.2.0/24"])
