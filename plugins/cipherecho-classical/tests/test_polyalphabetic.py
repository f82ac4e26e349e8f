"""What Beaufort, Porta and the autokey cipher share, against models that go letter by letter.

Vigenère is held to the same in its own file.  What only one of them does is in its own, too.
"""

import copy
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.cipher import InputError, OptionError, Vector
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.rot13 import Rot13
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho_classical.autokey import Autokey
from cipherecho_classical.beaufort import Beaufort
from cipherecho_classical.polyalphabetic import ALPHABET, RepeatingKey, Tableau, numbers_of
from cipherecho_classical.porta import Porta

keys = st.text(string.ascii_letters, min_size=1, max_size=300)
bodies = st.binary().map(lambda body: body.replace(b"\n", b" "))
# Mostly letters, up to several times the longest block.
texts = st.text(string.ascii_letters + " ,é", max_size=800).map(str.encode)
lines = st.lists(st.one_of(bodies, texts), max_size=5)


def beaufort_model(key: str) -> Iterator[Callable[[str], str]]:
    """Go down the plaintext's column of the square to the key; the row is the ciphertext."""
    for key_letter in cycle(key.upper()):

        def coded(letter: str, key_letter: str = key_letter) -> str:
            column = ALPHABET[ALPHABET.index(letter) :] + ALPHABET
            return ALPHABET[column.index(key_letter)]

        yield coded


# As printed in Flynn's of 23 June 1928.
PORTA_TABLE = {
    "AB": "nopqrstuvwxyz",
    "CD": "opqrstuvwxyzn",
    "EF": "pqrstuvwxyzno",
    "GH": "qrstuvwxyznop",
    "IJ": "rstuvwxyznopq",
    "KL": "stuvwxyznopqr",
    "MN": "tuvwxyznopqrs",
    "OP": "uvwxyznopqrst",
    "QR": "vwxyznopqrstu",
    "ST": "wxyznopqrstuv",
    "UV": "xyznopqrstuvw",
    "WX": "yznopqrstuvwx",
    "YZ": "znopqrstuvwxy",
}


def porta_model(key: str) -> Iterator[Callable[[str], str]]:
    """Look up the partner in the key's line of the printed table."""
    for key_letter in cycle(key.upper()):
        (line,) = (line.upper() for names, line in PORTA_TABLE.items() if key_letter in names)

        def coded(letter: str, line: str = line) -> str:
            if letter in "ABCDEFGHIJKLM":
                return line["ABCDEFGHIJKLM".index(letter)]
            return "ABCDEFGHIJKLM"[line.index(letter)]

        yield coded


def autokey_model(key: str) -> Iterator[Callable[[str], str]]:
    """Use up the key from the front, and write each plaintext letter to its end."""
    letters = list(key.upper())

    def coded(letter: str) -> str:
        letters.append(letter)
        return (ALPHABET * 2)[ALPHABET.index(letter) + ALPHABET.index(letters.pop(0))]

    while True:
        yield coded


@dataclass
class Case:
    factory: type[Beaufort] | type[Porta] | type[Autokey]
    model_of: Callable[[str], Iterator[Callable[[str], str]]]
    coded: list[bytes]
    """The ciphertexts of "Attack", "at dawn" and "again" with the key LEMON."""

    @property
    def name(self) -> str:
        return self.factory.__name__.lower()

    def model(self, bodies: list[bytes], key: str) -> list[bytes]:
        """Encrypt with one loop over the bytes, and a step of the model for each letter."""
        steps = self.model_of(key)
        coded = []
        for body in bodies:
            replaced = bytearray()
            for byte in body:
                letter = chr(byte)
                if letter in string.ascii_uppercase:
                    letter = next(steps)(letter)
                elif letter in string.ascii_lowercase:
                    letter = next(steps)(letter.upper()).lower()
                replaced.append(ord(letter))
            coded.append(bytes(replaced))
        return coded


CASES = [
    Case(Beaufort, beaufort_model, [b"Lltolb", b"et lnpr", b"mindr"]),
    Case(Porta, porta_model, [b"Seauvp", b"pa xtel", b"tntnl"]),
    Case(Autokey, autokey_model, [b"Lxfopk", b"tm dcgn", b"tjaea"]),
]
each_cipher = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
PLAIN = [b"Attack", b"at dawn", b"again"]


@each_cipher
@given(plain=lines, key=keys)
def test_encrypts_as_the_model_and_decrypts_again(case: Case, plain: list[bytes], key: str) -> None:
    cipher = case.factory(key)
    encrypt, decrypt = cipher.encryptor(), cipher.decryptor()
    coded = [encrypt(body) for body in plain]
    assert coded == case.model(plain, key)
    assert [decrypt(body) for body in coded] == plain


@each_cipher
def test_vectors_are_as_in_the_model(case: Case) -> None:
    for vector in case.factory.vectors:
        assert isinstance(vector, Vector)
        key = vector.options.removeprefix("key=")
        plain = vector.plaintext.encode().split(b"\n")
        assert case.model(plain, key) == vector.ciphertext.encode().split(b"\n")


@pytest.mark.parametrize("size", [253, 254, 255, 256, 508, 509, 65_536])
@pytest.mark.parametrize("key", ["Z", "LEMON", "Kasiski" * 40])
@pytest.mark.parametrize("word", [b"Z", b"a", b"\xff", b"it's \0 7"])
@each_cipher
def test_long_lines_are_as_the_model_has_them(case: Case, size: int, key: str, word: bytes) -> None:
    # 254 bytes are looked up at a time; 65,536 is the longest line there is.
    plain = [(word * size)[:size], b"then"]
    encrypt, decrypt = case.factory(key).encryptor(), case.factory(key).decryptor()
    coded = [encrypt(body) for body in plain]
    assert coded == case.model(plain, key)
    assert [decrypt(body) for body in coded] == plain


@pytest.mark.parametrize("length", [1, 2, 127, 128, 253, 254, 255, 256, 257, 1000])
@each_cipher
def test_keys_of_every_length_go_round(case: Case, length: int) -> None:
    key = (ALPHABET[::-1] * 40)[:length]
    plain = [b"a" * (length - 1), b"bc", b"d" * 300, b"e" * length, b"f" * 254]
    encrypt, decrypt = case.factory(key).encryptor(), case.factory(key).decryptor()
    coded = [encrypt(body) for body in plain]
    assert coded == case.model(plain, key)
    assert [decrypt(body) for body in coded] == plain


@pytest.mark.parametrize("body", ["", "ß", "éÉ", "0123 @[`{", "\x00\x7f", "\udcff\udcc3"])
@each_cipher
def test_what_is_no_ascii_letter_stays_and_uses_up_no_key(case: Case, body: str) -> None:
    other = body.encode(errors="surrogateescape")
    cipher = case.factory("LEMON")
    for transform in (cipher.encryptor(), cipher.decryptor()):
        assert transform(other) == other
    encrypt = cipher.encryptor()
    assert [encrypt(other), encrypt(PLAIN[0])] == [other, case.coded[0]]


@each_cipher
def test_key_runs_on_from_line_to_line(case: Case) -> None:
    session = Session(case.factory("LEMON"), reply=ReplyMode.CIPHER)
    assert session.receive(b"Attack\nat ") == case.coded[0] + b"\n"
    assert session.receive(b"dawn\nagain\n") == b"\n".join([*case.coded[1:], b""])


@each_cipher
def test_every_line_starts_afresh_if_asked_to(case: Case) -> None:
    session = Session(case.factory("LEMON"), reply=ReplyMode.CIPHER, reset=StateScope.LINE)
    coded = case.coded[0]
    assert session.receive(b"Attack\nAttack\r\n\nAtt") == coded + b"\n" + coded + b"\r\n\n"
    assert session.end() == coded[:3] + b"\n"


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@each_cipher
def test_connections_do_not_touch_each_other(case: Case, turned: bool) -> None:
    cipher = inverse(case.factory("LEMON")) if turned else case.factory("LEMON")
    sent, coded = (case.coded, PLAIN) if turned else (PLAIN, case.coded)
    one, other = Session(cipher, reply=ReplyMode.CIPHER), Session(cipher, reply=ReplyMode.CIPHER)
    for line, reply in zip(sent, coded, strict=True):
        assert one.receive(line + b"\n") == reply + b"\n"
        assert other.receive(line + b"\n") == reply + b"\n"
    # A third connection starts when the others are ahead of it.
    late = Session(cipher, reply=ReplyMode.CIPHER)
    assert late.receive(sent[0] + b"\n") == coded[0] + b"\n"


@each_cipher
@given(sent=st.binary(max_size=400), key=keys, data=st.data())
def test_any_chunking_gives_the_same_bytes(
    case: Case, sent: bytes, key: str, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(sent)))
    whole, cut_up = Session(case.factory(key)), Session(case.factory(key))
    expected = whole.receive(sent) + whole.end()
    assert cut_up.receive(sent[:cut]) + cut_up.receive(sent[cut:]) + cut_up.end() == expected


@each_cipher
@given(plain=lines, key=keys)
def test_chain_with_rot13_goes_there_and_back(case: Case, plain: list[bytes], key: str) -> None:
    both = chain([case.factory(key), Rot13()])
    there, back = (Session(cipher, reply=ReplyMode.CIPHER) for cipher in (both, inverse(both)))
    sent = b"".join(body + b"\r\n" for body in plain)
    coded = there.receive(sent)
    rot13_of_the_model = [body.translate(Rot13.table) for body in case.model(plain, key)]
    assert coded == b"".join(body + b"\r\n" for body in rot13_of_the_model)
    assert back.receive(coded) == sent


class NoDigits:
    """Rejects a line with a digit; it follows a cipher that keeps state."""

    def encrypt(self, body: bytes) -> bytes:
        if any(byte in b"0123456789" for byte in body):
            raise InputError("got a digit, expected none")
        return body


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@each_cipher
def test_line_that_a_later_cipher_rejects_leaves_no_trace(case: Case, turned: bool) -> None:
    cipher = inverse(case.factory("LEMON")) if turned else case.factory("LEMON")
    sent, coded = (case.coded, PLAIN) if turned else (PLAIN, case.coded)
    session = Session(chain([cipher, NoDigits()]), reply=ReplyMode.CIPHER)
    assert session.receive(sent[0] + b"\n") == coded[0] + b"\n"
    assert session.receive(b"2 late\n").startswith(b"!error: ")
    assert session.receive(sent[1] + b"\n") == coded[1] + b"\n"


@pytest.mark.parametrize("turned", [False, True], ids=["encrypting", "decrypting"])
@each_cipher
def test_copy_of_a_transform_goes_its_own_way(case: Case, turned: bool) -> None:
    cipher = case.factory("LEMON")
    transform = cipher.decryptor() if turned else cipher.encryptor()
    sent, coded = (case.coded, PLAIN) if turned else (PLAIN, case.coded)
    transform(sent[0])
    copied = copy.deepcopy(transform)
    assert copied(sent[1]) == coded[1]
    assert transform(sent[1]) == coded[1]


@pytest.mark.parametrize("options", ["LEMON", "key=LEMON", "'LEMON'"])
@each_cipher
def test_key_is_read(case: Case, options: str) -> None:
    assert Registry().load(parse(f"{case.name}:{options}")) == case.factory("LEMON")


@each_cipher
@given(key=keys)
def test_key_may_have_either_case(case: Case, key: str) -> None:
    plain = b"The quick brown fox"
    small, capital = case.factory(key.lower()), case.factory(key.upper())
    assert small.encryptor()(plain) == capital.encryptor()(plain)


@each_cipher
@given(key=st.text())
@example(key="")
@example(key="LEMON TREE")
@example(key="Ärger")
@example(key="\N{LATIN SMALL LETTER LONG S}")  # its capital is S
@example(key="LEMON\n")
def test_other_keys_are_refused(case: Case, key: str) -> None:
    if key and set(key) <= set(string.ascii_letters):
        return
    with pytest.raises(OptionError) as refusal:
        case.factory(key)
    assert (refusal.value.option, refusal.value.given) == ("key", key)
    assert refusal.value.expected == "one or more letters A-Z"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("", "option key is missing, expected text (one or more letters A-Z"),
        (":4711", "option key: got '4711', expected one or more letters A-Z"),
        (':""', "option key: got '', expected one or more letters A-Z"),
        (":keys=LEMON", "got unknown option keys; did you mean key?"),
    ],
)
@each_cipher
def test_bad_option_is_named(case: Case, options: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(case.name + options))
    assert problem in str(refusal.value)


@each_cipher
def test_option_is_explained(case: Case) -> None:
    (key,) = options_of(case.factory)
    assert (key.name, key.required) == ("key", True)
    assert key.help.startswith("one or more letters A-Z")


def test_slides_turn_at_their_own_length() -> None:
    # Three letters are a slide of their own; with key 0 the other 23 stay.
    tableau = Tableau(("ABC", "ABC"), (ALPHABET[3:], ALPHABET[3:]))
    encrypt = RepeatingKey(tableau, bytes([2, 0, 1]))
    assert encrypt(b"AaA, CzC") == b"CaB, BzA"


@given(keys)
def test_numbers_of_a_key_count_from_a(key: str) -> None:
    assert [string.ascii_lowercase[number] for number in numbers_of(key)] == list(key.lower())
