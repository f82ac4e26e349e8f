"""What holds for every cipher of this package, as it is installed."""

import copy
import string
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import Cipher, InputError, Stateful, Vector
from cipherecho.registry import Registry, chain, inverse, parse
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho.testing import conform, installed
from cipherecho_machines import __version__

PACKAGE = "cipherecho-machines"
FACTORIES = installed(PACKAGE)
VECTORS = [
    pytest.param(f"{name}@{PACKAGE}:{vector.options}".rstrip(":"), vector, id=f"{name}-{number}")
    for name, factory in FACTORIES.items()
    for number, vector in enumerate(factory.vectors)
]


def cipher_of(specification: str) -> Cipher:
    return Registry().load(parse(specification))


# One of each, for tests that don't depend on options.
ALL_CIPHERS: list[Any] = [
    cipher_of(f"{name}:{factory.vectors[0].options}".rstrip(":"))
    for name, factory in FACTORIES.items()
]
CIPHERS = [
    pytest.param(cipher, id=name) for name, cipher in zip(FACTORIES, ALL_CIPHERS, strict=True)
]

texts = st.text(string.ascii_letters + " ,é7", max_size=100).map(str.encode)


def answer(cipher: Cipher, sent: bytes) -> bytes:
    """Return what a session replies to `sent`."""
    session = Session(cipher, reply=ReplyMode.CIPHER)
    return session.receive(sent) + session.end()


def test_brings_these_ciphers() -> None:
    assert set(FACTORIES) == {"chaocipher", "enigma", "solitaire"}


def test_version_is_that_of_the_package() -> None:
    assert version(PACKAGE) == __version__


@pytest.mark.parametrize("name", FACTORIES)
def test_cipher_is_found_and_explained(name: str) -> None:
    assert Registry().find(name).package == PACKAGE
    assert FACTORIES[name].__doc__
    assert len(FACTORIES[name].vectors) >= 2
    assert all(vector.source for vector in FACTORIES[name].vectors)


@pytest.mark.parametrize("name", FACTORIES)
def test_cipher_conforms(name: str) -> None:
    conform(FACTORIES[name])


@pytest.mark.parametrize("size", [1, 2, 7, 80])
@pytest.mark.parametrize(("specification", "vector"), VECTORS)
def test_vector_holds_in_lines_of_any_length(specification: str, vector: Vector, size: int) -> None:
    def in_lines(text: str) -> bytes:
        text = text.replace("\n", "")
        lines = [text[start : start + size] for start in range(0, len(text), size)]
        return "".join(f"{line}\n" for line in lines).encode()

    plaintext, ciphertext = in_lines(vector.plaintext), in_lines(vector.ciphertext)
    assert answer(cipher_of(specification), plaintext) == ciphertext
    assert answer(inverse(cipher_of(specification)), ciphertext) == plaintext


@pytest.mark.parametrize(("specification", "vector"), VECTORS)
def test_every_line_starts_afresh_if_asked_to(specification: str, vector: Vector) -> None:
    first = "".join(vector.plaintext.split("\n")).encode() + b"\n"
    coded = "".join(vector.ciphertext.split("\n")).encode() + b"\n"
    cipher = cipher_of(specification)
    there = Session(cipher, reply=ReplyMode.CIPHER, reset=StateScope.LINE)
    back = Session(inverse(cipher), reply=ReplyMode.CIPHER, reset=StateScope.LINE)
    assert there.receive(first + b"\n" + first) == coded + b"\n" + coded
    assert back.receive(coded + b"\n" + coded) == first + b"\n" + first


@pytest.mark.parametrize(("specification", "vector"), VECTORS)
def test_empty_line_stays_empty(specification: str, vector: Vector) -> None:
    cipher = cipher_of(specification)
    assert answer(cipher, b"\n\r\n\n") == b"\n\r\n\n"
    assert answer(inverse(cipher), b"\n\r\n\n") == b"\n\r\n\n"


@given(st.lists(texts, max_size=5))
def test_chain_of_all_goes_there_and_back(plain: list[bytes]) -> None:
    everything = chain(ALL_CIPHERS)
    sent = b"".join(body + b"\n" for body in plain)
    assert answer(inverse(everything), answer(everything, sent)) == sent


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_connections_do_not_touch_each_other(cipher: Stateful, turned: bool) -> None:
    used = inverse(cipher) if turned else cipher
    lines = [b"Attack\n", b"at dawn\n", b"again\n"]
    alone = Session(used, reply=ReplyMode.CIPHER)
    expected = [alone.receive(line) for line in lines]
    one, other = Session(used, reply=ReplyMode.CIPHER), Session(used, reply=ReplyMode.CIPHER)
    replies = [(one.receive(line), other.receive(line)) for line in lines]
    assert replies == [(reply, reply) for reply in expected]
    # Another connection starts when one is ahead.
    late = Session(used, reply=ReplyMode.CIPHER)
    assert late.receive(b"Attack\n") == expected[0]


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@pytest.mark.parametrize("cipher", CIPHERS)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_chunking_gives_the_same_bytes(
    cipher: Stateful, turned: bool, sent: bytes, cut: int
) -> None:
    used = inverse(cipher) if turned else cipher
    whole, cut_up = Session(used), Session(used)
    expected = whole.receive(sent) + whole.end()
    assert cut_up.receive(sent[:cut]) + cut_up.receive(sent[cut:]) + cut_up.end() == expected


@pytest.mark.parametrize(
    "body",
    [
        "Größe 7".encode(),
        b"\xff a \x00 b\x7f",
        "\N{LATIN SMALL LETTER LONG S}\N{LATIN SMALL LETTER DOTLESS I}\N{KELVIN SIGN}".encode(),
        b"\r",
    ],
)
@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_is_no_ascii_letter_stays_and_moves_nothing(cipher: Stateful, body: bytes) -> None:
    letters = string.ascii_letters.encode()
    encrypt, encrypt_letters = cipher.encryptor(), cipher.encryptor()
    coded = encrypt(body)
    assert len(coded) == len(body)
    assert [byte for byte in coded if byte not in letters] == [
        byte for byte in body if byte not in letters
    ]
    encrypt_letters(bytes(byte for byte in body if byte in letters))
    assert encrypt(b"then") == encrypt_letters(b"then")
    inverted: Any = inverse(cipher)
    assert inverted.encryptor()(coded) == body


class NoDigits:
    """Rejects a line with a digit; it follows a cipher that keeps state."""

    def encrypt(self, body: bytes) -> bytes:
        if any(byte in b"0123456789" for byte in body):
            raise InputError("got a digit, expected none")
        return body


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_line_that_a_later_cipher_rejects_leaves_no_trace(cipher: Stateful, turned: bool) -> None:
    used = inverse(cipher) if turned else cipher
    expected = answer(used, b"Attack\nat dawn\n")
    session = Session(chain([used, NoDigits()]), reply=ReplyMode.CIPHER)
    coded = session.receive(b"Attack\n")
    assert session.receive(b"2 late\n").startswith(b"!error: ")
    assert coded + session.receive(b"at dawn\n") == expected


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@pytest.mark.parametrize("cipher", CIPHERS)
def test_copy_of_a_transform_goes_its_own_way(cipher: Stateful, turned: bool) -> None:
    used: Any = inverse(cipher) if turned else cipher
    transform = used.encryptor()
    transform(b"Attack")
    copied, copied_later = copy.deepcopy(transform), copy.deepcopy(transform)
    coded = copied(b"at dawn")
    assert transform(b"at dawn") == coded
    assert copied_later(b"at dawn") == coded
    assert type(copied) is type(transform)
