"""Text from strangers: one printable line, whatever it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.printable import printable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 7!", "Größe 7!"),
        ("it's «quoted» 'so' and \"so\"", "it's «quoted» 'so' and \"so\""),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202e\u2066\u200b\ufeff\u00ad", r"\u202e\u2066\u200b\ufeff\xad"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
    ],
    ids=ascii,
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT, st.integers(1, 40))
def test_the_result_is_one_printable_line_of_bounded_length(text: str, longest: int) -> None:
    shown = printable(text, longest)
    assert shown.isprintable()
    assert len(shown) <= longest
    shown.encode()  # no half of a surrogate pair is left


@given(ANY_TEXT)
def test_a_short_text_is_shown_in_full(text: str) -> None:
    assert printable(text, 10 * len(text)) == "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


@given(ANY_TEXT, st.integers(1, 40))
def test_what_is_printable_stays_as_it_is(text: str, longest: int) -> None:
    """So a text can be made printable twice, and cut to its final length at the end."""
    assert printable(printable(text), longest) == printable(text, longest)


def test_a_text_is_cut_after_its_length_and_not_before() -> None:
    assert printable("abcd", 4) == "abcd"
    assert printable("abcde", 4) == "abc…"
    assert printable("a\nbc", 4) == r"a\n…"
    assert printable("abc\n", 4) == "abc…"


def test_the_default_is_a_sentence() -> None:
    assert printable("a" * 300) == "a" * 300
    assert printable("a" * 10_000) == "a" * 299 + "…"
