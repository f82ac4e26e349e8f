"""One line coded: the shapes that a cipher may have, and what one may not do."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from cipherecho.cipher import Cipher, InputError, Transform
from cipherecho.ciphers.coder import Coder, CodingError
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.lines import lines_of
from tests.helpers.ciphers import (
    HUGE,
    RAISING,
    RETURNING,
    Caesar,
    FaultyInBlocks,
    NoTransform,
    Numbered,
    NumberedByGenerator,
    NumberedInBlocks,
    NumberedInClosure,
    NumberedReverse,
    Padded,
    Panic,
    Picky,
    PickyInStretches,
    Progressive,
    ProgressiveInStretches,
    Reverse,
)


def codes(coder: Coder, *bodies: bytes) -> list[bytes]:
    return [coder.code(body, b"\n") for body in bodies]


# Coding, and state.


def test_a_table_is_applied() -> None:
    assert codes(Coder(Caesar(), inf), b"abc", b"") == [b"def", b""]


def test_a_stateless_cipher_is_called() -> None:
    assert codes(Coder(Reverse(), inf), b"abc", b"") == [b"cba", b""]


def test_a_stateful_cipher_goes_on_where_it_was() -> None:
    assert codes(Coder(Numbered(), inf), b"a", b"b") == [b"1 a", b"2 b"]


def test_each_line_afresh_takes_a_new_transform_for_each_line() -> None:
    assert codes(Coder(Numbered(), inf, each_line_afresh=True), b"a", b"b") == [b"1 a", b"1 b"]
    assert codes(Coder(Caesar(), inf, each_line_afresh=True), b"a", b"b") == [b"d", b"e"]
    assert codes(Coder(Reverse(), inf, each_line_afresh=True), b"ab", b"cd") == [b"ba", b"dc"]


def test_two_coders_of_one_cipher_have_a_state_each() -> None:
    cipher = chain([Numbered(), Progressive()])
    first, second = Coder(cipher, inf), Coder(cipher, inf)
    assert codes(first, b"aa", b"aa") == [b"1 ab", b"2 cd"]
    assert codes(second, b"aa", b"aa") == [b"1 ab", b"2 cd"]


def test_a_rejected_line_is_passed_on_and_the_next_is_coded() -> None:
    coder = Coder(chain([Numbered(), Picky()]), inf)
    assert codes(coder, b"a") == [b"1 a"]
    with pytest.raises(InputError, match="expected a line without x"):
        coder.code(b"x", b"\n")
    assert codes(coder, b"b") == [b"2 b"]


# What breaks the contract.


COMPLAINTS = {
    "None": "the cipher returned None, expected bytes",
    "a str": "the cipher returned an object of type str, expected bytes",
    "a bytearray": "the cipher returned an object of type bytearray, expected bytes",
    "a LF": "the cipher returned a LF, expected one line without its ending",
    "a CRLF": "the cipher returned a LF, expected one line without its ending",
    "one CR too many": "the cipher returned a CR that the line did not hold",
    "more than a line may have": (
        f"the cipher returned {HUGE} bytes for a line of 1, expected at most 100"
    ),
}


@pytest.mark.parametrize("name", RETURNING)
def test_a_result_that_is_not_one_line_of_bytes_is_a_coding_error(name: str) -> None:
    """WIRE, wrong 2."""
    coder = Coder(RETURNING[name], 100)
    assert codes(coder, b"a") == [b"a"]
    with pytest.raises(CodingError) as failure:
        coder.code(b"!", b"\n")
    assert str(failure.value) == COMPLAINTS[name]


def test_the_crs_of_a_body_may_move_but_not_multiply() -> None:
    """WIRE, lines 3."""
    assert codes(Coder(Reverse(), inf), b"a\r\rb") == [b"b\r\ra"]
    with pytest.raises(CodingError, match="a CR that the line did not hold"):
        Coder(RETURNING["one CR too many"], inf).code(b"\r!\r", b"\r\n")


def test_exactly_the_longest_is_allowed() -> None:
    assert codes(Coder(Padded(9), 10), b"a") == [b"a" + b"." * 9]
    with pytest.raises(CodingError, match="returned 11 bytes for a line of 2, expected at most 10"):
        Coder(Padded(9), 10).code(b"ab", b"\n")


ERRORS = {
    "an error of the standard library": KeyError,
    "an error of decoding": UnicodeDecodeError,
    "a lack of memory": MemoryError,
    "an exit": SystemExit,
    "what is no Exception": Panic,
}


@pytest.mark.parametrize("name", RAISING)
def test_whatever_else_a_cipher_raises_is_passed_on(name: str) -> None:
    with pytest.raises(ERRORS[name]):
        Coder(RAISING[name], inf).code(b"!", b"\n")


def test_a_cipher_is_asked_for_its_transform_with_the_first_line() -> None:
    coder = Coder(NoTransform(), inf)
    with pytest.raises(OSError, match="no entropy"):
        coder.code(b"", b"\n")


# A CR that would turn the LF after it into a CRLF.


@pytest.mark.parametrize(
    "cipher",
    [
        Reverse(),
        NumberedReverse(),
        chain([Caesar(), Reverse()]),
        chain([Reverse(), Numbered()]),
        chain([Progressive(), NumberedReverse(), Progressive()]),
    ],
    ids=["stateless", "stateful", "chain", "then stateful", "all stateful"],
)
def test_a_line_whose_code_ends_in_cr_before_lf_is_rejected_without_a_trace(cipher: Cipher) -> None:
    """WIRE, lines 3, and wrong 1: what comes after is coded as if it had never come."""
    tried, spared = Coder(cipher, inf), Coder(cipher, inf)
    assert codes(tried, b"abc") == codes(spared, b"abc")
    for _ in range(2):
        with pytest.raises(InputError, match="would end in a CR"):
            tried.code(b"\rabc", b"\n")
    assert codes(tried, b"abc", b"def") == codes(spared, b"abc", b"def")


def test_a_code_that_ends_in_cr_before_crlf_is_allowed() -> None:
    """WIRE, lines 3."""
    assert Coder(NumberedReverse(), inf).code(b"\rabc", b"\r\n") == b"1 cba\r"


def test_a_cr_that_stays_inside_the_line_is_allowed() -> None:
    assert codes(Coder(NumberedReverse(), inf), b"a\rb", b"c") == [b"1 b\ra", b"2 c"]


@pytest.mark.parametrize(
    "numbered", [NumberedInClosure(), NumberedByGenerator()], ids=["closure", "generator"]
)
def test_state_that_cannot_be_copied_is_no_fault_as_long_as_nothing_is_taken_back(
    numbered: Cipher,
) -> None:
    assert codes(Coder(numbered, inf), b"a", b"\rb\rc", b"") == [b"1 a", b"2 \rb\rc", b"3 "]


class NumberedReverseInClosure:
    def encryptor(self) -> Transform:
        numbering = NumberedInClosure().encryptor()
        return lambda body: numbering(body[::-1])


@pytest.mark.parametrize(
    "cipher",
    [
        NumberedReverseInClosure(),
        chain([Reverse(), NumberedInClosure()]),
        chain([Reverse(), NumberedByGenerator()]),
    ],
    ids=["closure", "closure in a chain", "generator in a chain"],
)
def test_state_that_cannot_be_copied_cannot_be_taken_back(cipher: Cipher) -> None:
    """WIRE, wrong 2: the connection ends, rather than go on out of step."""
    coder = Coder(cipher, inf)
    assert codes(coder, b"abc") == [b"1 cba"]
    with pytest.raises(CodingError, match="keep it in attributes") as failure:
        coder.code(b"\rabc", b"\n")
    assert isinstance(failure.value.__cause__, InputError)


def test_a_stateless_cipher_is_never_copied() -> None:
    class Uncopyable(Reverse):
        def __deepcopy__(self, memo: dict[int, object]) -> Any:
            raise TypeError("it holds a lock, say")

    for cipher in (Uncopyable(), chain([Uncopyable(), Numbered()])):
        coder = Coder(cipher, inf)
        with pytest.raises(InputError, match="would end in a CR"):
            coder.code(b"\rabc", b"\n")


def test_state_that_cannot_be_copied_needs_no_copy_if_each_line_starts_afresh() -> None:
    coder = Coder(NumberedReverseInClosure(), inf, each_line_afresh=True)
    with pytest.raises(InputError, match="would end in a CR"):
        coder.code(b"\rabc", b"\n")
    assert codes(coder, b"abc") == [b"1 cba"]


# Many lines at once.


def batch_of(coder: Coder, text: bytes) -> tuple[bytes, dict[int, InputError]] | None:
    """Return the code of whole lines and why some were rejected, if they are coded at once."""
    batch = coder.code_batch(text, lines_of(text))
    if batch is None:
        return None
    assert batch.lines in (None, lines_of(batch.coded))
    return bytes(batch.coded), dict(batch.rejected)


def test_a_table_codes_any_text_at_once() -> None:
    for text in (b"ab\rc\r\nabc\n", b"abc\n" * 1000):
        assert batch_of(Coder(Caesar(), inf), text) == (text.translate(Caesar.table), {})


def test_a_stretch_is_coded_at_once_and_the_state_goes_on() -> None:
    coder = Coder(ProgressiveInStretches(), inf)
    assert batch_of(coder, b"aa\ra\r\na\n") == (b"ab\rc\r\nd\n", {})
    assert codes(coder, b"a") == [b"e"]


def test_a_stretch_that_fails_leaves_the_state_as_it_was() -> None:
    coder = Coder(chain([ProgressiveInStretches(), PickyInStretches()]), inf)
    assert codes(coder, b"a") == [b"a"]
    assert batch_of(coder, b"a\nv\n") is None
    assert codes(coder, b"a") == [b"b"]


def code_block(coder: Coder, text: bytes) -> tuple[bytes, dict[int, str]]:
    """Return the code of the lines of `text`, and why lines of it were rejected."""
    assert coder.batch_bounds() is not None
    batch = batch_of(coder, text)
    assert batch is not None
    coded, rejected = batch
    assert all(isinstance(reason, InputError) for reason in rejected.values())
    return bytes(coded), {number: str(reason) for number, reason in rejected.items()}


def test_a_block_is_coded_at_once_and_the_state_is_that_of_the_accepted_lines() -> None:
    coder = Coder(NumberedInBlocks(), inf)
    reason = "got b'x', expected a line without x"
    assert code_block(coder, b"a\nx\r\nx\n\r\n") == (b"1 a\n\r\n\n2 \r\n", {1: reason, 2: reason})
    assert codes(coder, b"b") == [b"3 b"]
    assert code_block(coder.fresh(), b"a\nb\n") == (b"1 a\n2 b\n", {})


def test_an_inverse_takes_blocks_as_its_original_does() -> None:
    assert code_block(Coder(inverse(NumberedInBlocks()), inf), b"1 a\n2 b\n") == (b"a\nb\n", {})


@pytest.mark.parametrize(
    "coder",
    [
        Coder(Reverse(), inf),
        Coder(Numbered(), inf),
        Coder(NoTransform(), inf),
        Coder(chain([NumberedInBlocks(), Caesar()]), inf),
        Coder(NumberedInBlocks(), inf, each_line_afresh=True),
    ],
    ids=["stateless", "stateful", "no transform", "chain", "each line afresh"],
)
def test_a_cipher_that_says_nothing_of_many_lines_takes_them_one_by_one(coder: Coder) -> None:
    assert coder.batch_bounds() is None
    assert batch_of(coder, b"a\nb\n") is None


def test_what_has_a_cr_in_a_body_is_no_block() -> None:
    coder = Coder(NumberedInBlocks(), inf)
    assert batch_of(coder, b"a\nb\rc\n") is None
    assert codes(coder, b"a") == [b"1 a"]


ONE_LF = "the cipher returned 3 lines, expected 2"
A_CR = "the cipher returned a CR that the line did not hold"


@pytest.mark.parametrize(
    ("text", "answer", "problem"),
    [
        (b"!\na\n", None, "the cipher returned None, expected a pair"),
        (b"!\na\n", b"!\na\n", "the cipher returned an object of type bytes, expected a pair"),
        (b"!\na\n", (b"!\na\n", {}, {}), "an object of type tuple, expected a pair"),
        (b"!\na\n", ("!\na\n", {}), "the cipher returned an object of type str, expected bytes"),
        (b"!\na\n", (bytearray(b"!\na\n"), {}), "of type bytearray, expected bytes"),
        (b"!\na\n", (b"!\na\nb\n", {}), ONE_LF),
        (b"!\na\n", (b"!\na\nb", {}), ONE_LF),
        (b"!\r\na\r\n", (b"!\r\na\r\nb\r\n", {}), ONE_LF),
        (b"!\na\n", (b"!a\n", {}), "the cipher returned 1 lines, expected 2"),
        (b"!\na\n", (b"", {}), "the cipher returned 0 lines, expected 2"),
        (b"!\na\n", (b"!\na", {}), r"the cipher did not keep the ending b'\n' of a line"),
        (b"!\na\r\n", (b"!\na\n", {}), r"the cipher did not keep the ending b'\r\n' of a line"),
        (b"!\na\r\n", (b"!\r\na\n", {}), A_CR),
        (b"!\na\n", (b"!\r\na\n", {}), A_CR),
        (b"!\na\n", (b"\r!\na\n", {}), A_CR),
        (b"!\r\na\n", (b"\r!\na\n", {}), r"did not keep the ending b'\r\n' of a line"),
        (b"!\r\na\n", (b"\r!\r\na\n", {}), A_CR),
        (b"!\r\na\n", (b"!\r\r\na\n", {}), A_CR),
        (b"!\na\n", (b"12345678901\na\n", {}), "11 bytes for a line of 1, expected at most 10"),
        (
            b"!\na\r\n",
            (b"1\n12345678901\r\n", {}),
            "11 bytes for a line of 1, expected at most 10",
        ),
        (b"!\na\n", (b"\na\n", ["no"]), "of type list for what it rejected, expected a mapping"),
        (b"!\na\n", (b"\n\n", {2: "no"}), "the cipher rejected the line 2, expected one of 2"),
        (b"!\na\n", (b"\n\n", {-1: "no"}), "the cipher rejected the line -1, expected one of 2"),
        (b"!\na\n", (b"\n\n", {"0": "no"}), "the cipher rejected the line '0', expected one of 2"),
        (b"!\na\n", (b"!\na\n", {0: "no"}), "returned a code for a line that it rejected"),
        (b"!\na\n", (b"\na\n", {0: KeyError()}), "gave an object of type KeyError for a reason"),
    ],
)
def test_a_block_whose_code_is_not_its_lines_is_a_coding_error(
    text: bytes, answer: object, problem: str
) -> None:
    """WIRE, wrong 2."""
    coder = Coder(FaultyInBlocks(lambda _: answer), 10)
    assert code_block(coder, b"a\nb\n") == (b"a\nb\n", {})
    with pytest.raises(CodingError) as failure:
        code_block(coder, text)
    assert problem in str(failure.value)


def test_in_a_block_exactly_the_longest_is_allowed() -> None:
    for text in (b"1234567890\n" * 2, b"1234567890\r\n1\n"):
        assert code_block(Coder(FaultyInBlocks(bytes), 10), text) == (text, {})


def test_whatever_is_raised_about_a_block_is_passed_on() -> None:
    for error in (KeyError("alphabet"), InputError("no"), Panic("unreachable")):

        def fault(_: bytes, error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            code_block(Coder(FaultyInBlocks(fault), inf), b"!\na\n")
