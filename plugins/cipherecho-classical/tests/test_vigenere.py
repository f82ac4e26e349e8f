"""The Vigenère cipher against a model that goes letter by letter."""

import copy
import string
from itertools import cycle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.rot13 import Rot13
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho_classical.vigenere import Vigenere

keys = st.text(string.ascii_letters, min_size=1, max_size=300)
bodies = st.binary().map(lambda body: body.replace(b"\n", b" "))
# Mostly letters, up to several times the longest block.
texts = st.text(string.ascii_letters + " ,é", max_size=800).map(str.encode)
lines = st.lists(st.one_of(bodies, texts), max_size=5)


def model(bodies: list[bytes], key: str) -> list[bytes]:
    """Encrypt with one loop over the bytes and a key that goes round."""
    key_letters = cycle(key.upper())
    coded = []
    for body in bodies:
        moved = bytearray()
        for byte in body:
            letter = chr(byte)
            for alphabet in (string.ascii_uppercase, string.ascii_lowercase):
                if letter in alphabet:
                    shift = string.ascii_uppercase.index(next(key_letters))
                    letter = alphabet[(alphabet.index(letter) + shift) % 26]
                    break
            moved.append(ord(letter))
        coded.append(bytes(moved))
    return coded


@given(lines, keys)
def test_encrypts_as_the_model_and_decrypts_again(plain: list[bytes], key: str) -> None:
    cipher = Vigenere(key)
    encrypt, decrypt = cipher.encryptor(), cipher.decryptor()
    coded = [encrypt(body) for body in plain]
    assert coded == model(plain, key)
    assert [decrypt(body) for body in coded] == plain


@pytest.mark.parametrize("size", [253, 254, 255, 256, 508, 509, 65_536])
@pytest.mark.parametrize("key", ["Z", "LEMON", "Kasiski" * 40])
@pytest.mark.parametrize("word", [b"Z", b"a", b"\xff", b"it's \0 7"])
def test_long_lines_are_as_the_model_has_them(size: int, key: str, word: bytes) -> None:
    # The letters are counted 254 bytes at a time; 65,536 is the longest line there is.
    line = (word * size)[:size]
    encrypt = Vigenere(key).encryptor()
    assert [encrypt(line), encrypt(b"then")] == model([line, b"then"], key)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 253, 254, 255, 256, 257, 1000])
def test_keys_of_every_length_go_round(length: int) -> None:
    key = (string.ascii_uppercase[::-1] * 40)[:length]
    plain = [b"a" * (length - 1), b"bc", b"d" * 300, b"e" * length, b"f" * 254]
    encrypt = Vigenere(key).encryptor()
    assert [encrypt(body) for body in plain] == model(plain, key)


def test_key_runs_on_from_line_to_line() -> None:
    session = Session(Vigenere("LEMON"), reply=ReplyMode.CIPHER)
    assert session.receive(b"Attack\nat ") == b"Lxfopv\n"
    assert session.receive(b"dawn\n") == b"ef rnhr\n"


def test_every_line_starts_afresh_if_asked_to() -> None:
    session = Session(Vigenere("LEMON"), reply=ReplyMode.CIPHER, reset=StateScope.LINE)
    assert session.receive(b"Attack\nAttack\r\n\nAtt") == b"Lxfopv\nLxfopv\r\n\n"
    assert session.end() == b"Lxf\n"


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
def test_connections_do_not_touch_each_other(turned: bool) -> None:
    cipher = inverse(Vigenere("LEMON")) if turned else Vigenere("LEMON")
    alone = Session(cipher, reply=ReplyMode.CIPHER)
    expected = [alone.receive(line) for line in (b"Attack\n", b"at dawn\n", b"again\n")]
    one, other = Session(cipher, reply=ReplyMode.CIPHER), Session(cipher, reply=ReplyMode.CIPHER)
    replies = [
        (one.receive(line), other.receive(line)) for line in (b"Attack\n", b"at dawn\n", b"again\n")
    ]
    assert replies == [(reply, reply) for reply in expected]
    # Another connection starts when one is ahead.
    late = Session(cipher, reply=ReplyMode.CIPHER)
    assert late.receive(b"Attack\n") == expected[0]


@given(st.binary(max_size=400), keys, st.data())
def test_any_chunking_gives_the_same_bytes(sent: bytes, key: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(sent)))
    whole, cut_up = Session(Vigenere(key)), Session(Vigenere(key))
    expected = whole.receive(sent) + whole.end()
    assert cut_up.receive(sent[:cut]) + cut_up.receive(sent[cut:]) + cut_up.end() == expected


@given(lines, keys)
def test_chain_with_rot13_goes_there_and_back(plain: list[bytes], key: str) -> None:
    both = chain([Vigenere(key), Rot13()])
    there, back = (Session(cipher, reply=ReplyMode.CIPHER) for cipher in (both, inverse(both)))
    sent = b"".join(body + b"\r\n" for body in plain)
    coded = there.receive(sent)
    rot13_of_the_model = [body.translate(Rot13.table) for body in model(plain, key)]
    assert coded == b"".join(body + b"\r\n" for body in rot13_of_the_model)
    assert back.receive(coded) == sent


class NoDigits:
    """Rejects a line with a digit; it follows a cipher that keeps state."""

    def encrypt(self, body: bytes) -> bytes:
        if any(byte in b"0123456789" for byte in body):
            raise InputError("got a digit, expected none")
        return body


def test_line_that_a_later_cipher_rejects_leaves_no_trace() -> None:
    session = Session(chain([Vigenere("LEMON"), NoDigits()]), reply=ReplyMode.CIPHER)
    assert session.receive(b"Attack\n") == b"Lxfopv\n"
    assert session.receive(b"2 late\n").startswith(b"!error: ")
    assert session.receive(b"at dawn\n") == b"ef rnhr\n"


def test_copy_of_a_transform_goes_its_own_way() -> None:
    encrypt = Vigenere("LEMON").encryptor()
    encrypt(b"Attack")
    copied = copy.deepcopy(encrypt)
    assert copied(b"at dawn") == b"ef rnhr"
    assert encrypt(b"at dawn") == b"ef rnhr"


@pytest.mark.parametrize("text", ["vigenere:LEMON", "vigenere:key=LEMON", "Vigenere:'LEMON'"])
def test_key_is_read(text: str) -> None:
    assert Registry().load(parse(text)) == Vigenere("LEMON")


@given(keys)
def test_key_may_have_either_case(key: str) -> None:
    plain = b"The quick brown fox"
    assert Vigenere(key.lower()).encryptor()(plain) == Vigenere(key.upper()).encryptor()(plain)


@given(st.text())
@example("")
@example("LEMON TREE")
@example("Ärger")
@example("\N{LATIN SMALL LETTER LONG S}")  # its capital is S
@example("LEMON\n")
def test_other_keys_are_refused(key: str) -> None:
    if key and set(key) <= set(string.ascii_letters):
        return
    with pytest.raises(OptionError) as refusal:
        Vigenere(key)
    assert (refusal.value.option, refusal.value.given) == ("key", key)
    assert refusal.value.expected == "one or more letters A-Z"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("vigenere", "option key is missing, expected text (one or more letters A-Z"),
        ("vigenere:4711", "option key: got '4711', expected one or more letters A-Z"),
        ('vigenere:""', "option key: got '', expected one or more letters A-Z"),
        ("vigenere:keys=LEMON", "got unknown option keys; did you mean key?"),
    ],
)
def test_bad_option_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert problem in str(refusal.value)


def test_option_is_explained() -> None:
    (key,) = options_of(Vigenere)
    assert (key.name, key.required) == ("key", True)
    assert key.help.startswith("one or more letters A-Z")
