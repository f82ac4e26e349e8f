"""PROXY headers built and read for the tests, in other ways than the parser's.

Slow and simple, and by the system's own conversions.  Section numbers are those of HAProxy's
doc/proxy-protocol.txt.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from hypothesis import strategies as st

from cipherecho.network.proxy_protocol import (
    LONGEST_HEADER,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
)

SIGNATURE = bytes.fromhex("0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A")

# What we let a header have; nginx does too.
MOST = 4096

Source = tuple[str, int] | str | None


@dataclass(frozen=True)
class Said:
    """A header, and whom its reader has to take the client for."""

    header: bytes
    source: Source


def binary(command: int, kind: int, rest: bytes, *, length: int | None = None) -> bytes:
    """Return a header of version 2; `length` is what it says of `rest`, by default the truth."""
    return (
        SIGNATURE
        + struct.pack("!BBH", command, kind, len(rest) if length is None else length)
        + rest
    )


def tcp4(source: str = "192.0.2.1", port: int = 56324, more: bytes = b"") -> bytes:
    """Return a header of version 2 for a client at an IPv4 address."""
    return binary(0x21, 0x11, _packed(socket.AF_INET, source, port) + more)


def tcp6(source: str = "2001:db8::1", port: int = 56324, more: bytes = b"") -> bytes:
    """Return a header of version 2 for a client at an IPv6 address."""
    return binary(0x21, 0x21, _packed(socket.AF_INET6, source, port) + more)


def unix(source: bytes = b"", more: bytes = b"") -> bytes:
    """Return a header of version 2 for a client on a Unix socket."""
    return binary(0x21, 0x31, struct.pack("108s108s", source, b"/run/proxy") + more)


def addition(kind: int, value: bytes) -> bytes:
    """Return what a proxy may add to the addresses: type, length and value."""
    return struct.pack("!BH", kind, len(value)) + value


def with_sum(header: bytes, *, wrong: int = 0, after: bytes = b"") -> bytes:
    """Return a header of version 2 with its CRC32C added, or with a sum that is `wrong`.

    `after` are more additions, which come after the sum and are counted in.
    """
    size = int.from_bytes(header[14:16], "big") + 7 + len(after)
    longer = header[:14] + struct.pack("!H", size) + header[16:] + b"\x03\x00\x04"
    return longer + struct.pack("!I", crc32c(longer + b"\0\0\0\0" + after) ^ wrong) + after


def crc32c(data: bytes) -> int:
    """Return the sum of RFC 4960, Appendix B, by long division, a bit at a time."""
    bits = [byte >> place & 1 for byte in data for place in range(8)] + [0] * 32
    for place in range(32):
        bits[place] ^= 1  # the remainder starts with ones
    remainder = 0
    for bit in bits:
        remainder = remainder << 1 | bit
        if remainder >> 32:
            remainder ^= 0x1_1EDC6F41
    return int(f"{remainder:032b}"[::-1], 2) ^ 0xFFFFFFFF


def _packed(family: int, source: str, port: int) -> bytes:
    target = "198.51.100.1" if family == socket.AF_INET else "2001:db8::ffff"
    return (
        socket.inet_pton(family, source)
        + socket.inet_pton(family, target)
        + struct.pack("!HH", port, 443)
    )


# Any header that a proxy may send.

PORTS = st.integers(0, 65_535)
IPV4 = st.binary(min_size=4, max_size=4)
IPV6 = st.binary(min_size=16, max_size=16) | IPV4.map((bytes(10) + b"\xff\xff").__add__)
LOOSE_TEXT = st.binary(max_size=92).filter(lambda text: not set(text) & set(b"\r\n"))
ADDITIONS = st.lists(
    st.builds(addition, st.integers(0, 255).filter(lambda kind: kind != 3), st.binary(max_size=40)),
    max_size=4,
).map(b"".join)


@st.composite
def headers(draw: st.DrawFn) -> Said:
    """Return a strategy for valid headers of both versions."""
    kind = draw(st.sampled_from([_line, _unknown_line, _local, _unspecified, _addressed]))
    return draw(kind())


@st.composite
def _line(draw: st.DrawFn) -> Said:
    number, family, addresses = draw(
        st.sampled_from([("4", socket.AF_INET, IPV4), ("6", socket.AF_INET6, IPV6)])
    )
    source, target = draw(addresses), draw(addresses)
    port, target_port = draw(PORTS), draw(PORTS)
    fields = [_written(draw, family, source), _written(draw, family, target)]
    line = f"PROXY TCP{number} {fields[0]} {fields[1]} {port} {target_port}\r\n"
    return Said(line.encode(), (_host(source), port))


def _written(draw: st.DrawFn, family: int, address: bytes) -> str:
    """Return an address in one of the ways in which it may be written."""
    text = socket.inet_ntop(family, address)
    if family == socket.AF_INET6:
        full = ":".join(f"{part:04x}" for (part,) in struct.iter_unpack("!H", address))
        text = draw(st.sampled_from([text, text.upper(), full, full.upper()]))
    return text


def _unknown_line() -> st.SearchStrategy[Said]:
    return LOOSE_TEXT.map(lambda text: Said(b"PROXY UNKNOWN" + text + b"\r\n", None))


def _local() -> st.SearchStrategy[Said]:
    rest = st.binary(max_size=300)
    return st.builds(lambda *parts: Said(binary(0x20, *parts), None), st.integers(0, 255), rest)


def _unspecified() -> st.SearchStrategy[Said]:
    """Return a strategy for headers of a family or a protocol that says nothing to a stream."""
    kinds = st.sampled_from([0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x12, 0x22, 0x32])
    return st.builds(
        lambda *parts: Said(binary(0x21, *parts), None), kinds, st.binary(max_size=300)
    )


@st.composite
def _addressed(draw: st.DrawFn) -> Said:
    kind, addresses = draw(st.sampled_from([(0x11, IPV4), (0x21, IPV6), (0x31, None)]))
    source: Source = "unix"
    if addresses is None:
        block = draw(st.binary(min_size=216, max_size=216))
    else:
        client, target = draw(addresses), draw(addresses)
        port, target_port = draw(PORTS), draw(PORTS)
        block = client + target + struct.pack("!HH", port, target_port)
        source = (_host(client), port)
    header = binary(0x21, kind, block + draw(ADDITIONS))
    return Said(with_sum(header) if draw(st.booleans()) else header, source)


def _host(address: bytes) -> str:
    """Return an address in its shortest form, as the system writes it."""
    if len(address) == 4:
        return socket.inet_ntop(socket.AF_INET, address)
    if address[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return str(IPv6Address(address))


# A reader that sees all that came and knows no parts.

_LINE = re.compile(
    rb"PROXY (?:UNKNOWN[^\r\n]*|TCP(?P<version>[46]) (?P<source>\S+) (?P<target>\S+) "
    rb"(?P<port>0|[1-9][0-9]*) (?P<target_port>0|[1-9][0-9]*))\r\n"
)


def read(data: bytes) -> Said | None:
    """Return the whole and valid header that `data` begins with, or None if there is none."""
    return _read_line(data) or _read_binary(data)


def _read_line(data: bytes) -> Said | None:
    line = _LINE.match(data[:107])
    if line is None or line["version"] is None:
        return line and Said(line[0], None)
    family = socket.AF_INET if line["version"] == b"4" else socket.AF_INET6
    try:
        source, _ = (socket.inet_pton(family, line[name].decode()) for name in ("source", "target"))
    except (OSError, UnicodeError, ValueError):
        return None
    if max(int(line["port"]), int(line["target_port"])) > 65_535:
        return None
    return Said(line[0], (_host(source), int(line["port"])))


def _read_binary(data: bytes) -> Said | None:
    if data[:12] != SIGNATURE or len(data) < 16:
        return None
    command, kind, length = struct.unpack("!BBH", data[12:16])
    header, rest = data[: 16 + length], data[16 : 16 + length]
    if command not in (0x20, 0x21) or length > MOST - 16 or len(rest) < length:
        return None
    if command == 0x20:
        return Said(header, None)
    if kind // 16 > 3 or kind % 16 > 2:
        return None
    source: Source
    if kind == 0x11 and length >= 12:
        source, more = (_host(rest[:4]), struct.unpack("!H", rest[8:10])[0]), rest[12:]
    elif kind == 0x21 and length >= 36:
        source, more = (_host(rest[:16]), struct.unpack("!H", rest[32:34])[0]), rest[36:]
    elif kind == 0x31 and length >= 216:
        source, more = "unix", rest[216:]
    else:
        return None if kind in (0x11, 0x21, 0x31) else Said(header, None)
    while more:
        if len(more) < 3 or len(more) < 3 + more[1] * 256 + more[2]:
            return None
        value, after = more[3 : 3 + more[1] * 256 + more[2]], more[3 + more[1] * 256 + more[2] :]
        if more[0] == 3:
            before = header[: len(header) - len(value) - len(after)]
            if len(value) != 4 or value != struct.pack("!I", crc32c(before + bytes(4) + after)):
                return None
        more = after
    return Said(header, source)


# Section 2.1: "An example of such a line before an HTTP request".
EXAMPLE = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"

LONGEST_IPV6 = b"ffff:" * 7 + b"ffff"

HEADERS = {
    "the example": Said(EXAMPLE, ("192.168.0.1", 56324)),
    # Section 2.1: "the maximum line lengths the receiver must support".
    "TCP4, the longest": Said(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)
    ),
    "TCP6, the longest": Said(
        b"PROXY TCP6 " + LONGEST_IPV6 + b" " + LONGEST_IPV6 + b" 65535 65535\r\n",
        (LONGEST_IPV6.decode(), 65535),
    ),
    "UNKNOWN, the short form": Said(b"PROXY UNKNOWN\r\n", None),
    "UNKNOWN, the worst case": Said(
        b"PROXY UNKNOWN " + LONGEST_IPV6 + b" " + LONGEST_IPV6 + b" 65535 65535\r\n", None
    ),
    "UNKNOWN, anything after it": Said(b"PROXY UNKNOWN\x00 \xff %s 99999\r\n", None),
    # What an address and a port can be.
    "TCP4, no port": Said(b"PROXY TCP4 192.0.2.1 0.0.0.0 0 0\r\n", ("192.0.2.1", 0)),
    "TCP6, short": Said(b"PROXY TCP6 ::1 :: 1 2\r\n", ("::1", 1)),
    "TCP6, capitals and zeros": Said(
        b"PROXY TCP6 2001:0DB8:0:0:0:0:0:00AB ::1 1 2\r\n", ("2001:db8::ab", 1)
    ),
    # HAProxy writes the address of an IPv4 client of an IPv6 socket like that.
    "TCP6, an IPv4 address": Said(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", ("192.0.2.1", 1)
    ),
    # Section 2.2, byte by byte.
    "LOCAL": Said(SIGNATURE + b"\x20\x00\x00\x00", None),
    "LOCAL, with addresses that are skipped": Said(
        SIGNATURE + b"\x20\x11\x00\x0c" + b"\xc0\0\2\1" + b"\xc0\0\2\2" + b"\0\1" + b"\0\2", None
    ),
    "LOCAL, of any family, with anything": Said(SIGNATURE + b"\x20\xff\x00\x03abc", None),
    "TCP over IPv4": Said(
        SIGNATURE + b"\x21\x11\x00\x0c" + b"\xc0\0\2\1" + b"\xc0\0\2\2" + b"\xdc\4" + b"\1\xbb",
        ("192.0.2.1", 56324),
    ),
    "TCP over IPv6": Said(
        SIGNATURE
        + b"\x21\x21\x00\x24"
        + bytes.fromhex("2001 0db8 0000 0000 0000 0000 0000 0001")
        + bytes.fromhex("2001 0db8 0000 0000 0000 0000 0000 0002")
        + b"\xdc\4"
        + b"\1\xbb",
        ("2001:db8::1", 56324),
    ),
    "TCP over IPv6, an IPv4 address": Said(tcp6("::ffff:192.0.2.1", 1), ("192.0.2.1", 1)),
    "Unix stream": Said(
        SIGNATURE
        + b"\x21\x31\x00\xd8"
        + b"/client".ljust(108, b"\0")
        + b"/server".ljust(108, b"\0"),
        "unix",
    ),
    "unspecified": Said(SIGNATURE + b"\x21\x00\x00\x00", None),
    "unspecified, with anything": Said(SIGNATURE + b"\x21\x00\x00\x02\xff\xff", None),
    "an unspecified protocol": Said(binary(0x21, 0x10, bytes(12)), None),
    "an unspecified family": Said(binary(0x21, 0x01, bytes(12)), None),
    "UDP over IPv4": Said(binary(0x21, 0x12, bytes(12)), None),
    "UDP over IPv6": Said(binary(0x21, 0x22, bytes(36)), None),
    "Unix datagram": Said(binary(0x21, 0x32, bytes(216)), None),
    # What may come after the addresses, 2.2.1 to 2.2.8.
    "additions": Said(
        tcp4(
            more=addition(0x01, b"h2")
            + addition(0x02, b"echo.example")
            + addition(0x04, b"")
            + addition(0x05, b"\xff" * 128)
            + addition(0x20, b"\x01" + bytes(4) + addition(0x21, b"TLSv1.3"))
            + addition(0x30, b"blue")
            + addition(0xE0, b"ours")
            + addition(0x00, b"nobody's")
        ),
        ("192.0.2.1", 56324),
    ),
    "additions to IPv6": Said(tcp6(more=addition(0x04, bytes(7))), ("2001:db8::1", 56324)),
    "additions to Unix": Said(unix(b"/client", addition(0x05, b"id")), "unix"),
    "a sum": Said(with_sum(tcp4()), ("192.0.2.1", 56324)),
    "a sum of what is before it": Said(
        with_sum(tcp6(more=addition(0x02, b"echo.example"))), ("2001:db8::1", 56324)
    ),
    "a sum of what is after it, too": Said(
        with_sum(tcp4(), after=addition(0x02, b"echo.example")), ("192.0.2.1", 56324)
    ),
    "the longest": Said(
        tcp4(more=addition(0x04, bytes(LONGEST_HEADER - 16 - 12 - 3))), ("192.0.2.1", 56324)
    ),
}


def check_bytes(data: bytes, sizes: Iterable[int]) -> None:
    """Check what is made of `data`, and that it is what was made of its first `sizes` bytes.

    The sizes rise; as long as a header is not decided, nothing may be made of it.
    """
    expected = read(data)
    settled: ProxyHeader | str | None = None
    for received in [*sizes, len(data)]:
        found: ProxyHeader | str | None
        try:
            found = parse_proxy_header(data[:received])
        except ProxyHeaderError as error:
            found = error.expected
        assert settled is None or found == settled
        settled = found
    if expected is None:
        assert not isinstance(settled, ProxyHeader)
    else:
        assert settled == ProxyHeader(len(expected.header), expected.source)
    # It is bounded, so that nobody has to be waited for without end.
    assert settled is not None or len(data) < LONGEST_HEADER
