"""The affine cipher against a model that goes letter by letter."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import OptionError, Vector
from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.affine import Affine
from cipherecho_classical.atbash import Atbash
from cipherecho_classical.caesar import Caesar

IDENTITY = bytes(range(256))
FACTORS = (1, 3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 25)
factors = st.sampled_from(FACTORS)
summands = st.integers(0, 25)


def model(body: bytes, a: int, b: int) -> bytes:
    """Go round the alphabet: b steps, and a more for each letter before this one."""
    coded = bytearray()
    for byte in body:
        for alphabet in (string.ascii_uppercase.encode(), string.ascii_lowercase.encode()):
            if byte in alphabet:
                steps = b + sum(a for _ in range(alphabet.index(byte)))
                byte = (alphabet * 26)[steps]
                break
        coded.append(byte)
    return bytes(coded)


@given(factors, summands)
def test_table_is_that_of_the_model(a: int, b: int) -> None:
    assert Affine(a, b).table == model(IDENTITY, a, b)


@given(st.binary(), factors, summands)
def test_inverse_gives_the_plaintext_back(sent: bytes, a: int, b: int) -> None:
    cipher = Affine(a, b)
    there, back = (Session(one, reply=ReplyMode.CIPHER) for one in (cipher, inverse(cipher)))
    sent += b"\n"
    assert back.receive(there.receive(sent)) == sent


def test_caesar_and_atbash_are_affine() -> None:
    assert [Affine(1, shift).table for shift in range(26)] == [
        Caesar(shift).table for shift in range(26)
    ]
    assert Affine(25, 25).table == Atbash.table


@pytest.mark.parametrize("vector", Affine.vectors, ids=lambda vector: vector.plaintext[:9])
def test_vectors_are_as_in_the_model(vector: Vector) -> None:
    cipher = Registry().load(parse(f"affine:{vector.options}"))
    assert isinstance(cipher, Affine)
    coded = model(vector.plaintext.encode(), cipher.a, cipher.b)
    assert coded == vector.ciphertext.encode()


@pytest.mark.parametrize("text", ["affine:5,b=8", "affine:a=5,b=8", "Affine:b=8,a=5"])
def test_options_are_read(text: str) -> None:
    assert Registry().load(parse(text)) == Affine(5, 8)


@pytest.mark.parametrize("a", sorted(set(range(27)) - set(FACTORS)))
def test_factor_that_can_not_be_undone_is_refused(a: int) -> None:
    with pytest.raises(OptionError, match="expected a number with no factor in common") as e:
        Affine(a, 3)
    assert (e.value.option, e.value.given) == ("a", a)


@pytest.mark.parametrize(
    ("text", "option", "problem"),
    [
        ("affine:13,b=1", "a", "option a: got 13, expected a number with no factor in common"),
        ("affine:27,b=1", "a", "option a: got '27', expected a whole number, 1 to 25"),
        ("affine:0,b=1", "a", "option a: got '0', expected a whole number, 1 to 25"),
        ("affine:five,b=1", "a", "option a: got 'five', expected a whole number, 1 to 25"),
        ("affine:5,b=26", "b", "option b: got '26', expected a whole number, 0 to 25"),
        ("affine:5,b=-1", "b", "option b: got '-1', expected a whole number, 0 to 25"),
        (
            "affine",
            "a",
            "option a is missing, expected a whole number, 1 to 25 (the factor of a letter's",
        ),
        (
            "affine:5",
            "b",
            "option b is missing, expected a whole number, 0 to 25 (the number to add",
        ),
    ],
)
def test_bad_option_is_named(text: str, option: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert refusal.value.option == option
    assert problem in str(refusal.value)


def test_options_are_explained() -> None:
    a, b = options_of(Affine)
    assert (a.name, a.required, b.name, b.required) == ("a", True, "b", True)
    assert a.help == "the factor of a letter's number; odd, and not 13"
    assert b.help == "the number to add to the product"
