"""PROXY headers, by HAProxy's doc/proxy-protocol.txt; section numbers are that document's."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.network.proxy_protocol import (
    LONGEST_HEADER,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
)
from tests.helpers.proxy_headers import (
    EXAMPLE,
    HEADERS,
    SIGNATURE,
    Said,
    addition,
    check_bytes,
    headers,
    tcp4,
    tcp6,
    unix,
    with_sum,
)

REQUEST = b"GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"


@pytest.mark.parametrize("said", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("after", [b"", b"x", b"\r\n", REQUEST, EXAMPLE], ids=repr)
def test_a_header_is_read_and_what_follows_is_the_clients(said: Said, after: bytes) -> None:
    expected = ProxyHeader(len(said.header), said.source)
    assert parse_proxy_header(said.header + after) == expected


@pytest.mark.parametrize("said", HEADERS.values(), ids=HEADERS)
def test_a_part_of_a_header_is_waited_for(said: Said) -> None:
    for size in range(len(said.header)):
        assert parse_proxy_header(said.header[:size]) is None


def test_the_longest_headers_are_those_of_the_specification() -> None:
    sizes = {name: len(said.header) for name, said in HEADERS.items()}
    assert sizes["TCP4, the longest"] == 56
    assert sizes["TCP6, the longest"] == 104
    assert sizes["UNKNOWN, the short form"] == 15
    assert sizes["UNKNOWN, the worst case"] == 107
    assert sizes["the longest"] == LONGEST_HEADER


A_HEADER = (
    "a PROXY header, which begins with 'PROXY TCP4 ', 'PROXY TCP6 ', 'PROXY UNKNOWN', "
    "or the signature of version 2"
)
ADDRESSES = "addresses, ports and single spaces, and CRLF after them"
FIELDS = "two addresses and two ports, with single spaces between"
WITHIN = "CRLF within 107 bytes"
IPV4, IPV6 = "an IPv4 address", "an IPv6 address"
PORT = "a port from 0 to 65535 without leading zeros"
COMMAND = "version 2 and the command LOCAL or PROXY: 0x20 or 0x21"
KIND = "a family from 0 to 3 and a protocol from 0 to 2, four bits each"
NOT_SO_LONG = "a length of at most 4080, so 4096 in all"
TLV = "a type, a length and so many bytes (TLV)"


@pytest.mark.parametrize(
    ("data", "got", "expected"),
    [
        # No header at all.
        (b"Hello\n", b"Hello\n", A_HEADER),
        (REQUEST, REQUEST, A_HEADER),
        (b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x02\x00\x01", A_HEADER),
        (b"\r\nHello\r\n", b"\r\nHello\r\n", A_HEADER),
        (b"\n", b"\n", A_HEADER),
        (b"proxy TCP4 ", b"proxy TCP4 ", A_HEADER),
        (b" PROXY TCP4 ", b" PROXY TCP4 ", A_HEADER),
        (SIGNATURE[:11] + b"\r", SIGNATURE[:11] + b"\r", A_HEADER),
        # Version 1: families.
        (b"PROXY  TCP4", b"PROXY  TCP4", A_HEADER),
        (b"PROXY\tTCP4", b"PROXY\tTCP4", A_HEADER),
        (b"PROXY TCP ", b"PROXY TCP ", A_HEADER),
        (b"PROXY TCP5 ", b"PROXY TCP5 ", A_HEADER),
        (b"PROXY UDP4 ", b"PROXY UDP4 ", A_HEADER),
        (b"PROXY tcp4 ", b"PROXY tcp4 ", A_HEADER),
        (b"PROXY unknown\r\n", b"PROXY unknown\r\n", A_HEADER),
        (b"PROXY TCP4\r\n", b"PROXY TCP4\r\n", A_HEADER),
        (b"PROXY\r\n", b"PROXY\r\n", A_HEADER),
        # Version 1: the end of the line.
        (EXAMPLE.replace(b"\r\n", b"\n"), b"\n", ADDRESSES),
        (EXAMPLE.replace(b"\r\n", b"\rx"), b"\rx", ADDRESSES),
        (EXAMPLE.replace(b"\r\n", b"\r\r\n"), b"\r\r", ADDRESSES),
        (EXAMPLE.replace(b"\r\n", b"\n\r"), b"\n\r", ADDRESSES),
        (b"PROXY UNKNOWN\n", b"\n", ADDRESSES),
        (b"PROXY UNKNOWN\rx\r\n", b"\rx", ADDRESSES),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", b"PROXY UNKNOWN " + b"x" * 92 + b"\r", WITHIN),
        (b"PROXY UNKNOWN " + b"x" * 93, b"PROXY UNKNOWN " + b"x" * 93, WITHIN),
        (b"PROXY TCP4 " + b"1" * 1000, b"PROXY TCP4 " + b"1" * 96, WITHIN),
        # Version 1: what is between addresses and ports, and how much there is of it.
        (b"PROXY TCP4 \r\n", b"", FIELDS),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5\r\n", b"1.2.3.4 1.2.3.4 5", FIELDS),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5 6 7\r\n", b"1.2.3.4 1.2.3.4 5 6 7", FIELDS),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5 6 \r\n", b"1.2.3.4 1.2.3.4 5 6 ", FIELDS),
        (b"PROXY TCP4  1.2.3.4 1.2.3.4 5 6\r\n", b" 1.2.3.4 1.2.3.4 5 6", FIELDS),
        (b"PROXY TCP4 1.2.3.4  1.2.3.4 5\r\n", b"1.2.3.4  1.2.3.4 5", FIELDS),
        (b"PROXY TCP4 1.2.3.4\t", b"\t", ADDRESSES),
        (b"PROXY TCP4 localhost", b"lo", ADDRESSES),
        # Version 1: addresses.
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 5 6\r\n", b"01.2.3.4", IPV4),
        (b"PROXY TCP4 1.2.3.256 1.2.3.4 5 6\r\n", b"1.2.3.256", IPV4),
        (b"PROXY TCP4 1.2.3 1.2.3.4 5 6\r\n", b"1.2.3", IPV4),
        (b"PROXY TCP4 1.2.3.4.5 1.2.3.4 5 6\r\n", b"1.2.3.4.5", IPV4),
        (b"PROXY TCP4 16909060 1.2.3.4 5 6\r\n", b"16909060", IPV4),
        (b"PROXY TCP4 ::1 ::1 5 6\r\n", b"::1", IPV4),
        (b"PROXY TCP4 1.2.3.4 1.2.3.04 5 6\r\n", b"1.2.3.04", IPV4),
        (b"PROXY TCP4 1.2.3.4 ::1 5 6\r\n", b"::1", IPV4),
        (b"PROXY TCP6 1.2.3.4 ::1 5 6\r\n", b"1.2.3.4", IPV6),
        (b"PROXY TCP6 ::1 1.2.3.4 5 6\r\n", b"1.2.3.4", IPV6),
        (b"PROXY TCP6 1:2:3:4:5:6:7 ::1 5 6\r\n", b"1:2:3:4:5:6:7", IPV6),
        (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 5 6\r\n", b"1:2:3:4:5:6:7:8:9", IPV6),
        (b"PROXY TCP6 1::2::3 ::1 5 6\r\n", b"1::2::3", IPV6),
        (b"PROXY TCP6 00001:: ::1 5 6\r\n", b"00001::", IPV6),
        (b"PROXY TCP6 fe80::1%eth0 ::1 5 6\r\n", b"%e", ADDRESSES),
        (b"PROXY TCP6 [::1] ::1 5 6\r\n", b"[:", ADDRESSES),
        # Version 1: ports.
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 6\r\n", b"65536", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 05 6\r\n", b"05", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5 00\r\n", b"00", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5 99999\r\n", b"99999", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 100000 6\r\n", b"100000", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 5 a\r\n", b"a", PORT),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 -5 6\r\n", b"-5", ADDRESSES),
        # Version 2: "receivers must drop connections presenting unexpected values here".
        (SIGNATURE + b"\x11", b"\x11", COMMAND),
        (SIGNATURE + b"\x31", b"\x31", COMMAND),
        (SIGNATURE + b"\x01", b"\x01", COMMAND),
        (SIGNATURE + b"\x22", b"\x22", COMMAND),
        (SIGNATURE + b"\x2f", b"\x2f", COMMAND),
        # "must be rejected as invalid by receivers"
        (SIGNATURE + b"\x21\x41", b"\x41", KIND),
        (SIGNATURE + b"\x21\x13", b"\x13", KIND),
        (SIGNATURE + b"\x21\x03", b"\x03", KIND),
        (SIGNATURE + b"\x21\xff", b"\xff", KIND),
        # Lengths, as soon as they are there.
        (
            SIGNATURE + b"\x21\x11\x00\x0b",
            b"\x00\x0b",
            "a length of at least 12, for two addresses",
        ),
        (
            SIGNATURE + b"\x21\x11\x00\x00",
            b"\x00\x00",
            "a length of at least 12, for two addresses",
        ),
        (
            SIGNATURE + b"\x21\x21\x00\x23",
            b"\x00\x23",
            "a length of at least 36, for two addresses",
        ),
        (
            SIGNATURE + b"\x21\x31\x00\xd7",
            b"\x00\xd7",
            "a length of at least 216, for two addresses",
        ),
        (SIGNATURE + b"\x21\x11\x0f\xf1", b"\x0f\xf1", NOT_SO_LONG),
        (SIGNATURE + b"\x20\x00\xff\xff", b"\xff\xff", NOT_SO_LONG),
        (SIGNATURE + b"\x21\x00\x10\x00", b"\x10\x00", NOT_SO_LONG),
        # Additions that run over the header's end.
        (tcp4(more=b"\x04"), b"\x04", TLV),
        (tcp4(more=b"\x04\x00"), b"\x04\x00", TLV),
        (tcp4(more=b"\x04\x00\x01") + b"x", b"\x04\x00\x01", TLV),
        (tcp4(more=b"\x04\xff\xffabc") + bytes(70_000), b"\x04\xff\xffabc", TLV),
        (tcp6(more=addition(4, b"a") + b"\x05\x00\x02x"), b"\x05\x00\x02x", TLV),
        (unix(more=addition(4, b"a") + b"\0"), b"\0", TLV),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, got: bytes, expected: str) -> None:
    with pytest.raises(ProxyHeaderError) as refusal:
        parse_proxy_header(data)
    assert (refusal.value.got, refusal.value.expected) == (got, expected)


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (REQUEST, 1),
        (b"Hello\n", 1),
        (b"PRIVMSG", 3),
        (b"PROXY SCTP", 7),
        (b"PROXY TCP4 GET", 12),
        (EXAMPLE.replace(b"\r\n", b"\n"), len(EXAMPLE) - 1),
        (b"\r\nHello", 3),
        (SIGNATURE + b"\x12\x11\x00\x0c", 13),
        (SIGNATURE + b"\x21\x14\x00\x0c", 14),
        (SIGNATURE + b"\x21\x11\x00\x0b", 16),
        (SIGNATURE + b"\x21\x11\xff\xff", 16),
        (b"PROXY UNKNOWN " + b"x" * 200, 107),
    ],
)
def test_it_is_refused_at_its_first_wrong_byte(data: bytes, wrong: int) -> None:
    for size in range(wrong):
        assert parse_proxy_header(data[:size]) is None
    for size in range(wrong, len(data) + 1):
        with pytest.raises(ProxyHeaderError):
            parse_proxy_header(data[:size])


def test_a_wrong_sum_is_refused() -> None:
    header = with_sum(tcp4())
    assert header[-4:] != b"\0\0\0\0"
    for place in range(len(header) * 8):
        damaged = bytearray(header)
        damaged[place // 8] ^= 1 << place % 8
        try:  # the damage may have made another command or type of it
            parsed = parse_proxy_header(bytes(damaged))
        except ProxyHeaderError:
            continue
        assert parsed is None or parsed.source is None or damaged[28] != 0x03
    with pytest.raises(ProxyHeaderError, match=r"got b'.*', expected the header's CRC32C, b'"):
        parse_proxy_header(with_sum(tcp4(), wrong=1))


@pytest.mark.parametrize("size", [0, 3, 5])
def test_a_sum_has_four_bytes(size: int) -> None:
    with pytest.raises(ProxyHeaderError, match="CRC32C"):
        parse_proxy_header(tcp4(more=addition(0x03, bytes(size))))


def test_an_error_shows_what_came_and_not_too_much_of_it() -> None:
    with pytest.raises(ProxyHeaderError) as refusal:
        parse_proxy_header(b"Hello\n")
    assert str(refusal.value) == f"got {b'Hello' + bytes([10])!r}, expected {A_HEADER}"
    with pytest.raises(ProxyHeaderError) as refusal:
        parse_proxy_header(b"x" * 49)
    assert str(refusal.value) == f"got {b'x' * 48!r}…, expected {A_HEADER}"
    assert refusal.value.got == b"x" * 49


# Any header, any bytes, cut anywhere.


# Headers with one to three bytes changed, taken out or put in.
@st.composite
def damaged_headers(draw: st.DrawFn) -> bytes:
    header = draw(headers()).header
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(header)))
        header = header[:at] + draw(st.binary(max_size=2)) + header[at + draw(st.integers(0, 2)) :]
    return header


STARTS = st.sampled_from(
    [b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE]
)
TELLING = st.lists(st.sampled_from([bytes([byte]) for byte in b" 0129af.:\r\n%x\0\x11\x20\x21"]))
ANY = st.one_of(
    st.binary(),
    damaged_headers(),
    st.tuples(STARTS, st.one_of(st.binary(), TELLING.map(b"".join))).map(b"".join),
)


@given(said=headers(), after=st.binary())
def test_any_header_is_read_as_it_was_meant(said: Said, after: bytes) -> None:
    size = len(said.header)
    data = said.header + after
    for received in range(size):
        assert parse_proxy_header(data[:received]) is None
    for received in range(size, len(data) + 1):
        assert parse_proxy_header(data[:received]) == ProxyHeader(size, said.source)


@given(data=ANY)
@example(data=b"PROXY TCP6 ::1%1 ::1 1 2\r\n")
@example(data=b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n")
@example(data=with_sum(with_sum(tcp4())))
def test_any_bytes_are_read_as_the_specification_says(data: bytes) -> None:
    check_bytes(data, range(len(data)))
