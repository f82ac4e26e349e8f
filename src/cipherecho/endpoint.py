"""Where to listen, as people write it and as clients can be told it.

Pure: names are not resolved here, and no socket is opened.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Endpoint", "EndpointError", "TcpEndpoint", "UnixEndpoint", "parse_endpoint"]


class EndpointError(ValueError):
    """The text does not say where to listen; `text` is what was given."""

    def __init__(self, text: str, problem: str) -> None:
        self.text = text
        super().__init__(f"{text!r}: {problem}")


@dataclass(frozen=True)
class TcpEndpoint:
    """A host, by name or address, and a port; port 0 lets the system pick one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect, as far as the text tells."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True)
class UnixEndpoint:
    """The absolute path of a Unix-domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect: always."""
        return True


Endpoint: TypeAlias = TcpEndpoint | UnixEndpoint

_FORMS = "tcp://HOST:PORT, unix:///PATH, HOST:PORT or PORT"
_SCHEMES = ("tcp", "unix")


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that `text` is written for.

    The forms are ``tcp://HOST:PORT``, ``unix:///PATH``, ``HOST:PORT``, and ``PORT``, which
    is that port of 127.0.0.1.  An IPv6 address stands in brackets.

    Raises:
      EndpointError: it has none of the forms; the message says what is wrong.

    >>> parse_endpoint("8013"), str(parse_endpoint("tcp://[::1]:0"))
    (TcpEndpoint(host='127.0.0.1', port=8013), 'tcp://[::1]:0')
    """
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        scheme, rest = "tcp", f"127.0.0.1:{text}" if _is_number(text) else text
    if scheme == "unix":
        if not rest.startswith("/") or rest == "/":
            raise EndpointError(
                text, "expected an absolute path, as in unix:///run/cipherecho.sock"
            )
        return UnixEndpoint(rest)
    if scheme != "tcp":
        near = difflib.get_close_matches(scheme, _SCHEMES, n=1)
        hint = f"did you mean {near[0]}://?" if near else f"expected {_FORMS}"
        raise EndpointError(text, f"unknown scheme {scheme!r}; {hint}")
    return _parse_tcp(text, rest)


def _parse_tcp(text: str, rest: str) -> TcpEndpoint:
    parts = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]/]*)):(?P<port>[^:/]*)", rest)
    if parts is None:
        if rest.count(":") > 1 and "[" not in rest:
            raise EndpointError(text, "expected an IPv6 address in brackets, as in [::1]:8013")
        raise EndpointError(text, f"expected {_FORMS}")
    host = parts["v6"] or parts["host"]
    if not host or host == "*":
        raise EndpointError(
            text, "expected a host; 0.0.0.0 or [::] is every address of the machine"
        )
    if not _is_number(parts["port"]) or int(parts["port"]) > 65_535:
        raise EndpointError(text, f"got port {parts['port']!r}, expected a number from 0 to 65535")
    return TcpEndpoint(host, int(parts["port"]))


def _is_number(text: str) -> bool:
    # The longest is 65535; thousands of digits are more than int() takes.
    return text.isascii() and text.isdigit() and len(text) <= 5
