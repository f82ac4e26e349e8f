"""Solitaire against a model that plays card by card, and against Schneier's vectors."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.cipher import OptionError
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho_machines.solitaire import Solitaire

LETTERS = string.ascii_uppercase

texts = st.text(LETTERS, max_size=100)
keys = st.text(LETTERS, max_size=60)


class Model:
    """A deck of numbers and the letters A and B, moved one card at a time."""

    def __init__(self, key: str) -> None:
        self.cards: list[int | str] = [*range(1, 53), "A", "B"]
        for letter in key:
            self.shuffle()
            self.cut(LETTERS.index(letter) + 1)

    def down(self, joker: str) -> None:
        """Move a joker one card down; the deck is a ring, but a joker never comes first."""
        place = self.cards.index(joker)
        if place == 53:
            self.cards.insert(0, self.cards.pop())
            place = 0
        self.cards[place], self.cards[place + 1] = self.cards[place + 1], joker

    def cut(self, count: int) -> None:
        last = self.cards.pop()
        for _ in range(count):
            self.cards.append(self.cards.pop(0))
        self.cards.append(last)

    def shuffle(self) -> None:
        self.down("A")
        self.down("B")
        self.down("B")
        one, other = sorted([self.cards.index("A"), self.cards.index("B")])
        above, between, below = (
            self.cards[:one],
            self.cards[one : other + 1],
            self.cards[other + 1 :],
        )
        self.cards = below + between + above
        self.cut(self.value(self.cards[-1]))

    @staticmethod
    def value(card: int | str) -> int:
        return card if isinstance(card, int) else 53

    def draw(self) -> int:
        while True:
            self.shuffle()
            card = self.cards[self.value(self.cards[0])]
            if isinstance(card, int):
                return card

    def encrypt(self, text: str) -> str:
        return "".join(LETTERS[(LETTERS.index(letter) + self.draw()) % 26] for letter in text)


@given(texts, keys)
def test_encrypts_as_the_model_and_decrypts_again(text: str, key: str) -> None:
    cipher = Solitaire(key)
    coded = cipher.encryptor()(text.encode())
    assert coded.decode() == Model(key).encrypt(text)
    assert cipher.decryptor()(coded).decode() == text


def test_long_text_is_as_the_model_has_it() -> None:
    # Long enough that the jokers have been in every place, the last ones too.
    text = "A" * 5000
    assert Solitaire("").encryptor()(text.encode()).decode() == Model("").encrypt(text)


@pytest.mark.parametrize(
    ("key", "plaintext", "ciphertext"),
    [
        # From https://www.schneier.com/code/sol-test.txt, without the cipher's own vectors.
        ("f", "AAAAAAAAAAAAAAA", "XYIUQ BMHKK JBEGY"),
        ("fo", "AAAAAAAAAAAAAAA", "TUJYM BERLG XNDIW"),
        ("a", "AAAAAAAAAAAAAAA", "XODAL GSCUL IQNSC"),
        ("aa", "AAAAAAAAAAAAAAA", "OHGWM XXCAI MCIQP"),
        ("b", "AAAAAAAAAAAAAAA", "XQEEM OITLZ VDSQS"),
        ("bc", "AAAAAAAAAAAAAAA", "QNGRK QIHCL GWSCE"),
    ],
)
def test_vector_of_schneier_holds(key: str, plaintext: str, ciphertext: str) -> None:
    coded = Solitaire(key).encryptor()(plaintext.encode())
    assert coded.decode() == ciphertext.replace(" ", "")


@given(texts, keys)
def test_case_and_spaces_of_the_key_do_not_count(text: str, key: str) -> None:
    spaced = key and f" {key[:3].lower()}  {key[3:]}"
    coded = Solitaire(spaced).encryptor()(text.encode())
    assert coded == Solitaire(key).encryptor()(text.encode())


@pytest.mark.parametrize("text", ['solitaire:""', "solitaire:key=", "solitaire:key=''"])
def test_empty_key_is_the_deck_in_its_order(text: str) -> None:
    assert Registry().load(parse(text)) == Solitaire("")


@pytest.mark.parametrize(
    "key",
    [" ", "FOO1", "don't", "Ärger", "\N{LATIN SMALL LETTER LONG S}", "FOO\n", "FOO\tBAR"],
)
def test_other_keys_are_refused(key: str) -> None:
    # Refused rather than skipped: skipped characters would seem to make a key stronger.
    with pytest.raises(OptionError, match="expected a passphrase of letters A-Z") as refusal:
        Solitaire(key)
    assert (refusal.value.option, refusal.value.given) == ("key", key)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("solitaire", "option key is missing, expected text (a passphrase of letters A-Z"),
        ("solitaire:4711", "option key: got '4711', expected a passphrase of letters A-Z"),
        ("solitaire:keys=FOO", "got unknown option keys; did you mean key?"),
    ],
)
def test_bad_option_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert problem in str(refusal.value)


def test_option_is_explained() -> None:
    (key,) = options_of(Solitaire)
    assert (key.name, key.required) == ("key", True)
    assert key.help.startswith("a passphrase of letters A-Z")
