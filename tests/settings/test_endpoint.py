"""Where to listen, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.settings.endpoint import (
    ANY_CID,
    Endpoint,
    EndpointError,
    FdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    VsockEndpoint,
    parse_endpoint,
)
from tests.helpers.parsing import check_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:8013", TcpEndpoint("127.0.0.1", 8013)),
        ("tcp://localhost:0", TcpEndpoint("localhost", 0)),
        ("tcp://[::1]:8013", TcpEndpoint("::1", 8013)),
        ("tcp://[::]:65535", TcpEndpoint("::", 65535)),
        ("echo.example:7", TcpEndpoint("echo.example", 7)),
        ("[::1]:7", TcpEndpoint("::1", 7)),
        ("8013", TcpEndpoint("127.0.0.1", 8013)),
        ("0", TcpEndpoint("127.0.0.1", 0)),
        ("unix:///run/cipherecho.sock", UnixEndpoint("/run/cipherecho.sock")),
        ("unix:///with space:and?more", UnixEndpoint("/with space:and?more")),
        ("tls://127.0.0.1:8013", TcpEndpoint("127.0.0.1", 8013, tls=True)),
        ("tls://[::]:0", TcpEndpoint("::", 0, tls=True)),
        ("unix:///run/echo?mode=660", UnixEndpoint("/run/echo", 0o660)),
        ("unix:///run/echo?mode=0600", UnixEndpoint("/run/echo", 0o600)),
        ("unix:///what?when?mode=777", UnixEndpoint("/what?when", 0o777)),
        ("unix:///a=b", UnixEndpoint("/a=b")),
        ("tls+unix:///run/echo?mode=000", UnixEndpoint("/run/echo", 0, tls=True)),
        ("fd://3", FdEndpoint("3")),
        ("fd://cipherecho@1.socket", FdEndpoint("cipherecho@1.socket")),
        ("tls+fd://web", FdEndpoint("web", tls=True)),
        ("vsock://any:8013", VsockEndpoint(ANY_CID, 8013)),
        ("vsock://3:0", VsockEndpoint(3, 0)),
        ("vsock://4294967294:4294967294", VsockEndpoint(4294967294, 4294967294)),
        ("tls+vsock://2:1024", VsockEndpoint(2, 1024, tls=True)),
    ],
)
def test_every_form_is_understood(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected tcp://HOST:PORT, unix:///PATH, HOST:PORT or PORT"),
        ("tcp://localhost:80/path", "expected tcp://HOST:PORT"),
        ("tcp://[local/host]:80", "expected tcp://HOST:PORT"),  # no more than without brackets
        ("tcp://localhost:", "got port '', expected a number from 0 to 65535"),
        ("localhost:http", "got port 'http', expected a number from 0 to 65535"),
        ("localhost:65536", "got port '65536', expected a number from 0 to 65535"),
        ("localhost:" + "9" * 5000, "got port '9999"),
        ("localhost:-1", "got port '-1', expected a number from 0 to 65535"),
        ("localhost:٣", "got port '٣', expected a number from 0 to 65535"),
        ("unix://relative/path", "expected an absolute path"),
        ("unix:///", "expected an absolute path"),
        ("65536", "got port '65536', expected a number from 0 to 65535"),
        ("tls://", "expected tls://HOST:PORT"),
        ("gopher://localhost:1", "unknown scheme 'gopher'; expected tcp://HOST:PORT"),
        ("127.0.0.1:1,127.0.0.1:2", "expected one place to listen; repeat the option for several"),
        ("tls://localhost:http", "got port 'http', expected a number from 0 to 65535"),
        ("unix:///?mode=660", "expected an absolute path"),
        ("unix:///a\0b", "expected an absolute path"),  # which no file can have in its name
        ("unix://?mode=660", "expected an absolute path"),
        ("unix:///a?mode=", "got mode '', expected three octal digits, as in ?mode=660"),
        ("unix:///a?mode", "got mode '', expected three octal digits, as in ?mode=660"),
        ("unix:///a?mode=rw", "got mode 'rw', expected three octal digits"),
        ("unix:///a?mode=668", "got mode '668', expected three octal digits"),
        ("unix:///a?mode=1660", "got mode '1660', expected three octal digits"),
        ("unix:///a?mode=660&owner=root", "got mode '660&owner=root', expected three octal"),
        ("unix:///a?made=660", "unknown key 'made'; expected none but mode, as in ?mode=660"),
        ("fd://", "expected the number of an inherited descriptor, or the name"),
        ("fd:///3", "expected the number of an inherited descriptor, or the name"),
        ("fd://web?mode=660", "expected the number of an inherited descriptor, or the name"),
        ("fd://two words", "expected the number of an inherited descriptor, or the name"),
        ("fd://2147483648", "no descriptor has a number above 2147483647"),
        ("fd://" + "9" * 5000, "expected the number of an inherited descriptor"),
        ("vsock://any", "expected a CID and a port, as in vsock://any:8013"),
        ("vsock://:1", "got CID '', expected any, or a number from 0 to 4294967294"),
        ("vsock://host:1", "got CID 'host', expected any, or a number from 0 to 4294967294"),
        ("vsock://4294967295:1", "got CID '4294967295', expected any, or a number"),
        ("vsock://3:", "got port '', expected a number from 0 to 4294967294"),
        ("vsock://3:4294967295", "got port '4294967295', expected a number from 0"),
    ],
)
def test_what_has_no_form_is_refused_with_what_was_given_and_expected(
    text: str, problem: str
) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert caught.value.text == text
    assert str(caught.value).startswith(f"{text!r}: {problem}")


@pytest.mark.parametrize(
    ("text", "instead", "problem"),
    [
        ("localhost", "localhost:8013", "expected a host and a port"),
        ("0.0.0.0", "0.0.0.0:8013", "expected a host and a port"),  # noqa: S104
        ("[::]", "[::]:8013", "expected a host and a port"),
        ("tcp://localhost", "tcp://localhost:8013", "expected a host and a port"),
        ("tls://localhost", "tls://localhost:8013", "expected a host and a port"),
        ("tcp://9000", "tcp://127.0.0.1:9000", "expected a host and a port"),
        ("tcp://localhost:9000/", "tcp://localhost:9000", "expected a host and a port"),
        (":9000", "0.0.0.0:9000", "expected a host;"),
        ("*:9000", "0.0.0.0:9000", "expected a host;"),
        ("tls://:9000", "tls://0.0.0.0:9000", "expected a host;"),
        ("*", "0.0.0.0:8013", "expected a host and a port"),
        ("::", "[::]:8013", "expected an IPv6 address in brackets"),
        ("::1", "[::1]:8013", "expected an IPv6 address in brackets"),
        ("::1:9000", "[::1]:9000", "expected an IPv6 address in brackets"),
        ("fe80::1", "[fe80::1]:8013", "expected an IPv6 address in brackets"),
        ("tls://::1:9000", "tls://[::1]:9000", "expected an IPv6 address in brackets"),
        ("/run/echo", "unix:///run/echo", "expected ://"),
        ("unix:/run/echo", "unix:///run/echo", "expected ://"),
        ("tcp:localhost:9000", "tcp://localhost:9000", "expected ://"),
        ("tcp:9000", "tcp://127.0.0.1:9000", "expected ://"),
        ("vsock:any:9000", "vsock://any:9000", "expected ://"),
        ("tpc://localhost:1", "tcp://localhost:1", "unknown scheme 'tpc'"),
        ("http://localhost:1/", "tcp://localhost:1", "unknown scheme 'http'"),
        ("https://localhost:1", "tls://localhost:1", "unknown scheme 'https'"),
        ("ssl://localhost:1", "tls://localhost:1", "unknown scheme 'ssl'"),
        ("tls+tcp://localhost:1", "tls://localhost:1", "unknown scheme 'tls+tcp'"),
        ("tls+unx:///a", "tls+unix:///a", "unknown scheme 'tls+unx'"),
        ("vscok://any:1", "vsock://any:1", "unknown scheme 'vscok'"),
    ],
)
def test_what_is_nearly_an_endpoint_is_refused_with_what_to_type(
    text: str, instead: str, problem: str
) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    assert caught.value.instead == instead
    assert str(caught.value).startswith(f"{text!r}: {problem}")
    assert instead in str(caught.value)
    parse_endpoint(instead)


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:8013",
        "tcp://[::1]:0",
        "unix:///run/a b.sock",
        "tcp://host:1",
        "tls://[::1]:0",
        "unix:///run/a?mode=060",
        "tls+unix:///run/a",
        "fd://3",
        "tls+fd://web",
        "vsock://any:1",
        "tls+vsock://3:1",
    ],
)
def test_an_endpoint_is_shown_as_the_url_it_is_written_as(text: str) -> None:
    assert str(parse_endpoint(text)) == text


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Return the endpoints that can be written."""
    ports, numbers = st.integers(0, 65_535), st.integers(0, ANY_CID - 1)
    hosts = st.from_regex(r"[^:\[\]/*]+", fullmatch=True) | st.ip_addresses().map(str)
    # What follows the last question mark is not of the path if there is an equals sign in it.
    paths = st.from_regex(r"/[^?\0]+(\?[^?=\0]*)?", fullmatch=True)
    modes = st.none() | st.integers(0, 0o777)
    names = st.from_regex(r"[A-Za-z.@_-][A-Za-z0-9!$%&()+,;=@_.~-]{0,254}", fullmatch=True)
    names |= st.integers(0, 2**31 - 1).map(str)
    return st.one_of(
        st.builds(TcpEndpoint, hosts, ports, st.booleans()),
        st.builds(UnixEndpoint, paths, modes, st.booleans()),
        st.builds(FdEndpoint, names, st.booleans()),
        st.builds(VsockEndpoint, numbers | st.just(ANY_CID), numbers, st.booleans()),
    )


@given(endpoints())
@example(UnixEndpoint("/a?b", 0o7))
def test_what_is_shown_of_an_endpoint_is_understood_as_the_same(endpoint: Endpoint) -> None:
    assert parse_endpoint(str(endpoint)) == endpoint


@given(st.text())
@example("unix:///a?b?mode=600")
@example("[a/b]:1")
def test_any_text_is_refused_or_an_endpoint_that_is_shown_right(text: str) -> None:
    for scheme in ("", "tcp://", "tls+unix:///", "fd://", "vsock://"):
        check_endpoint(scheme + text)


def test_a_descriptor_is_meant_by_its_number_or_by_a_name() -> None:
    assert FdEndpoint("3").number == 3
    assert FdEndpoint("web").number is None


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("unix:///a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.0.2.1:1", False),
        ("tls://192.0.2.1:1", False),
        ("vsock://any:1", True),  # no network is between it and its clients
        ("fd://3", False),  # it is known when the socket is looked at
    ],
)
def test_private_is_what_only_this_machine_reaches(text: str, private: bool) -> None:
    assert parse_endpoint(text).is_private is private
