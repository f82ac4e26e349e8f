"""How a cipher and its options are written, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cipherecho.ciphers.specification import (
    SelectionError,
    Specification,
    SpecificationError,
    normalized_name,
    parse,
)
from tests.helpers.parsing import check_specification


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The name.
        ("rot13", Specification("rot13")),
        ("  rot13 ", Specification("rot13")),
        ("Rail_Fence", Specification("rail-fence")),
        ("rail.fence", Specification("rail-fence")),
        # The package that it has to be from.
        ("caesar@classics", Specification("caesar", "classics")),
        ("caesar@My_Classics", Specification("caesar", "my-classics")),
        ("caesar@classics:5", Specification("caesar", "classics", "5")),
        ("caesar :5", Specification("caesar", first="5")),
        # A bare first value.
        ("caesar:5", Specification("caesar", first="5")),
        ("caesar:-5", Specification("caesar", first="-5")),
        ("vigenere:Lemon", Specification("vigenere", first="Lemon")),
        ("url:http://host:80/", Specification("url", first="http://host:80/")),
        ("caesar:user@host", Specification("caesar", first="user@host")),
        # Options by name.
        ("caesar:shift=5", Specification("caesar", options=(("shift", "5"),))),
        ("caesar:5,keep=no", Specification("caesar", first="5", options=(("keep", "no"),))),
        ("a:c=1,b=2", Specification("a", options=(("c", "1"), ("b", "2")))),
        ("a:Key_Word=1", Specification("a", options=(("key-word", "1"),))),
        ("a:b=1, c=2", Specification("a", options=(("b", "1"), ("c", "2")))),
        ("a:b=", Specification("a", options=(("b", ""),))),
        ("a:b=c=d", Specification("a", options=(("b", "c=d"),))),
        # Values keep their case and their spaces.
        ("a: B ", Specification("a", first=" B ")),
        ("enigma:rotors=I II", Specification("enigma", options=(("rotors", "I II"),))),
        # Quotes, of either kind, anywhere in a value.
        ('a:"b,c"', Specification("a", first="b,c")),
        ("a:'b,c'", Specification("a", first="b,c")),
        ("a:'b=c'", Specification("a", first="b=c")),
        ("a:''", Specification("a", first="")),
        ('a:"it\'s"', Specification("a", first="it's")),
        ("a:b'c, 'd", Specification("a", first="bc, d")),
        ('a:"b\nc"', Specification("a", first="b\nc")),
        (
            'enigma:rotors="I II III",start=AAA',
            Specification("enigma", options=(("rotors", "I II III"), ("start", "AAA"))),
        ),
        # A backslash, inside quotes and outside.
        (r"a:b\,c", Specification("a", first="b,c")),
        (r"a:b\=c", Specification("a", first="b=c")),
        (r"a:\"", Specification("a", first='"')),
        (r"a:\\", Specification("a", first="\\")),
        (r"a:\n", Specification("a", first="n")),
        (r"a:'\''", Specification("a", first="'")),
        (r'a:"\\\""', Specification("a", first='\\"')),
    ],
)
def test_text_stands_for(text: str, expected: Specification) -> None:
    assert parse(text) == expected


EMPTY = "expected a name first, such as rot13 or caesar:5"
NO_PACKAGE = "expected the name of a package after '@'"
NO_OPTIONS = "expected options after ':', or no ':'"
NO_OPTION = "expected an option before and after each comma"
NO_NAME = "expected the name of an option before '='"
NO_QUOTE = "expected a closing quote"
NO_ESCAPED = "expected a character after the \\"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # An empty name.
        ("", EMPTY),
        (" ", EMPTY),
        (":5", EMPTY),
        ("@classics", EMPTY),
        # An empty package.
        ("caesar@", NO_PACKAGE),
        ("caesar@ :5", NO_PACKAGE),
        # A trailing colon.
        ("caesar:", NO_OPTIONS),
        ("caesar@classics:", NO_OPTIONS),
        # A comma with nothing before or after it.
        ("caesar:5,", NO_OPTION),
        ("caesar:,", NO_OPTION),
        ("caesar:,shift=5", NO_OPTION),
        ("caesar:shift=5,", NO_OPTION),
        ("caesar:5,,keep=no", NO_OPTION),
        # A value without a name that is not the first.
        (
            "caesar:5,6",
            "expected NAME=VALUE, got '6': only the first value can go without its name "
            "(a comma inside a value is written \\,)",
        ),
        (
            "caesar:shift=5,''",
            "expected NAME=VALUE, got '': only the first value can go without its name "
            "(a comma inside a value is written \\,)",
        ),
        # An option without a name.
        ("caesar:=5", NO_NAME),
        ("caesar: =5", NO_NAME),
        ("caesar:''=5", NO_NAME),
        # An option that is given twice, however it is written.
        ("caesar:shift=5,shift=5", "option shift is given twice"),
        ("a:key-word=b,c=d,Key_Word=e", "option key-word is given twice"),
        # A quote that is not closed, a backslash at the end.
        ('a:"b', NO_QUOTE),
        ("a:b='c", NO_QUOTE),
        ("a:'b\"", NO_QUOTE),
        (r"a:'b\'", NO_QUOTE),
        ("a:b\\", NO_ESCAPED),
    ],
)
def test_text_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SpecificationError) as refusal:
        parse(text)
    assert str(refusal.value) == f"cipher {text!r}: {problem}"
    assert refusal.value.text == text


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("vigenere=LEMON", "vigenere:LEMON"),
        ("vigenere(LEMON)", "vigenere:LEMON"),
        ("vigenere?key=LEMON", "vigenere:key=LEMON"),
        ("caesar 5", "caesar:5"),
        ("caesar = 5", "caesar:5"),
        ("caesar,5", "caesar:5"),
        ("caesar,", "caesar"),
        ("affine=5,b=8", "affine:5,b=8"),
        ("caesar:", "caesar"),
    ],
)
def test_other_separators_are_refused_with_what_to_type(text: str, instead: str) -> None:
    with pytest.raises(SpecificationError) as refusal:
        parse(text)
    assert refusal.value.instead == instead
    parse(instead)


@pytest.mark.parametrize("text", ["rot13,caesar:5", "rot13|caesar", "a + b", "a>b"])
def test_a_chain_is_no_specification(text: str) -> None:
    with pytest.raises(SpecificationError, match="for a chain, repeat the option"):
        parse(text)


def test_a_refused_specification_is_a_selection_that_failed() -> None:
    assert issubclass(SpecificationError, SelectionError)


@pytest.mark.parametrize(
    ("specification", "text"),
    [
        (Specification("rot13"), "rot13"),
        (Specification("caesar", "classics", "5"), "caesar@classics:5"),
        (Specification("a", first="", options=(("b", ""),)), 'a:"",b=""'),
        (Specification("a", first="b c"), 'a:"b c"'),
        (Specification("a", first="b,c=d"), 'a:"b,c=d"'),
        (Specification("a", first='"\\'), r'a:"\"\\"'),
        (Specification("a", first="it's"), 'a:"it\'s"'),
        # Nothing can have an option of such a name, but an error quotes it.
        (Specification("a", options=(("b,c", "d"),)), 'a:"b,c"=d'),
    ],
)
def test_a_specification_is_shown_as_it_would_be_written(
    specification: Specification, text: str
) -> None:
    assert str(specification) == text
    assert parse(text) == specification


# Letters, and everything that means something in a specification.
TELLING_TEXT = st.text(alphabet="aB1:=,@\\\"' \t\n_.-Éİ")


@given(text=st.text() | TELLING_TEXT | TELLING_TEXT.map("a:".__add__))
@example(text='a:"b,c"=5')
@example(text="a:'b c'=5")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    check_specification(text)


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1)
NAMES = st.lists(WORDS, min_size=1).map("-".join)
VALUES = st.text() | TELLING_TEXT


@given(
    specification=st.builds(
        Specification,
        name=NAMES,
        distribution=st.none() | NAMES,
        first=st.none() | VALUES,
        options=st.dictionaries(NAMES, VALUES).map(dict.items).map(tuple),
    )
)
def test_what_a_specification_is_shown_as_parses_to_it(specification: Specification) -> None:
    assert parse(str(specification)) == specification


@given(name=st.text())
def test_folding_twice_is_folding_once(name: str) -> None:
    assert normalized_name(normalized_name(name)) == normalized_name(name)
