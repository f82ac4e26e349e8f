"""Ciphers made of ciphers: what a chain and an inverse do, and when there is none."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherecho.cipher import Cipher, InputError, Transform, letter_table
from cipherecho.ciphers.coder import Coder, CodingError
from cipherecho.ciphers.composition import NoInverseError, chain, inverse
from cipherecho.ciphers.shapes import NotACipherError, table_of
from cipherecho.rot13 import Rot13
from tests.helpers.ciphers import (
    RETURNING,
    Caesar,
    Doubled,
    NoTransform,
    Numbered,
    NumberedByGenerator,
    NumberedInClosure,
    NumberedReverse,
    Picky,
    Progressive,
    Reverse,
    StatelessCaesar,
)

IDENTITY = bytes(range(256))


def codes(cipher: Cipher, *bodies: bytes) -> list[bytes]:
    """Return the codes of `bodies` as the lines of one connection."""
    coder = Coder(cipher, inf)
    return [coder.code(body, b"\r\n") for body in bodies]


def outcomes(cipher: Cipher, *bodies: bytes) -> list[bytes | type[InputError]]:
    """Return the same, with `InputError` for a line that is rejected."""
    coder = Coder(cipher, inf)
    found: list[bytes | type[InputError]] = []
    for body in bodies:
        try:
            found.append(coder.code(body, b"\r\n"))
        except InputError:
            found.append(InputError)
    return found


# Chains.


def test_the_ciphers_of_a_chain_are_applied_from_left_to_right() -> None:
    assert codes(chain([Numbered(), Reverse()]), b"abc") == [b"cba 1"]
    assert codes(chain([Reverse(), Numbered()]), b"abc") == [b"1 cba"]


def test_a_chain_takes_its_ciphers_from_any_iterable() -> None:
    ciphers: list[Cipher] = [Numbered(), Reverse()]
    assert codes(chain(iter(ciphers)), b"abc") == [b"cba 1"]


def test_the_state_of_every_stage_runs_from_line_to_line() -> None:
    cipher = chain([Numbered(), Progressive(), Numbered()])
    assert codes(cipher, b"aa", b"aa") == [b"1 1 ab", b"2 2 cd"]


def test_a_cipher_that_stands_twice_in_a_chain_has_two_states() -> None:
    numbered = Numbered()
    assert codes(chain([numbered, Picky(), numbered]), b"a", b"b") == [b"1 1 a", b"2 2 b"]


def test_every_connection_of_a_chain_has_a_state_of_its_own() -> None:
    cipher = chain([Numbered(), Reverse()])
    assert codes(cipher, b"a", b"b") == codes(cipher, b"a", b"b") == [b"a 1", b"b 2"]


def test_a_chain_of_one_is_that_cipher() -> None:
    for cipher in (Reverse(), Numbered()):
        assert chain([cipher]) is cipher


@pytest.mark.parametrize("nothing", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_a_chain_of_nothing_is_refused(nothing: Iterable[Cipher]) -> None:
    with pytest.raises(ValueError, match="got no ciphers, expected at least one"):
        chain(nothing)


def test_what_is_no_cipher_is_refused_as_a_stage() -> None:
    with pytest.raises(NotACipherError, match="got an object of type object"):
        chain([Caesar(), object()])  # type: ignore[list-item]


def test_a_chain_in_a_chain_is_as_good_as_its_stages() -> None:
    nested: Any = chain([Numbered(), chain([chain([Reverse(), Picky()]), Caesar()]), Progressive()])
    flat: Any = chain([Numbered(), Reverse(), Picky(), Caesar(), Progressive()])
    assert [type(stage) for stage in nested.stages] == [type(stage) for stage in flat.stages]
    bodies = (b"abc", b"x", b"", b"abc")
    assert outcomes(nested, *bodies) == outcomes(flat, *bodies)


def test_a_stage_sees_what_the_stage_before_made() -> None:
    assert outcomes(chain([Caesar(), Picky()]), b"x", b"u") == [b"a", InputError]


# Tables become one.


def test_a_chain_of_tables_is_one_table() -> None:
    atbash = letter_table("ZYXWVUTSRQPONMLKJIHGFEDCBA")

    class Atbash:
        table = atbash

    fused = table_of(chain([Caesar(), Atbash(), Caesar()]))
    assert fused == IDENTITY.translate(Caesar.table).translate(atbash).translate(Caesar.table)
    # The order tells: a to d to w, and a to z to c.
    assert b"a".translate(table_of(chain([Caesar(), Atbash()]))) == b"w"
    assert b"a".translate(table_of(chain([Atbash(), Caesar()]))) == b"c"


def test_rot13_twice_changes_nothing() -> None:
    assert table_of(chain([Rot13(), Rot13()])) == IDENTITY


def test_neighbouring_tables_are_fused_wherever_they_stand() -> None:
    """Also those that become neighbours when a chain is unpacked."""
    inner = chain([Caesar(), Reverse(), Picky(), Caesar()])
    cipher: Any = chain([Rot13(), inner, Rot13(), Picky()])
    shapes = [table_of(stage) is not None for stage in cipher.stages]
    assert shapes == [True, False, False, True, False]
    assert codes(cipher, b"abc") == [b"ihg"]  # 32 places on, which is 6, and backwards


def test_tables_on_either_side_of_another_cipher_stay_apart() -> None:
    cipher: Any = chain([Caesar(), Progressive(), Caesar()])
    assert len(cipher.stages) == 3
    assert codes(cipher, b"aa", b"aa") == [b"gh", b"ij"]


@given(st.lists(st.permutations("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), min_size=1, max_size=4), st.binary())
def test_a_fused_table_does_what_its_tables_do_one_after_the_other(
    alphabets: list[list[str]], data: bytes
) -> None:
    class Alphabet:
        def __init__(self, letters: list[str]) -> None:
            self.table = letter_table("".join(letters))

    one_by_one = data
    for letters in alphabets:
        one_by_one = one_by_one.translate(Alphabet(letters).table)
    assert data.translate(table_of(chain(map(Alphabet, alphabets)))) == one_by_one


# A rejected line leaves no trace.


@pytest.mark.parametrize(
    ("stages", "rejected"),
    [
        ([Numbered(), Picky()], b"x"),
        ([Numbered(), Progressive(), Picky()], b"u"),  # 3 letters came before it
        ([Numbered(), Picky(), Numbered()], b"x"),
        ([Picky(), Numbered()], b"x"),
        ([Numbered(), Caesar(), Reverse(), Picky(), Numbered(), inverse(Numbered())], b"u"),
    ],
    ids=["before", "two before", "around", "after", "among many"],
)
def test_a_rejected_line_leaves_no_trace_in_any_stage(stages: list[Any], rejected: bytes) -> None:
    """WIRE, wrong 1: the other lines are coded as if it had never come."""
    first, last = codes(chain(stages), b"abc", b"def")
    assert outcomes(chain(stages), b"abc", rejected, rejected, b"def") == [
        first,
        InputError,
        InputError,
        last,
    ]


@given(
    st.permutations([Numbered(), Progressive(), Picky(), Caesar(), Reverse(), inverse(Numbered())]),
    st.lists(st.sampled_from([b"a", b"x", b"1 a", b"2 a", b"bcd", b"a\rx", b"1 bx", b""])),
)
@settings(max_examples=3 * settings().max_examples)
def test_rejected_lines_could_as_well_not_have_come(stages: list[Any], bodies: list[bytes]) -> None:
    """WIRE, wrong 1, for chains in which several stages reject."""
    found = outcomes(chain(stages), *bodies)
    accepted = [body for body, code in zip(bodies, found, strict=True) if code is not InputError]
    assert codes(chain(stages), *accepted) == [code for code in found if code is not InputError]


@pytest.mark.parametrize(
    "numbered", [NumberedInClosure(), NumberedByGenerator()], ids=["closure", "generator"]
)
def test_state_that_cannot_be_copied_cannot_be_taken_back(numbered: Cipher) -> None:
    """WIRE, wrong 2: the connection ends, rather than go on out of step."""
    coder = Coder(chain([Progressive(), numbered, Picky()]), inf)
    assert coder.code(b"aa", b"\n") == b"1 ab"
    with pytest.raises(CodingError, match="keep it in attributes") as failure:
        coder.code(b"v", b"\n")  # which becomes an x
    assert isinstance(failure.value.__cause__, InputError)
    assert "expected a line without x" in str(failure.value.__cause__)


@pytest.mark.parametrize(
    "numbered", [NumberedInClosure(), NumberedByGenerator()], ids=["closure", "generator"]
)
def test_state_behind_the_stage_that_rejects_needs_no_way_back(numbered: Cipher) -> None:
    for last in (Caesar(), chain([Picky(), Caesar()])):
        cipher = chain([Picky(), numbered, last])
        assert outcomes(cipher, b"a", b"x", b"b") == [b"1 d", InputError, b"2 e"]


def test_a_stage_that_rejects_has_not_moved_on_and_needs_no_way_back() -> None:
    class PickyInClosure:
        def encryptor(self) -> Transform:
            picky = Picky()
            return lambda body: picky.encrypt(body)

    cipher = chain([Numbered(), PickyInClosure(), Reverse()])
    assert outcomes(cipher, b"a", b"x", b"b") == [b"a 1", InputError, b"b 2"]


def test_a_stage_that_breaks_the_contract_is_found_at_once() -> None:
    """WIRE, wrong 2: what the next stages would make of it does not matter."""
    for faulty in RETURNING.values():
        if faulty is not RETURNING["more than a line may have"]:
            with pytest.raises(CodingError):
                codes(chain([faulty, Doubled()]), b"!")


def test_a_stage_without_a_transform_fails_the_whole_chain() -> None:
    with pytest.raises(OSError, match="no entropy"):
        codes(chain([Caesar(), NoTransform()]), b"a")


# Inverses.

INVERTIBLE: dict[str, Cipher] = {
    "table": Caesar(),
    "stateless": Reverse(),
    "stateful": Numbered(),
    "stateful, a method": Progressive(),
    "chain of tables": chain([Caesar(), Rot13()]),
    "chain": chain([Numbered(), Caesar(), Progressive(), Reverse(), Numbered(), Caesar()]),
    "chain of inverses": chain([inverse(Progressive()), Picky(), inverse(Caesar())]),
}
BODIES = st.lists(
    st.lists(st.sampled_from([b"a", b"w", b"B", b" ", b"\r", b"7", b"\xff"])).map(b"".join)
)


@pytest.mark.parametrize("name", INVERTIBLE)
@given(bodies=BODIES)
def test_an_inverse_gives_back_every_line(name: str, bodies: list[bytes]) -> None:
    cipher = INVERTIBLE[name]
    accepted = [
        (body, code)
        for body, code in zip(bodies, outcomes(cipher, *bodies), strict=True)
        if isinstance(code, bytes)
    ]
    assert codes(inverse(cipher), *(code for _, code in accepted)) == [body for body, _ in accepted]


@pytest.mark.parametrize("name", INVERTIBLE)
@given(bodies=BODIES)
def test_the_inverse_of_an_inverse_is_the_cipher(name: str, bodies: list[bytes]) -> None:
    cipher = INVERTIBLE[name]
    assert outcomes(inverse(inverse(cipher)), *bodies) == outcomes(cipher, *bodies)


def test_the_inverse_of_an_inverse_is_not_wrapped_twice() -> None:
    for cipher in (Reverse(), Numbered()):
        assert inverse(inverse(cipher)) is cipher


def test_the_inverse_of_a_table_is_a_table() -> None:
    table = table_of(inverse(Caesar()))
    assert table is not None
    assert Caesar.table.translate(table) == table.translate(Caesar.table) == IDENTITY
    assert b"Dwwdfn!".translate(table) == b"Attack!"


def test_the_inverse_of_a_chain_runs_backwards() -> None:
    cipher = chain([Numbered(), Reverse(), Caesar()])
    assert codes(cipher, b"abc", b"def") == [b"fed 1", b"ihg 2"]
    assert codes(inverse(cipher), b"fed 1", b"ihg 2") == [b"abc", b"def"]


def test_an_inverse_keeps_its_shape() -> None:
    """A stateless inverse in a chain needs no copies, and a stateful one keeps its state."""
    assert codes(chain([inverse(Numbered()), inverse(Reverse())]), b"1 ab", b"2 cd") == [
        b"ba",
        b"dc",
    ]
    assert outcomes(inverse(Numbered()), b"1 a", b"3 c", b"2 b") == [b"a", InputError, b"b"]


class OnlyEncryptor:
    def encryptor(self) -> Transform:
        return bytes.swapcase


class AsymmetricStateless:
    """What decrypts a stateful cipher does not decrypt a stateless one."""

    def encrypt(self, body: bytes) -> bytes:
        return body

    def decryptor(self) -> Transform:
        return bytes.swapcase


@pytest.mark.parametrize(
    "cipher",
    [
        Doubled(),
        OnlyEncryptor(),
        NumberedReverse(),
        AsymmetricStateless(),
        StatelessCaesar(),
    ],
    ids=lambda cipher: type(cipher).__name__,
)
@pytest.mark.parametrize("around", [[], [Caesar()], [Numbered()]], ids=["alone", "table", "more"])
def test_a_cipher_that_can_only_encrypt_has_no_inverse_and_is_named(
    cipher: Cipher, around: list[Cipher]
) -> None:
    with pytest.raises(NoInverseError) as refusal:
        inverse(chain([*around, cipher, *around]))
    assert str(refusal.value) == f"{type(cipher).__name__} can only encrypt"


def test_what_is_no_cipher_has_no_inverse_either() -> None:
    with pytest.raises(NotACipherError):
        inverse(object())  # type: ignore[arg-type]
