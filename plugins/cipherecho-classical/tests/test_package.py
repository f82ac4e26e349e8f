"""What holds for every cipher of this package, as it is installed."""

from importlib.metadata import version

import pytest

from cipherecho.cipher import Cipher, Vector
from cipherecho.registry import Registry, parse
from cipherecho.session import ReplyMode, Session
from cipherecho.testing import conform, installed
from cipherecho_classical import __version__

PACKAGE = "cipherecho-classical"
REGISTRY = Registry()
CIPHERS = installed(PACKAGE)
VECTORS = [
    pytest.param(f"{name}@{PACKAGE}:{vector.options}".rstrip(":"), vector, id=f"{name}-{number}")
    for name, factory in CIPHERS.items()
    for number, vector in enumerate(factory.vectors)
]


def coded_by(cipher: Cipher, text: bytes) -> bytes:
    session = Session(cipher, reply=ReplyMode.CIPHER)
    return session.receive(text) + session.end()


def test_brings_these_ciphers() -> None:
    assert set(CIPHERS) == {
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


def test_version_is_that_of_the_package() -> None:
    assert version(PACKAGE) == __version__


@pytest.mark.parametrize("name", CIPHERS)
def test_cipher_is_found_and_explained(name: str) -> None:
    assert REGISTRY.find(name).package == PACKAGE
    assert CIPHERS[name].__doc__
    assert len(CIPHERS[name].vectors) >= 2
    assert all(vector.source for vector in CIPHERS[name].vectors)


@pytest.mark.parametrize("name", CIPHERS)
def test_cipher_conforms(name: str) -> None:
    conform(CIPHERS[name])


@pytest.mark.parametrize("decrypt", [False, True], ids=["encrypting", "decrypting"])
@pytest.mark.parametrize(("specification", "vector"), VECTORS)
def test_empty_line_stays_empty(specification: str, vector: Vector, decrypt: bool) -> None:
    cipher = REGISTRY.load_chain([parse(specification)], decrypt=decrypt)
    assert coded_by(cipher, b"\n\r\n\n") == b"\n\r\n\n"


@pytest.mark.parametrize(("specification", "vector"), VECTORS)
def test_chain_with_rot13_goes_there_and_back(specification: str, vector: Vector) -> None:
    both = [parse(specification), parse("rot13")]
    plaintext, ciphertext = f"{vector.plaintext}\n".encode(), f"{vector.ciphertext}\n".encode()
    twice = coded_by(REGISTRY.load_chain(both), plaintext)
    assert twice == coded_by(REGISTRY.load(parse("rot13")), ciphertext)
    assert coded_by(REGISTRY.load_chain(both, decrypt=True), twice) == plaintext
