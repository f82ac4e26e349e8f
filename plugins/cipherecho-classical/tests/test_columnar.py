"""The columnar transposition against a model that writes out the grid."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.options import BadOptionError
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.columnar import Columnar, column_order

keys = st.text(string.ascii_letters, min_size=1, max_size=40)
lines = st.text(st.characters(codec="utf-8", exclude_characters="\n"))


def model(text: str, key: str) -> str:
    """Write the rows one below the other, and take the columns one by one."""
    letters = list(key.upper())
    rows = [text[start : start + len(key)] for start in range(0, len(text), len(key))]
    coded = ""
    for letter in string.ascii_uppercase:
        while letter in letters:
            column = letters.index(letter)  # the leftmost that is still free
            letters[column] = "taken"
            coded += "".join(row[column] for row in rows if column < len(row))
    return coded


@given(lines, keys)
@example("", "A")
@example("short", "AVERYLONGKEY")
@example("e\N{COMBINING ACUTE ACCENT}\N{GRINNING FACE}ß", "ba")
def test_encrypts_as_the_model_and_decrypts_again(text: str, key: str) -> None:
    cipher = Columnar(key)
    coded = cipher.encrypt(text.encode())
    assert coded.decode() == model(text, key)
    assert cipher.decrypt(coded) == text.encode()


@pytest.mark.parametrize("key", ["A", "BA", "ZEBRAS", "TOMATO", "LEMONLEMON"])
@pytest.mark.parametrize("size", range(25))
def test_every_length_is_as_the_model_has_it(size: int, key: str) -> None:
    text = string.ascii_lowercase[:size]
    coded = Columnar(key).encrypt(text.encode())
    assert coded.decode() == model(text, key)
    assert Columnar(key).decrypt(coded).decode() == text


@pytest.mark.parametrize("vector", Columnar.vectors)
def test_model_agrees_with_the_vectors(vector: Vector) -> None:
    key = vector.options.removeprefix("key=")
    coded = [model(line, key) for line in vector.plaintext.split("\n")]
    assert coded == vector.ciphertext.split("\n")


def test_equal_letters_of_the_key_are_ranked_left_to_right() -> None:
    # Wikipedia, «Transposition cipher», «Myszkowski transposition»: the usual practice
    # numbers TOMATO as 532164.
    order = column_order("TOMATO")
    assert [order.index(column) + 1 for column in range(6)] == [5, 3, 2, 1, 6, 4]


def test_two_in_a_row_are_the_double_transposition() -> None:
    # The second and third vector, from the same article.
    twice = chain([Columnar("ZEBRAS"), Columnar("STRIPE")])
    there, back = (Session(cipher, reply=ReplyMode.CIPHER) for cipher in (twice, inverse(twice)))
    assert there.receive(b"WEAREDISCOVEREDFLEEATONCE\n") == b"CAEENSOIAEDRLEFWEDREEVTOC\n"
    assert back.receive(b"CAEENSOIAEDRLEFWEDREEVTOC\n") == b"WEAREDISCOVEREDFLEEATONCE\n"


@given(keys)
def test_key_may_have_either_case(key: str) -> None:
    assert column_order(key.lower()) == column_order(key.upper()) == column_order(key)


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
def test_what_is_not_utf_8_is_rejected(turned: bool) -> None:
    cipher = Columnar("ZEBRAS")
    with pytest.raises(InputError, match="got the byte 0xff at place 3, expected UTF-8"):
        (cipher.decrypt if turned else cipher.encrypt)(b"ab\xff")


def test_cr_is_moved_but_not_to_before_the_lf() -> None:
    session = Session(Columnar("BA"), reply=ReplyMode.CIPHER)
    assert session.receive(b"a\rbc\n") == b"\rcab\n"
    assert session.receive(b"ab\rc\r\n") == b"bca\r\r\n"
    assert session.receive(b"ab\rc\n").startswith(b"!error: the coded line would end in a CR")


@pytest.mark.parametrize("text", ["columnar:ZEBRAS", "columnar:key=ZEBRAS", "Columnar:'ZEBRAS'"])
def test_key_is_read(text: str) -> None:
    assert Registry().load(parse(text)) == Columnar("ZEBRAS")


@given(st.text())
@example("")
@example("TWO WORDS")
@example("632415")
@example("Ärger")
@example("ZEBRAS\n")
@example("\N{LATIN SMALL LETTER LONG S}")  # its capital is S
def test_other_keys_are_refused(key: str) -> None:
    if key and set(key) <= set(string.ascii_letters):
        return
    with pytest.raises(OptionError) as refusal:
        Columnar(key)
    assert (refusal.value.option, refusal.value.given) == ("key", key)
    assert refusal.value.expected == "one or more letters A-Z"


def test_bad_option_is_named() -> None:
    for text in ("columnar", 'columnar:""', "columnar:4711"):
        with pytest.raises(BadOptionError, match="option key") as refusal:
            Registry().load(parse(text))
        assert refusal.value.option == "key"
