"""Chaocipher against a model that turns its disks as Rubin describes it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import OptionError
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho_machines.chaocipher import Chaocipher

LETTERS = string.ascii_uppercase
LEFT, RIGHT = "HXUCZVAMDSLKPEFJRIGTWOBNYQ", "PTLNBQDEOYSFAVZKGJRIHWXUMC"

alphabets = st.permutations(LETTERS).map("".join)
texts = st.text(LETTERS, max_size=100)


def model(text: str, left_alphabet: str, right_alphabet: str) -> str:
    """Encrypt with two lists, step by step."""
    left, right = list(left_alphabet), list(right_alphabet)
    coded = ""
    for letter in text:
        place = right.index(letter)
        coded += left[place]
        # Both disks turn until the plaintext and the ciphertext letter are at the zenith, the first
        # place.
        for _ in range(place):
            left.append(left.pop(0))
            right.append(right.pop(0))
        # Left: the letter next to the zenith goes to the nadir, the fourteenth place.
        left.insert(13, left.pop(1))
        # Right: the disk turns one place more, and the third letter goes to the nadir.
        right.append(right.pop(0))
        right.insert(13, right.pop(2))
    return coded


@given(texts, alphabets, alphabets)
def test_encrypts_as_the_model_and_decrypts_again(text: str, left: str, right: str) -> None:
    cipher = Chaocipher(left, right)
    coded = cipher.encryptor()(text.encode())
    assert coded.decode() == model(text, left, right)
    assert cipher.decryptor()(coded).decode() == text


@given(texts, alphabets, alphabets)
def test_alphabets_may_have_either_case(text: str, left: str, right: str) -> None:
    coded = Chaocipher(left.lower(), right.lower()).encryptor()(text.encode())
    assert coded.decode() == model(text, left, right)


@pytest.mark.parametrize("option", ["left", "right"])
@pytest.mark.parametrize(
    "alphabet",
    [
        "",
        "LEMON",
        LEFT[:-1],
        LEFT + "A",
        "A" + LEFT[1:],
        LEFT[:-1] + "7",
        LEFT.replace("S", "\N{LATIN SMALL LETTER LONG S}"),  # its capital is S
        " " + LEFT,
    ],
)
def test_other_alphabets_are_refused(option: str, alphabet: str) -> None:
    with pytest.raises(OptionError, match="expected the 26 letters A-Z") as refusal:
        Chaocipher(**{"left": LEFT, "right": RIGHT, option: alphabet})
    assert (refusal.value.option, refusal.value.given) == (option, alphabet)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("chaocipher", "option left is missing"),
        (f"chaocipher:{LEFT}", "option right is missing"),
        (f"chaocipher:{LEFT},right=ABC", "option right: got 'ABC', expected the 26 letters A-Z"),
        (f"chaocipher:{LEFT},rigth={RIGHT}", "got unknown option rigth; did you mean right?"),
    ],
)
def test_bad_option_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert problem in str(refusal.value)


def test_options_are_read_and_explained() -> None:
    assert Registry().load(parse(f"chaocipher:{LEFT},right={RIGHT}")) == Chaocipher(LEFT, RIGHT)
    left, right = options_of(Chaocipher)
    assert (left.name, left.required, right.name, right.required) == ("left", True, "right", True)
    assert "ciphertext" in left.help
    assert "plaintext" in right.help
