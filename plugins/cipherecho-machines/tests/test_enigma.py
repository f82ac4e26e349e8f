"""The Enigma against another simulator, and its rotors against published sequences."""

import string
from itertools import pairwise

import pytest
from enigma.machine import EnigmaMachine
from enigma.rotors.rotor import Rotor
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cipherecho.cipher import OptionError
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho_machines.enigma import Enigma

ROTORS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
LETTERS = string.ascii_uppercase

texts = st.text(LETTERS, max_size=200)


def plugs_of(most: int) -> st.SearchStrategy[str]:
    return st.builds(
        lambda letters, pairs: " ".join(letters[2 * i] + letters[2 * i + 1] for i in range(pairs)),
        st.permutations(LETTERS),
        st.integers(0, most),
    )


@st.composite
def settings_of_a_machine(draw: st.DrawFn, most_plugs: int = 13) -> dict[str, str]:
    """Draw the options of an Enigma I, an M3 or an M4."""
    model = draw(st.sampled_from(["Enigma I", "M3", "M4"]))
    rotors = draw(st.permutations(ROTORS[:5] if model == "Enigma I" else ROTORS))[:3]
    if model == "M4":
        rotors = [draw(st.sampled_from(["Beta", "Gamma"])), *rotors]
    letters = st.text(LETTERS, min_size=len(rotors), max_size=len(rotors))
    return {
        "rotors": " ".join(rotors),
        "reflector": draw(st.sampled_from(["thin-B", "thin-C"] if model == "M4" else list("ABC"))),
        "rings": draw(letters),
        "start": draw(letters),
        "plugs": draw(plugs_of(most_plugs)),
    }


def coded(text: str, **options: str) -> str:
    return Enigma(**options).encryptor()(text.encode()).decode()


def coded_by_py_enigma(
    text: str, *, rotors: str, reflector: str, rings: str, start: str, plugs: str
) -> str:
    machine = EnigmaMachine.from_key_sheet(
        rotors=rotors,
        reflector={"A": "B", "thin-B": "B-Thin", "thin-C": "C-Thin"}.get(reflector, reflector),
        ring_settings=" ".join(rings),
        plugboard_settings=plugs,
    )
    if reflector == "A":  # py-enigma doesn't have it
        machine.reflector = Rotor("A", "EJMZALYXVBWFCRQUONTSPIKHGD")
    machine.set_display(start)
    return str(machine.process_text(text))


@given(settings_of_a_machine(most_plugs=10), texts)  # py-enigma has no more than ten
def test_agrees_with_py_enigma(options: dict[str, str], text: str) -> None:
    assert coded(text, **options) == coded_by_py_enigma(text, **options)


@pytest.mark.parametrize(
    ("rotors", "reflector"),
    [
        ("I II III", "A"),
        ("V IV I", "B"),  # one notch each
        ("I II VI", "C"),  # two in the right rotor
        ("I VII V", "B"),  # two in the middle one
        ("VI VII VIII", "C"),  # two in each
        ("Beta II VIII I", "thin-B"),
        ("Gamma VII VI VIII", "thin-C"),
    ],
)
@pytest.mark.parametrize("start", ["A", "M", "Z"])
def test_agrees_with_py_enigma_over_a_whole_period(rotors: str, reflector: str, start: str) -> None:
    # Three rotors are back in their first positions after 17,576 letters at most.
    count = len(rotors.split())
    options = {
        "rotors": rotors,
        "reflector": reflector,
        "rings": "BUGS"[:count],
        "start": start * count,
        "plugs": "AV BS CG",
    }
    text = "THEQUICKBROWNFOX" * 1200
    assert coded(text, **options) == coded_by_py_enigma(text, **options)


@given(settings_of_a_machine(), texts, st.lists(st.integers(0, 200), max_size=4))
def test_machine_is_its_own_inverse_in_lines_of_any_length(
    options: dict[str, str], text: str, cuts: list[int]
) -> None:
    encrypt, decrypt = Enigma(**options).encryptor(), Enigma(**options).decryptor()
    places = sorted([0, *cuts, max(200, len(text))])
    lines = [text[start:end].encode() for start, end in pairwise(places)]
    in_lines = [encrypt(line) for line in lines]
    assert b"".join(in_lines).decode() == coded(text, **options)
    assert [decrypt(line) for line in in_lines] == lines


@given(settings_of_a_machine(), texts)
def test_no_letter_becomes_itself(options: dict[str, str], text: str) -> None:
    assert all(one != other for one, other in zip(text, coded(text, **options), strict=True))


@pytest.mark.parametrize(
    ("rotors", "windows"),
    [
        # Wikipedia, «Enigma rotor details», the example of a normal sequence, and that of
        # the double step.
        ("I II III", "AAU AAV ABW ABX"),
        ("I II III", "ADU ADV AEW BFX BFY"),
        # The same with other notches: of IV at J and of V at Z.
        ("I IV V", "AHX AHY AHZ AIA AIB"),
        ("I IV V", "ZIY ZIZ ZJA AKB AKC"),
        # Both notches of VI to VIII, at M and Z, to the right and in the middle.
        ("I II VI", "AAL AAM ABN ABO"),
        ("I II VII", "AAY AAZ ABA ABB"),
        ("I VIII VI", "ALL ALM AMN BNO BNP"),
        ("I VIII VI", "AYL AYM AZN BAO BAP"),
        # A middle rotor that starts at its notch turns at once.
        ("I II III", "AEA BFB BFC"),
        # The fourth rotor stays where it is.
        ("Beta I II III", "QZDU QZDV QZEW QAFX QAFY"),
    ],
)
@pytest.mark.parametrize("ring", ["A", "C"])
def test_rotors_step(rotors: str, windows: str, ring: str) -> None:
    # The windows can be observed from outside: a machine that starts with their letters continues
    # with the same ciphertext.  The notch is on the ring, so rings don't matter here.
    count = len(rotors.split())
    options = {
        "rotors": rotors,
        "reflector": "thin-B" if count == 4 else "B",
        "rings": ring * count,
    }
    first, *others = windows.split()
    expected = coded("A" * 100, **options, start=first)
    for passed, window in enumerate(others, 1):
        assert coded("A" * (100 - passed), **options, start=window) == expected[passed:]


def test_rings_move_the_wiring_and_not_the_letters_of_the_notch() -> None:
    # If all rings and windows move alike, only the notches change places.
    assert coded("AAAAA", rings="BBB", start="BBB") == coded("AAAAA") == "BDZGO"
    assert coded("A" * 30, rings="BBB", start="BBB") != coded("A" * 30)


@given(texts, st.text(LETTERS, min_size=3, max_size=3), st.text(LETTERS, min_size=3, max_size=3))
@pytest.mark.parametrize(
    ("fourth", "thin", "reflector"), [("Beta", "thin-B", "B"), ("Gamma", "thin-C", "C")]
)
def test_m4_can_be_an_m3(
    fourth: str, thin: str, reflector: str, text: str, rings: str, start: str
) -> None:
    # With its fourth rotor at A, it was designed to talk to the older machines.
    of_m4 = coded(
        text, rotors=f"{fourth} I VI III", reflector=thin, rings="A" + rings, start="A" + start
    )
    assert of_m4 == coded(text, rotors="I VI III", reflector=reflector, rings=rings, start=start)


@given(settings_of_a_machine(), texts)
def test_options_may_have_either_case(options: dict[str, str], text: str) -> None:
    lower = {name: value.lower() for name, value in options.items()}
    upper = {name: value.upper() for name, value in options.items()}
    assert coded(text, **lower) == coded(text, **upper) == coded(text, **options)


@pytest.mark.parametrize("name", ["thin-B", "B-thin", "thin B", "THIN-b", "b-THIN"])
def test_thin_reflector_may_be_written_either_way(name: str) -> None:
    m4 = {"rotors": "Beta I II III", "rings": "AAAA", "start": "AAAA"}
    assert coded("AAAAA", **m4, reflector=name) == "BDZGO"


def test_first_option_is_the_rotors() -> None:
    assert Registry().load(parse("enigma:'III II I'")) == Enigma(rotors="III II I")
    assert Registry().load(parse("enigma")) == Enigma("I II III", "B", "AAA", "AAA", "")


M4 = {"rotors": "Beta I II III", "reflector": "thin-B", "rings": "AAAA", "start": "AAAA"}


@pytest.mark.parametrize(
    ("option", "given", "others"),
    [
        ("rotors", "", {}),
        ("rotors", "I II", {}),
        ("rotors", "I II III IV", {}),
        ("rotors", "I II IX", {}),
        ("rotors", "I, II, III", {}),
        ("rotors", "1 2 3", {}),
        ("rotors", "I II I", {}),
        ("rotors", "I ii II", {}),
        ("rotors", "\N{LATIN SMALL LETTER DOTLESS I} II III", {}),  # its capital is I
        ("rotors", "Beta II III", {}),
        ("rotors", "I II Beta", {}),
        ("rotors", "I Beta II III", M4),
        ("rotors", "Beta Gamma I II", M4),
        ("rotors", "Delta I II III", M4),
        ("rotors", "Beta I II II", M4),
        ("rotors", "Beta Beta I II III", M4),
        ("reflector", "", {}),
        ("reflector", "D", {}),
        ("reflector", "thin-B", {}),
        ("reflector", "thin", {}),
        ("reflector", "B", M4),
        ("reflector", "thin-A", M4),
        ("reflector", "th\N{LATIN SMALL LETTER DOTLESS I}n-B", M4),
        ("rings", "", {}),
        ("rings", "AA", {}),
        ("rings", "AAAA", {}),
        ("rings", "AAA", M4),
        ("rings", "010101", {}),
        ("rings", "111", {}),
        ("rings", "A A", {}),
        ("rings", "AAÄ", {}),
        ("start", "AA", {}),
        ("start", "AAAA", {}),
        ("start", "AAA", M4),
        ("start", "A1A", {}),
        ("start", "AA\N{LATIN SMALL LETTER LONG S}", {}),  # its capital is S
        ("plugs", "A", {}),
        ("plugs", "ABCD", {}),
        ("plugs", "AB CDE", {}),
        ("plugs", "AA", {}),
        ("plugs", "AB bC", {}),
        ("plugs", "AB A", {}),
        ("plugs", "A1", {}),
        ("plugs", "Aß", {}),
        ("plugs", "A/B", {}),
        ("plugs", "AB CD EF GH IJ KL MN OP QR ST UV WX YZ AB", {}),
    ],
)
def test_bad_option_is_named(option: str, given: str, others: dict[str, str]) -> None:
    with pytest.raises(OptionError) as refusal:
        Enigma(**{**others, option: given})
    assert (refusal.value.option, refusal.value.given) == (option, given)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("enigma:rotors='I II'", "got 'I II', expected three of I, II, III, IV, V, VI, VII, VIII"),
        ("enigma:reflector=thin-B", "expected A, B or C, as there are three rotors"),
        ("enigma:'Beta I II III'", "expected thin-B or thin-C, as there are four rotors"),
        (
            "enigma:'Beta I II III',reflector=thin-B",
            "option rings: got 'AAA', expected 4 letters A-Z, one for each rotor",
        ),
        ("enigma:start=ABCD", "option start: got 'ABCD', expected 3 letters A-Z"),
        ("enigma:plugs=ABCD", "expected pairs of letters A-Z with spaces between them"),
        ("enigma:ring=AAA", "got unknown option ring; did you mean rings?"),
    ],
)
def test_what_was_expected_is_said(text: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        Registry().load(parse(text))
    assert problem in str(refusal.value)


@given(st.text())
@example("")
@example("AB CD EF GH IJ KL MN OP QR ST UV WX YZ")
def test_plugs_are_pairs_of_letters_or_refused(plugs: str) -> None:
    pairs = plugs.upper().split() if plugs.isascii() else [plugs]
    letters = "".join(pairs)
    fits = (
        all(len(pair) == 2 for pair in pairs)
        and set(letters) <= set(LETTERS)
        and len(set(letters)) == len(letters)
    )
    if plugs and fits:
        assume(pairs)
        ones, others = ("".join(pair[place] for pair in pairs) for place in (0, 1))
        there = str.maketrans(ones + others, others + ones)
        assert coded("ABCDE", plugs=plugs).translate(there) == coded("ABCDE".translate(there))
    elif plugs:
        with pytest.raises(OptionError, match="pairs of letters"):
            Enigma(plugs=plugs)


def test_options_are_explained() -> None:
    options = options_of(Enigma)
    assert [option.name for option in options] == [
        "rotors",
        "reflector",
        "rings",
        "start",
        "plugs",
    ]
    assert [option.default for option in options] == ["I II III", "B", "AAA", "AAA", ""]
    assert all(option.help for option in options)
