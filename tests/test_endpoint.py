"""Where to listen, as people write it."""

from __future__ import annotations

import pytest

from cipherecho.endpoint import (
    Endpoint,
    EndpointError,
    TcpEndpoint,
    UnixEndpoint,
    parse_endpoint,
)


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
    ],
)
def test_every_form_is_understood(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected tcp://HOST:PORT, unix:///PATH, HOST:PORT or PORT"),
        ("localhost", "expected tcp://HOST:PORT"),
        ("tcp://localhost", "expected tcp://HOST:PORT"),
        ("tcp://localhost:80/path", "expected tcp://HOST:PORT"),
        ("tcp://localhost:", "got port '', expected a number from 0 to 65535"),
        ("localhost:http", "got port 'http', expected a number from 0 to 65535"),
        ("localhost:65536", "got port '65536', expected a number from 0 to 65535"),
        ("localhost:" + "9" * 5000, "got port '9999"),
        ("localhost:-1", "got port '-1', expected a number from 0 to 65535"),
        ("localhost:٣", "got port '٣', expected a number from 0 to 65535"),
        (":8013", "expected a host; 0.0.0.0 or [::] is every address"),
        ("*:8013", "expected a host; 0.0.0.0 or [::] is every address"),
        ("::1:8013", "expected an IPv6 address in brackets"),
        ("tpc://localhost:1", "unknown scheme 'tpc'; did you mean tcp://?"),
        ("https://localhost:1", "unknown scheme 'https'; expected tcp://HOST:PORT"),
        ("unix://relative/path", "expected an absolute path"),
        ("unix:///", "expected an absolute path"),
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
    "text", ["tcp://127.0.0.1:8013", "tcp://[::1]:0", "unix:///run/a b.sock", "tcp://host:1"]
)
def test_an_endpoint_is_shown_as_the_url_it_is_written_as(text: str) -> None:
    assert str(parse_endpoint(text)) == text


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
    ],
)
def test_private_is_what_only_this_machine_reaches(text: str, private: bool) -> None:
    assert parse_endpoint(text).is_private is private
