"""What is fuzzed: how bytes become an input, what is checked of it, and where to begin.

The checks are those of the tests that hypothesis drives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle

from cipherecho.session import ReplyMode, StateScope
from tests.helpers.conversation import CIPHERS, check_conversation
from tests.helpers.parsing import check_endpoint, check_specification
from tests.helpers.proxy_headers import HEADERS, SIGNATURE, addition, binary, check_bytes, with_sum


@dataclass(frozen=True)
class Target:
    """Something to fuzz."""

    check: Callable[[bytes], None]
    """Raises if something is wrong; takes any bytes."""

    seeds: Iterable[bytes]
    """Inputs to begin with."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _session(data: bytes) -> None:
    """The first five bytes say on what terms; then come the client's."""
    terms, rest = data[:5].ljust(5, b"\0"), data[5:]
    names = sorted(CIPHERS)
    check_conversation(
        CIPHERS[names[terms[0] % len(names)]],
        list(_cut(rest, terms[1] % 16, terms[1] // 16)),
        list(ReplyMode)[terms[2] % len(ReplyMode)],
        list(StateScope)[terms[3] % len(StateScope)],
        terms[4] if terms[4] < 100 else None,
    )


def _cut(data: bytes, *sizes: int) -> Iterator[bytes]:
    """Yield `data` in pieces of these sizes, over and over; none of 0 if all are."""
    if any(sizes):
        for size in cycle(sizes):
            if not data:
                return
            yield data[:size]
            data = data[size:]
    yield data


# What lines of version 1 are made of, and nearly are: changed a byte at a time, they are
# mostly refused for their first wrong byte.
_WORDS = [
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b" ", b"\r\n", b"\r", b"\n"),
    *(b"192.0.2.1", b"255", b"256", b".", b"::1", b"::ffff:", b"2001:0DB8", b":", b"%"),
    *(b"0", b"1", b"65535", b"65536", b"a", b"F", b"-", b"+", b"\xff"),
]
_LINES = [
    (b"TCP4 ", b"192.0.2.1", b" ", b"192.0.2.1", b" ", b"1", b" ", b"65535"),
    (b"TCP6 ", b"::1", b" ", b"2001:0DB8", b"::1", b" ", b"1", b" ", b"65535"),
    (b"UNKNOWN", b" ", b"a"),
]


def _words(*words: bytes) -> bytes:
    return bytes(map(_WORDS.index, words))


def _proxy(data: bytes) -> None:
    """The first byte says what is made of the others, the second how much of it comes first.

    The others are a header; or a kind and what follows the length, which is put in and right,
    and with ``s`` so is a sum, before another addition; or they are the numbers of words.
    """
    form, cut, rest = data[:1], data[1:2], data[2:]
    match form:
        case b"l":
            rest = binary(0x21, (rest or b"\0")[0], rest[1:])
        case b"s":
            rest = with_sum(binary(0x21, (rest or b"\0")[0], rest[1:]), after=addition(4, b"a"))
        case b"w":
            rest = b"".join(_WORDS[byte % len(_WORDS)] for byte in rest)
    check_bytes(rest, [min(len(rest), size) for size in cut])


TARGETS = {
    "session": Target(
        _session,
        [
            bytes([number, 0x23, number % 3, number % 2, 20 * (number % 6)]) + text
            for number in range(len(CIPHERS))
            for text in (b"", b"ab\r\nx!\n1 a\n2 bcd", b"\r\r\n\n" + b"a" * 21 + b"\n2 \xff")
        ],
    ),
    "specification": Target(
        lambda data: check_specification(_text(data)),
        [
            b"rot13",
            b"caesar:5",
            b"caesar@classics:-5",
            b"enigma:rotors=\"I II\",start='A'",
            rb"a:\,b,c=\"",
        ],
    ),
    "proxy": Target(
        _proxy,
        [b"-\x20" + said.header for said in HEADERS.values()]
        + [
            form + b"\x20" + said.header[13:14] + said.header[16:]
            for said in HEADERS.values()
            if said.header.startswith(SIGNATURE)
            for form in (b"l", b"s")
        ]
        + [b"w\x20" + _words(b"PROXY ", *line, b"\r\n") for line in _LINES],
    ),
    "endpoint": Target(
        lambda data: check_endpoint(_text(data)),
        [
            b"8013",
            b"[::1]:0",
            b"tcp://localhost:1",
            b"tls://[::]:1",
            b"unix:///a?mode=660",
            b"tls+unix:///a",
            b"fd://3",
            b"tls+fd://name",
            b"vsock://any:1",
        ],
    ),
}
