"""The keyword cipher against a model that goes letter by letter."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import OptionError, Vector, letter_table
from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.keyword import Keyword

IDENTITY = bytes(range(256))
keys = st.text(string.ascii_letters, min_size=1, max_size=60)


def model(body: bytes, key: str) -> bytes:
    """Write the alphabet out with a pencil, and look each letter up in it."""
    keyed = ""
    for letter in key.upper():
        if letter not in keyed:
            keyed += letter
    for letter in string.ascii_uppercase:
        if letter not in keyed:
            keyed += letter
    coded = bytearray()
    for byte in body:
        letter = chr(byte)
        if letter in string.ascii_uppercase:
            letter = keyed[string.ascii_uppercase.index(letter)]
        elif letter in string.ascii_lowercase:
            letter = keyed.lower()[string.ascii_lowercase.index(letter)]
        coded.append(ord(letter))
    return bytes(coded)


@given(keys)
@example("A")
@example(string.ascii_letters[::-1])
def test_table_is_that_of_the_model(key: str) -> None:
    assert Keyword(key).table == model(IDENTITY, key)


@given(st.binary(), keys)
def test_inverse_gives_the_plaintext_back(sent: bytes, key: str) -> None:
    cipher = Keyword(key)
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (cipher, inverse(cipher)))
    sent += b"\n"
    assert back.receive(there.receive(sent)) == sent


def test_letter_that_comes_again_in_the_key_counts_once() -> None:
    assert Keyword("constellation").table == letter_table("CONSTELAIBDFGHJKMPQRUVWXYZ")


@pytest.mark.parametrize("vector", Keyword.vectors, ids=lambda vector: vector.plaintext[:9])
def test_vectors_are_as_in_the_model(vector: Vector) -> None:
    cipher = Registry().load(parse(f"keyword:{vector.options}"))
    assert isinstance(cipher, Keyword)
    assert model(vector.plaintext.encode(), cipher.key) == vector.ciphertext.encode()


@pytest.mark.parametrize("text", ["keyword:ZEBRAS", "keyword:key=ZEBRAS", "Keyword:'ZEBRAS'"])
def test_key_is_read(text: str) -> None:
    assert Registry().load(parse(text)) == Keyword("ZEBRAS")


@given(st.text())
@example("")
@example("ZEBRA CROSSING")
@example("Ärger")
@example("\N{LATIN SMALL LETTER LONG S}")  # its capital is S
@example("ZEBRAS\n")
def test_other_keys_are_refused(key: str) -> None:
    if key and set(key) <= set(string.ascii_letters):
        return
    with pytest.raises(OptionError) as refusal:
        Keyword(key)
    assert (refusal.value.option, refusal.value.given) == ("key", key)
    assert refusal.value.expected == "one or more letters A-Z"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keyword", "option key is missing, expected text (one or more letters A-Z"),
        ("keyword:4711", "option key: got '4711', expected one or more letters A-Z"),
        ("keyword:keys=ZEBRAS", "got unknown option keys; did you mean key?"),
    ],
)
def test_bad_option_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert problem in str(refusal.value)


def test_option_is_explained() -> None:
    (key,) = options_of(Keyword)
    assert (key.name, key.required) == ("key", True)
    assert key.help == "one or more letters A-Z, small ones too; each counts once"
