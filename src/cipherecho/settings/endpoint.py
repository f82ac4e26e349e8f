"""Endpoints: places to listen, written as URLs.

Pure: this resolves no names and opens no sockets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from cipherecho.errors import CipherechoError

__all__ = [
    "ANY_CID",
    "DEFAULT_PORT",
    "Endpoint",
    "EndpointError",
    "FdEndpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "VsockEndpoint",
    "parse_endpoint",
]

ANY_CID = 0xFFFF_FFFF
"""The CID that stands for all CIDs of the machine (vsock(7): VMADDR_CID_ANY)."""


DEFAULT_PORT = 8013
"""The TCP port of the server by default."""


class EndpointError(CipherechoError, ValueError):
    """The text is not an endpoint; `text` is what was given.

    `instead` is the endpoint that was probably meant, or None.
    """

    def __init__(self, text: str, problem: str, instead: str | None = None) -> None:
        self.text = text
        self.instead = instead
        super().__init__(f"{text!r}: {problem}")


@dataclass(frozen=True)
class TcpEndpoint:
    """A host, by name or address, and a port; the system replaces port 0 by a free one."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'tcp'}://{host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect, judging by the text."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True)
class UnixEndpoint:
    """The absolute path of a Unix-domain socket, and the mode of its file.

    An inherited socket may have a name that can be shown but not given: a relative path, or
    ``@NAME`` in Linux's abstract namespace.
    """

    path: str
    mode: int | None = None
    """The mode for chmod(2), at most 0o777; with None, the umask decides."""
    tls: bool = False

    def __str__(self) -> str:
        query = "" if self.mode is None else f"?mode={self.mode:03o}"
        return f"{_prefix(self.tls)}unix://{self.path}{query}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect: always."""
        return True


@dataclass(frozen=True)
class FdEndpoint:
    """A listening socket that the process inherited from its parent.

    `name` is the number of its descriptor, or a name that a service manager gave it.  Several
    sockets may have that name; all of them are meant then.
    """

    name: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{_prefix(self.tls)}fd://{self.name}"

    @property
    def number(self) -> int | None:
        """The descriptor, or None if `name` is a name."""
        return int(self.name) if _is_number(self.name) else None

    @property
    def is_private(self) -> bool:
        """False, since the text doesn't tell whether only this machine can connect.

        The endpoint of the open socket does: it has the address that the socket is bound to.
        """
        return False


@dataclass(frozen=True)
class VsockEndpoint:
    """A context identifier (CID) of this machine and a port, for its host or its virtual machines.

    `cid` may be :data:`ANY_CID`.  The system replaces port 0 by a free one.
    """

    cid: int
    port: int
    tls: bool = False

    def __str__(self) -> str:
        cid = "any" if self.cid == ANY_CID else self.cid
        return f"{_prefix(self.tls)}vsock://{cid}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Always True: only this machine, its host and its virtual machines can connect.

        Between them is the hypervisor, and no network.
        """
        return True


Endpoint: TypeAlias = TcpEndpoint | UnixEndpoint | FdEndpoint | VsockEndpoint

_FORMS = (
    "tcp://HOST:PORT, unix:///PATH, HOST:PORT or PORT; "
    "there are tls://, fd://, vsock://, and tls+ before unix, fd and vsock, too"
)
_SCHEMES = ("tcp", "tls", "unix", "tls+unix", "fd", "tls+fd", "vsock", "tls+vsock")
# Too far from what they mean to be near misses.
_OTHER_NAMES = {"http": "tcp", "https": "tls", "ssl": "tls", "tls+tcp": "tls"}
_HIGHEST_TCP_PORT = 65_535
_HIGHEST_DESCRIPTOR = 2**31 - 1  # of a C int
_HIGHEST_VSOCK_NUMBER = ANY_CID - 1  # of a CID and of a port, which has such an "any" too


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that `text` describes.

    The forms are ``tcp://HOST:PORT``, ``unix:///PATH``, ``fd://NUMBER``, ``fd://NAME`` and
    ``vsock://CID:PORT``, where the CID may be ``any``; then ``HOST:PORT``, and ``PORT``, which
    is that port of 127.0.0.1.  An IPv6 address stands in brackets.  A path may be followed by
    ``?mode=660``, in octal digits.  ``tls://HOST:PORT``, ``tls+unix://``, ``tls+fd://`` and
    ``tls+vsock://`` ask for TLS.

    Raises:
      EndpointError: `text` has none of these forms; the message says what is wrong.

    >>> parse_endpoint("8013"), str(parse_endpoint("tls://[::1]:0"))
    (TcpEndpoint(host='127.0.0.1', port=8013, tls=False), 'tls://[::1]:0')
    """
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        _refuse_without_slashes(text)
        scheme, rest = "tcp", f"127.0.0.1:{text}" if _is_number(text) else text
    if scheme not in _SCHEMES:
        from difflib import get_close_matches  # not for those who write it right

        near = [_OTHER_NAMES.get(scheme, ""), *get_close_matches(scheme, _SCHEMES, n=1)]
        meant = next(filter(None, near), None)
        instead = f"{meant}://{rest.rstrip('/')}" if meant else None
        hint = f"did you mean {instead}?" if meant else f"expected {_FORMS}"
        raise EndpointError(text, f"unknown scheme {scheme!r}; {hint}", instead)
    tls = scheme.startswith("tls")
    match scheme.removeprefix("tls+"):
        case "unix":
            return _parse_unix(text, rest, tls)
        case "fd":
            return _parse_fd(text, rest, tls)
        case "vsock":
            return _parse_vsock(text, rest, tls)
        case _:
            return _parse_tcp(text, rest, tls)


def _refuse_without_slashes(text: str) -> None:
    """Refuse a text that only lacks the slashes after its scheme, or is a path."""
    scheme, _, rest = text.partition(":")
    if text.startswith("/"):
        instead = f"unix://{text}"
    elif scheme in _SCHEMES and rest:
        place = rest.lstrip("/")
        tcp = scheme in ("tcp", "tls")
        instead = f"{scheme}://{(_whole_address(place) or place) if tcp else rest}"
    else:
        return
    raise EndpointError(text, f"expected ://; did you mean {instead}?", instead)


def _parse_tcp(text: str, rest: str, tls: bool) -> TcpEndpoint:
    before = text.removesuffix(rest) if "://" in text else ""
    parts = re.fullmatch(r"(?:\[(?P<v6>[^\[\]/]*)\]|(?P<host>[^:\[\]/]*)):(?P<port>[^:/]*)", rest)
    if parts is None:
        instead = _whole_address(rest)
        if "," in rest:
            raise EndpointError(text, "expected one place to listen; repeat the option for several")
        if instead is None:
            raise EndpointError(text, f"expected {'tls://HOST:PORT' if tls else _FORMS}")
        v6 = rest.count(":") > 1 and "[" not in rest
        expected = "an IPv6 address in brackets" if v6 else "a host and a port"
        raise EndpointError(text, f"expected {expected}, as in {before}{instead}", before + instead)
    port = _number(parts["port"], _HIGHEST_TCP_PORT)
    if port is None:
        raise EndpointError(text, f"got port {parts['port']!r}, expected a number from 0 to 65535")
    host = parts["v6"] or parts["host"]
    if not host or host == "*":
        every = [f"{before}{one}:{port}" for one in ("0.0.0.0", "[::]")]  # noqa: S104
        raise EndpointError(
            text,
            f"expected a host; {every[0]} listens at every IPv4 address of the machine, and "
            f"{every[1]} at every IPv6 address",
            every[0],
        )
    return TcpEndpoint(host, port, tls)


def _whole_address(rest: str) -> str | None:
    """Return ``HOST:PORT`` for a text that lacks only a part of it, or brackets; else None."""
    from ipaddress import AddressValueError, IPv6Address  # rarely needed

    rest = rest.rstrip("/")
    if _is_number(rest):
        return f"127.0.0.1:{rest}"
    if rest == "*":
        return f"0.0.0.0:{DEFAULT_PORT}"
    if re.fullmatch(r"[\w.-]+|\[[^\[\]/]+\]", rest):
        return f"{rest}:{DEFAULT_PORT}"
    if re.fullmatch(r"[^:\[\]/]+:[0-9]+", rest):  # it only had a slash at the end
        return rest
    head, _, port = rest.rpartition(":")
    # A text that can be an address and a port is taken as that, even if it is also an address.
    for host, number in ((head, port), (rest, str(DEFAULT_PORT))):
        try:
            IPv6Address(host)
        except AddressValueError:
            continue
        if _is_number(number):
            return f"[{host}]:{number}"
    return None


def _parse_unix(text: str, rest: str, tls: bool) -> UnixEndpoint:
    path, mode = rest, None
    before, mark, query = rest.rpartition("?")
    key, equals, value = query.partition("=")
    # A path may have question marks of its own.
    if mark and (equals or key == "mode"):
        if key != "mode":
            raise EndpointError(
                text, f"unknown key {key!r}; expected none but mode, as in ?mode=660"
            )
        if not re.fullmatch("0?[0-7]{3}", value):
            raise EndpointError(
                text, f"got mode {value!r}, expected three octal digits, as in ?mode=660"
            )
        path, mode = before, int(value, 8)
    if not path.startswith("/") or path == "/" or "\0" in path:
        raise EndpointError(text, "expected an absolute path, as in unix:///run/cipherecho.sock")
    return UnixEndpoint(path, mode, tls)


def _parse_fd(text: str, rest: str, tls: bool) -> FdEndpoint:
    # What systemd.socket(5) allows in FileDescriptorName=, less what has a meaning in URLs.
    if not re.fullmatch(r"[!-~]{1,255}", rest) or set(rest) & set(":/?#"):
        raise EndpointError(
            text,
            "expected the number of an inherited descriptor, or the name that the service "
            "manager gave it, as in fd://3 or fd://web",
        )
    if _is_number(rest) and _number(rest, _HIGHEST_DESCRIPTOR) is None:
        raise EndpointError(text, f"no descriptor has a number above {_HIGHEST_DESCRIPTOR}")
    return FdEndpoint(rest, tls)


def _parse_vsock(text: str, rest: str, tls: bool) -> VsockEndpoint:
    host, colon, service = rest.partition(":")
    if not colon:
        raise EndpointError(text, "expected a CID and a port, as in vsock://any:8013")
    cid = ANY_CID if host == "any" else _number(host, _HIGHEST_VSOCK_NUMBER)
    if cid is None:
        raise EndpointError(
            text, f"got CID {host!r}, expected any, or a number from 0 to {_HIGHEST_VSOCK_NUMBER}"
        )
    port = _number(service, _HIGHEST_VSOCK_NUMBER)
    if port is None:
        raise EndpointError(
            text, f"got port {service!r}, expected a number from 0 to {_HIGHEST_VSOCK_NUMBER}"
        )
    return VsockEndpoint(cid, port, tls)


def _number(text: str, highest: int) -> int | None:
    """Return `text` as a number, or None if it isn't one or is too high."""
    # Thousands of digits are more than int() takes.
    if not _is_number(text) or len(text) > len(str(highest)):
        return None
    number = int(text)
    return number if number <= highest else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _prefix(tls: bool) -> str:
    return "tls+" if tls else ""
