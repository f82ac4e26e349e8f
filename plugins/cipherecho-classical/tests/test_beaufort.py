"""What only the Beaufort cipher does; the rest is in test_polyalphabetic.py."""

import string

from hypothesis import given
from hypothesis import strategies as st

from cipherecho.ciphers.composition import chain, inverse
from cipherecho.session import ReplyMode, Session
from cipherecho_classical.atbash import Atbash
from cipherecho_classical.beaufort import Beaufort
from cipherecho_classical.caesar import Caesar
from cipherecho_classical.vigenere import Vigenere

keys = st.text(string.ascii_letters, min_size=1, max_size=300)


@given(st.binary(), keys)
def test_encrypting_again_decrypts(body: bytes, key: str) -> None:
    there, back = Beaufort(key).encryptor(), Beaufort(key).encryptor()
    assert back(there(body)) == body


@given(st.binary(), keys)
def test_is_vigenere_after_atbash_and_one_more_place(sent: bytes, key: str) -> None:
    # Key minus letter is key plus (25 minus letter) plus 1.
    other_way = chain([Atbash(), Caesar(1), Vigenere(key)])
    direct, detour = (Session(one, reply=ReplyMode.CIPHER) for one in (Beaufort(key), other_way))
    assert direct.receive(sent + b"\n") == detour.receive(sent + b"\n")


def test_letter_under_itself_is_a() -> None:
    assert Beaufort("Lemon").encryptor()(b"LEMON, lemon") == b"AAAAA, aaaaa"


def test_inverse_starts_at_the_first_letter_of_the_key() -> None:
    session = Session(inverse(Beaufort("LEMON")), reply=ReplyMode.CIPHER)
    assert session.receive(b"Lltolb\net lnpr\n") == b"Attack\nat dawn\n"
