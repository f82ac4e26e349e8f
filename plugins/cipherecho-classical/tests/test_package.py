"""What holds for every cipher of this package, as it is installed."""

import pytest

from cipherecho.cipher import Cipher, Vector
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Entry, Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical import __version__

REGISTRY = Registry()
ENTRIES = [entry for entry in REGISTRY.entries if entry.package == "cipherecho-classical"]


def cipher_of(entry: Entry, vector: Vector) -> Cipher:
    options = f":{vector.options}" if vector.options else ""
    return REGISTRY.load(parse(f"{entry.name}@cipherecho-classical{options}"))


def vectors_of(entry: Entry) -> tuple[Vector, ...]:
    vectors: tuple[Vector, ...] = getattr(REGISTRY.factory(entry), "vectors", ())
    return vectors


VECTORS = [
    pytest.param(entry, vector, id=f"{entry.name}-{number}")
    for entry in ENTRIES
    for number, vector in enumerate(vectors_of(entry))
]


def answer(cipher: Cipher, sent: bytes, size: int) -> bytes:
    """Return what a session replies to `sent`, received `size` bytes at a time."""
    session = Session(cipher, reply=ReplyMode.CIPHER)
    pieces = [session.receive(sent[i : i + size]) for i in range(0, len(sent), size)]
    return b"".join(pieces) + session.end()


def test_brings_these_ciphers() -> None:
    assert {entry.name for entry in ENTRIES} == {
        "adfgvx",
        "affine",
        "atbash",
        "autokey",
        "beaufort",
        "bifid",
        "caesar",
        "columnar",
        "keyword",
        "playfair",
        "porta",
        "railfence",
        "rot47",
        "vigenere",
    }


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_cipher_is_usable_and_explained(entry: Entry) -> None:
    assert entry.version == __version__
    assert REGISTRY.status(entry) == "ok"
    assert REGISTRY.find(entry.name) == entry
    assert REGISTRY.factory(entry).__doc__
    assert len(vectors_of(entry)) >= 2
    assert all(vector.source for vector in vectors_of(entry))


@pytest.mark.parametrize("size", [1, 1000], ids=["byte by byte", "whole"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("entry", "vector"), VECTORS)
class TestVectors:
    def test_encrypts(self, entry: Entry, vector: Vector, ending: bytes, size: int) -> None:
        plaintext, ciphertext = on_the_wire(vector, ending)
        assert answer(cipher_of(entry, vector), plaintext, size) == ciphertext

    def test_decrypts(self, entry: Entry, vector: Vector, ending: bytes, size: int) -> None:
        plaintext, ciphertext = on_the_wire(vector, ending)
        assert answer(inverse(cipher_of(entry, vector)), ciphertext, size) == plaintext


def on_the_wire(vector: Vector, ending: bytes) -> tuple[bytes, bytes]:
    plaintext, ciphertext = (
        f"{text}\n".encode().replace(b"\n", ending)
        for text in (vector.plaintext, vector.ciphertext)
    )
    return plaintext, ciphertext


@pytest.mark.parametrize(("entry", "vector"), VECTORS)
def test_empty_line_stays_empty(entry: Entry, vector: Vector) -> None:
    cipher = cipher_of(entry, vector)
    assert answer(cipher, b"\n\r\n\n", 1000) == b"\n\r\n\n"
    assert answer(inverse(cipher), b"\n\r\n\n", 1000) == b"\n\r\n\n"


@pytest.mark.parametrize(("entry", "vector"), VECTORS)
def test_chain_with_rot13_goes_there_and_back(entry: Entry, vector: Vector) -> None:
    both = chain([cipher_of(entry, vector), REGISTRY.load(parse("rot13"))])
    plaintext, ciphertext = on_the_wire(vector, b"\n")
    coded = answer(both, plaintext, 1000)
    assert coded == answer(REGISTRY.load(parse("rot13")), ciphertext, 1000)
    assert answer(inverse(both), coded, 1000) == plaintext
