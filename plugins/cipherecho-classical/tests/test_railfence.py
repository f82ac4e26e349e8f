"""The rail fence cipher against a model that walks along the zigzag."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, Vector
from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.railfence import RailFence

fences = st.integers(2, 40)
lines = st.text(st.characters(codec="utf-8", exclude_characters="\n"))


def model(text: str, rails: int) -> str:
    """Put down one character at a time, and turn at the outer rails."""
    fence = [""] * rails
    rail, step = 0, 1
    for character in text:
        fence[rail] += character
        if not 0 <= rail + step < rails:
            step = -step
        rail += step
    return "".join(fence)


@given(lines, fences)
@example("", 2)
@example("e\N{COMBINING ACUTE ACCENT}\N{GRINNING FACE}ß", 3)
def test_encrypts_as_the_model_and_decrypts_again(text: str, rails: int) -> None:
    cipher = RailFence(rails)
    coded = cipher.encrypt(text.encode())
    assert coded.decode() == model(text, rails)
    assert cipher.decrypt(coded) == text.encode()


@pytest.mark.parametrize("rails", range(2, 12))
@pytest.mark.parametrize("size", range(25))
def test_every_length_is_as_the_model_has_it(size: int, rails: int) -> None:
    text = "abcdefghijklmnopqrstuvwxyz"[:size]
    coded = RailFence(rails).encrypt(text.encode())
    assert coded.decode() == model(text, rails)
    assert RailFence(rails).decrypt(coded).decode() == text


@pytest.mark.parametrize("vector", RailFence.vectors)
def test_model_agrees_with_the_vectors(vector: Vector) -> None:
    rails = int(vector.options.removeprefix("rails="))
    coded = [model(line, rails) for line in vector.plaintext.split("\n")]
    assert coded == vector.ciphertext.split("\n")


@pytest.mark.parametrize("rails", [3, 65_536])
def test_line_no_longer_than_the_fence_is_high_stays(rails: int) -> None:
    for line in (b"", b"a", b"ab", "ßéa".encode()):
        assert RailFence(rails).encrypt(line) == line == RailFence(rails).decrypt(line)


def test_longest_line_of_all_goes_there_and_back() -> None:
    line = "ß7".encode() * 21_845  # 65,535 bytes
    for rails in (2, 3, 1000, 40_000):
        assert RailFence(rails).decrypt(RailFence(rails).encrypt(line)) == line


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
def test_what_is_not_utf_8_is_rejected(turned: bool) -> None:
    cipher = RailFence(3)
    with pytest.raises(InputError, match="got the byte 0xff at place 3, expected UTF-8"):
        (cipher.decrypt if turned else cipher.encrypt)(b"ab\xff")


def test_rejected_line_does_not_end_the_connection() -> None:
    session = Session(RailFence(2), reply=ReplyMode.CIPHER)
    assert session.receive(b"\xff\xfe\nabc\n").splitlines()[1:] == [b"acb"]


def test_cr_is_moved_but_not_to_before_the_lf() -> None:
    session = Session(RailFence(2), reply=ReplyMode.CIPHER)
    assert session.receive(b"\rabc\n") == b"\rbac\n"
    assert session.receive(b"ab\rcde\r\n") == b"a\rdbce\r\n"
    assert session.receive(b"a\rb\n").startswith(b"!error: the coded line would end in a CR")


def test_lines_do_not_depend_on_each_other() -> None:
    there = Session(RailFence(3), reply=ReplyMode.CIPHER)
    back = Session(inverse(RailFence(3)), reply=ReplyMode.CIPHER)
    sent = b"Attack\r\n\nat dawn\nAttack\n"
    coded = there.receive(sent)
    assert coded.splitlines()[0] == coded.splitlines()[3]
    assert back.receive(coded) == sent


@pytest.mark.parametrize("text", ["railfence:3", "railfence:rails=3", "RailFence:3"])
def test_rails_are_read(text: str) -> None:
    assert Registry().load(parse(text)) == RailFence(3)


@pytest.mark.parametrize("rails", ["1", "0", "-3", "65537", "2.5", "three", '""'])
def test_other_rails_are_refused(rails: str) -> None:
    with pytest.raises(BadOptionError, match="expected a whole number, 2 to 65536") as refusal:
        Registry().load(parse(f"railfence:{rails}"))
    assert refusal.value.option == "rails"


def test_rails_must_be_given() -> None:
    with pytest.raises(BadOptionError, match="option rails is missing") as refusal:
        Registry().load(parse("railfence"))
    assert refusal.value.option == "rails"
    (rails,) = options_of(RailFence)
    assert rails.help == "rails of the fence, the top one included"
