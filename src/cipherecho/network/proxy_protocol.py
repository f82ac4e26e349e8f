r"""PROXY headers, in which a proxy sends the address of its client before anything else.

Both versions are parsed, as HAProxy's ``doc/proxy-protocol.txt`` of 2020-03-05 defines them;
section numbers refer to that document.  Parsing does no I/O.  Only the peers in
:mod:`~cipherecho.settings.trusted_proxies` send a header::

    PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address

__all__ = ["LONGEST_HEADER", "ProxyHeader", "ProxyHeaderError", "parse_proxy_header"]

LONGEST_HEADER = 4096
"""How many bytes a header may have.  Addresses take at most 232.  Other fields are small
(identifiers, a server name), except for a client's certificate with 1 or 2 KiB.  (nginx: 4096;
HAProxy: its buffer, 16 KiB.)"""

# Section 2.1: the longest line with addresses and ports, including CRLF.
_LONGEST_LINE = 107

# How much of the input an error shows. It may come from a stranger, and no address is longer.
_MOST_SHOWN = 48

_CRLF = b"\r\n"

# Version 1 up to its CRLF. A byte that can't be part of the line is refused at once; addresses and
# ports are parsed when the line is complete.
_LINE = re.compile(rb"PROXY (?:(TCP[46]) ([0-9A-Fa-f.: ]*)|UNKNOWN[^\r\n]*)")
_LINE_STARTS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")

# Version 2, section 2.2: signature, version and command, family and protocol, length.
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = len(_SIGNATURE) + 4
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
_KINDS = {family << 4 | protocol for family in range(4) for protocol in range(3)}

# Two addresses, and two ports if the family has ports.
_ADDRESSES = {_TCP4: 2 * 4 + 2 * 2, _TCP6: 2 * 16 + 2 * 2, _UNIX: 2 * 108}

_TYPE_CRC32C = 0x03


class ProxyHeaderError(ValueError):
    """The bytes are not the beginning of a PROXY header.

    `got` is the wrong part; `expected` says what it should be.
    """

    def __init__(self, got: bytes, expected: str) -> None:
        self.got = got
        self.expected = expected
        ellipsis = "…" if len(got) > _MOST_SHOWN else ""
        super().__init__(f"got {got[:_MOST_SHOWN]!r}{ellipsis}, expected {expected}")


@dataclass(frozen=True)
class ProxyHeader:
    """The part of a header that the server uses."""

    size: int
    """Its length in bytes; what follows comes from the client."""

    source: tuple[str, int] | str | None
    """The address and port of the client, or ``"unix"`` for a client on a Unix socket.  The address
    has its shortest form; an IPv4-mapped one (``::ffff:192.0.2.1``) is IPv4.  None means that there
    is no other address than the proxy's: it connects for itself (LOCAL, as health checks do),
    doesn't know the client's address, or the address isn't one of a stream."""


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    r"""Return the header that `data` begins with, or None if more bytes are needed.

    When it is None, all of `data` belongs to the header, which has at most `LONGEST_HEADER` bytes.
    Pass everything from the first byte on each time.

    Raises:
      ProxyHeaderError: `data` is neither a header nor the beginning of one.

    >>> parse_proxy_header(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /")
    ProxyHeader(size=47, source=('192.168.0.1', 56324))
    >>> parse_proxy_header(b"PROXY TCP4 192.168.0.1 192.168")
    """
    if data.startswith(_SIGNATURE):
        return _parse_binary(data)
    line = data[:_LONGEST_LINE]
    if match := _LINE.match(line):
        return _parse_line(line, match)
    if any(start.startswith(line) for start in (*_LINE_STARTS, _SIGNATURE)):
        return None
    raise ProxyHeaderError(
        line,
        "a PROXY header, which begins with 'PROXY TCP4 ', 'PROXY TCP6 ', 'PROXY UNKNOWN', "
        "or the signature of version 2",
    )


def _parse_line(line: bytes, match: re.Match[bytes]) -> ProxyHeader | None:
    end = match.end()
    after = line[end : end + len(_CRLF)]
    if not _CRLF.startswith(after):
        raise ProxyHeaderError(after, "addresses, ports and single spaces, and CRLF after them")
    if after == _CRLF:
        family, fields = match.groups()
        source = _tcp_source(family, fields) if family else None
        return ProxyHeader(end + len(_CRLF), source)
    if len(line) < _LONGEST_LINE:
        return None
    raise ProxyHeaderError(line, f"CRLF within {_LONGEST_LINE} bytes")


def _tcp_source(family: bytes, fields: bytes) -> tuple[str, int]:
    """Return the source of a whole line of version 1, of which all is checked."""
    parts = fields.decode().split(" ")
    if len(parts) != 4 or not all(parts):
        raise ProxyHeaderError(fields, "two addresses and two ports, with single spaces between")
    hosts = [_host(family, text) for text in parts[:2]]
    ports = [_port(text) for text in parts[2:]]
    return hosts[0], ports[0]


def _host(family: bytes, text: str) -> str:
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        return _shortest(kind(text))
    except ValueError as error:
        version = "IPv4" if kind is IPv4Address else "IPv6"
        raise ProxyHeaderError(text.encode(), f"an {version} address") from error


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65_535:
        raise ProxyHeaderError(text.encode(), "a port from 0 to 65535 without leading zeros")
    return int(text)


def _shortest(address: IPv4Address | IPv6Address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


def _parse_binary(data: bytes) -> ProxyHeader | None:
    command, kind = data[12:13], data[13:14]
    if command and command[0] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(command, "version 2 and the command LOCAL or PROXY: 0x20 or 0x21")
    # What LOCAL is sent with is to be ignored, the family too.
    is_proxied = command == bytes([_PROXY])
    if is_proxied and kind and kind[0] not in _KINDS:
        raise ProxyHeaderError(
            kind, "a family from 0 to 3 and a protocol from 0 to 2, four bits each"
        )
    if len(data) < _FIXED:
        return None
    length = data[14:_FIXED]
    size = _FIXED + int.from_bytes(length)
    if size > LONGEST_HEADER:
        raise ProxyHeaderError(
            length, f"a length of at most {LONGEST_HEADER - _FIXED}, so {LONGEST_HEADER} in all"
        )
    # Kinds that are no stream are valid, and taken like an unknown one, as section 2.2 has it:
    # what comes after the fixed part is skipped, since nothing says where addresses end in it.
    addresses = _ADDRESSES.get(kind[0], 0) if is_proxied else 0
    if size < _FIXED + addresses:
        raise ProxyHeaderError(length, f"a length of at least {addresses}, for two addresses")
    if len(data) < size:
        return None
    if not addresses:
        return ProxyHeader(size, None)
    header = data[:size]
    _check_additions(header, _FIXED + addresses)
    return ProxyHeader(size, _binary_source(kind[0], header[_FIXED : _FIXED + addresses]))


def _binary_source(kind: int, addresses: bytes) -> tuple[str, int] | str:
    if kind == _UNIX:
        return "unix"  # its path is the client's own, and mostly empty
    source = addresses[:4] if kind == _TCP4 else addresses[:16]
    address = IPv4Address(source) if kind == _TCP4 else IPv6Address(source)
    return _shortest(address), int.from_bytes(addresses[-4:-2])


def _check_additions(header: bytes, position: int) -> None:
    """Check what a proxy adds to the addresses: types, lengths and values (TLV)."""
    while position < len(header):
        start = position + 3
        end = start + int.from_bytes(header[position + 1 : start])
        # So it is, too, where the length itself is cut short.
        if end > len(header):
            raise ProxyHeaderError(header[position:], "a type, a length and so many bytes (TLV)")
        if header[position] == _TYPE_CRC32C:
            _check_crc32c(header, start, end)
        position = end


def _check_crc32c(header: bytes, start: int, end: int) -> None:
    """Check a header by the sum in it, which counts as zeros (section 2.2.3)."""
    got = header[start:end]
    expected = _crc32c(header[:start] + bytes(4) + header[end:]).to_bytes(4)
    if got != expected:
        raise ProxyHeaderError(got, f"the header's CRC32C, {expected!r}")


# Made for the first header with a sum, and not for everybody who imports this: few have one.
@cache
def _crc32c_table() -> tuple[int, ...]:
    """Return what each byte does to the sum; RFC 3720, 12.1, with the bits reflected."""
    table = []
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
