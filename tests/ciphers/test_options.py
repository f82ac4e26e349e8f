"""A factory's parameters as options: what they take, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from cipherecho.cipher import (
    InputError,
    OptionError,
    Range,
    Stateful,
    Stateless,
    Substitution,
    Takes,
)
from cipherecho.ciphers.options import (
    REQUIRED,
    BadOptionError,
    CipherOption,
    SchemaError,
    make_cipher,
    options_of,
    resolve_member,
)
from cipherecho.ciphers.specification import parse
from tests.helpers.family import Member, Moved, Shift


def taking(annotation: object) -> Callable[..., Any]:
    """Return a factory with one parameter, `value`, that makes what it was given."""

    def factory(value: Any) -> Any:
        return value

    factory.__annotations__["value"] = annotation
    return factory


def only_option(factory: Callable[..., Any]) -> CipherOption:
    (option,) = options_of(factory)
    return option


# What an annotation takes.


@pytest.mark.parametrize(
    ("annotation", "takes", "good"),
    [
        (int, "a whole number", {"5": 5, "-5": -5, "+5": 5, "0": 0, " 5 ": 5}),
        (float, "a number", {"5": 5.0, "0.5": 0.5, "-1e3": -1000.0}),
        (str, "text", {"5": "5", "''": "", "' Lemon '": " Lemon "}),
        (
            bool,
            "yes or no",
            {
                **dict.fromkeys(["yes", "true", "1", "Yes", "TRUE"], True),
                **dict.fromkeys(["no", "false", "0", "No", "FALSE"], False),
            },
        ),
        (Path, "a path", {"keys/lemon.txt": Path("keys/lemon.txt")}),
        (Literal["B", "C"], "one of B, C", {"B": "B", "C": "C"}),
        (Literal["B"], "one of B", {"B": "B"}),
        (int | None, "a whole number", {"5": 5}),
        (Optional[int], "a whole number", {"5": 5}),  # noqa: UP045
        (None | Literal["B", "C"], "one of B, C", {"C": "C"}),
        (Annotated[int, "places to move"], "a whole number", {"5": 5}),
        (Annotated[int, Range(0, 25)], "a whole number, 0 to 25", {"0": 0, "25": 25}),
        (Annotated[float, Range(0.5, 1)], "a number, 0.5 to 1", {"0.5": 0.5, "1": 1.0}),
        (Annotated[int | None, Range(0, 25)], "a whole number, 0 to 25", {"7": 7}),
        (Annotated[int, range(0, 25, 5)], "a whole number, range(0, 25, 5)", {"5": 5}),
        (Annotated[Literal["B", "C"], "reflector"], "one of B, C", {"B": "B"}),
    ],
    ids=str,
)
def test_an_annotation_takes(annotation: object, takes: str, good: dict[str, object]) -> None:
    factory = taking(annotation)
    assert only_option(factory).takes == takes
    made = {text: make_cipher(factory, parse(f"a:value={text}")) for text in good}
    assert made == good
    assert [type(value) for value in made.values()] == [type(value) for value in good.values()]


@pytest.mark.parametrize(
    ("annotation", "bad"),
    [
        (int, ["", "five", "5.0", "0x5", "5 6"]),
        (float, ["", "half", "1/2"]),
        (bool, ["", "y", "on", "2", "None"]),
        (Literal["B", "C"], ["", "b", "D", "B, C"]),
        (int | None, ["", "None"]),
        (Annotated[int, Range(0, 25)], ["-1", "26", "five"]),
        (Annotated[float, Range(0.5, 1)], ["0.49", "1.01", "inf", "nan"]),
        (Annotated[int, range(0, 25, 5), Range(0, 10)], ["4", "15"]),
    ],
    ids=str,
)
def test_an_annotation_refuses(annotation: object, bad: list[str]) -> None:
    factory = taking(annotation)
    takes = only_option(factory).takes
    for text in bad:
        specification = parse(f"a:value='{text}'")
        with pytest.raises(BadOptionError) as refusal:
            make_cipher(factory, specification)
        assert str(refusal.value) == (
            f"cipher '{specification}': option value: got {text!r}, expected {takes}"
        )
        assert refusal.value.option == "value"
        assert refusal.value.specification is specification
        assert isinstance(refusal.value.__cause__, OptionError)
        assert refusal.value.__cause__.given == text


def test_a_parameter_without_an_annotation_takes_text() -> None:
    option = only_option(lambda key: key)
    assert (option.takes, option.value_of("5")) == ("text", "5")


def test_words_of_the_author_stand_for_what_is_not_checked() -> None:
    option = only_option(taking(Annotated[str, Takes("a number, 0 to 25"), "places"]))
    assert (option.takes, option.help) == ("a number, 0 to 25", "places")
    assert option.value_of("five") == "five"
    with_type = only_option(taking(Annotated[int, Takes("an even number")]))
    with pytest.raises(OptionError, match="got 'five', expected an even number"):
        with_type.value_of("five")


# What a factory is, and what its parameters say.


@dataclass(frozen=True)
class Enigma:
    """Has an option of most kinds; its annotations are strings, for Python to evaluate."""

    rotors: Annotated[str, "from the left", "to the right"]
    reflector: Literal["B", "C"] = "B"
    ring_setting: Annotated[int, Range(1, 26), "of every rotor"] = 1
    plugs: str | None = None
    pairs: tuple[str, ...] = field(default=(), init=False)


def test_a_frozen_dataclass_is_a_schema() -> None:
    rotors, reflector, ring_setting, plugs = options_of(Enigma)

    assert (rotors.name, rotors.parameter, rotors.takes) == ("rotors", "rotors", "text")
    assert (rotors.required, rotors.default) == (True, REQUIRED)
    assert rotors.help == "from the left to the right"

    assert (reflector.name, reflector.takes) == ("reflector", "one of B, C")
    assert (reflector.required, reflector.default, reflector.help) == (False, "B", "")

    assert (ring_setting.name, ring_setting.parameter) == ("ring-setting", "ring_setting")
    assert (ring_setting.takes, ring_setting.help) == ("a whole number, 1 to 26", "of every rotor")

    assert (plugs.takes, plugs.required, plugs.default) == ("text", False, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("enigma:I II III", Enigma("I II III")),
        ("enigma:rotors=I II III", Enigma("I II III")),
        ("enigma:reflector=C,rotors=I", Enigma("I", "C")),
        ("enigma:I,ring-setting=7", Enigma("I", ring_setting=7)),
        ("enigma:I,Ring_Setting=7", Enigma("I", ring_setting=7)),
        ("enigma:I,plugs=", Enigma("I", plugs="")),
    ],
)
def test_options_are_bound_to_parameters(text: str, expected: Enigma) -> None:
    assert make_cipher(Enigma, parse(text)) == expected


def keyed_by_name(*, key: str, keep_case: bool = True) -> tuple[str, bool]:
    return key, keep_case


def test_parameters_may_be_keyword_only_and_the_first_still_goes_bare() -> None:
    assert make_cipher(keyed_by_name, parse("a:Lemon,keep-case=no")) == ("Lemon", False)


class Unannotated:
    def __init__(self, key="Lemon") -> None:  # type: ignore[no-untyped-def]
        self.key = key


def test_a_class_and_a_partial_function_are_factories() -> None:
    assert make_cipher(Unannotated, parse("a:Lime")).key == "Lime"  # type: ignore[attr-defined]
    assert make_cipher(partial(keyed_by_name, keep_case=False), parse("a:Lime")) == ("Lime", False)


class FromSubstitution(Substitution):
    table = bytes(range(256))


class FromStateless(Stateless):
    def encrypt(self, body: bytes, /) -> bytes:
        return body


class FromStateful(Stateful):
    def encryptor(self) -> Callable[[bytes], bytes]:
        return bytes


@pytest.mark.parametrize("factory", [FromSubstitution, FromStateless, FromStateful])
def test_the_heir_of_a_shape_takes_no_options(factory: Callable[..., object]) -> None:
    assert options_of(factory) == []
    assert type(make_cipher(factory, parse("a"))) is factory


class FromStatelessWithKey(FromStateless):
    def __init__(self, key: str) -> None:
        self.key = key


def test_the_heir_of_a_shape_has_the_options_that_it_declares() -> None:
    assert make_cipher(FromStatelessWithKey, parse("a:Lime")).key == "Lime"  # type: ignore[attr-defined]


# What is refused when options are bound.


def caesar(shift: Annotated[int, Range(0, 25), "places to move"], keep_case: bool = True) -> None:
    """Take one option that has to be given and one that has not."""


@pytest.mark.parametrize(
    ("text", "option", "problem"),
    [
        # Unknown: with the nearest name, or all of them.
        ("caesar:shfit=5", "shfit", "got unknown option shfit; did you mean shift?"),
        ("caesar:keepcase=no", "keepcase", "got unknown option keepcase; did you mean keep-case?"),
        ("caesar:5,zz=1", "zz", "got unknown option zz; it takes shift, keep-case"),
        # Given twice: bare, and by name.
        ("caesar:5,shift=5", "shift", "option shift is given twice"),
        # Missing: with what it takes, and its help.
        (
            "caesar",
            "shift",
            "option shift is missing, expected a whole number, 0 to 25 (places to move)",
        ),
        (
            "caesar:keep-case=no",
            "shift",
            "option shift is missing, expected a whole number, 0 to 25 (places to move)",
        ),
        # Out of range, or of another kind.
        ("caesar:26", "shift", "option shift: got '26', expected a whole number, 0 to 25"),
        ("caesar:shift=-1", "shift", "option shift: got '-1', expected a whole number, 0 to 25"),
        ("caesar:five", "shift", "option shift: got 'five', expected a whole number, 0 to 25"),
        (
            "caesar:5,keep-case=maybe",
            "keep-case",
            "option keep-case: got 'maybe', expected yes or no",
        ),
    ],
)
def test_an_option_is_refused(text: str, option: str, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        make_cipher(caesar, parse(text))
    assert str(refusal.value) == f"cipher '{text}': {problem}"
    assert refusal.value.option == option
    assert refusal.value.specification == parse(text)


def test_a_missing_option_without_help_has_none_in_its_error() -> None:
    with pytest.raises(BadOptionError) as refusal:
        make_cipher(keyed_by_name, parse("a"))
    assert str(refusal.value) == "cipher 'a': option key is missing, expected text"


def without_options() -> str:
    return "made"


@pytest.mark.parametrize(
    ("text", "option", "problem"),
    [
        ("rot13:13", None, "got '13', but it takes no options"),
        ("rot13:shift=13", "shift", "got option shift, but it takes no options"),
    ],
)
def test_a_cipher_without_options_takes_none(text: str, option: str | None, problem: str) -> None:
    assert make_cipher(without_options, parse("rot13")) == "made"
    with pytest.raises(BadOptionError) as refusal:
        make_cipher(without_options, parse(text))
    assert str(refusal.value) == f"cipher '{text}': {problem}"
    assert refusal.value.option == option


# What a factory raises.


def raising(error: Exception) -> Callable[..., object]:
    def factory(key_word: str) -> object:
        raise error

    return factory


@pytest.mark.parametrize(
    ("error", "option", "problem"),
    [
        (
            OptionError("key_word", "4711", "letters A-Z"),
            "key-word",
            "option key-word: got '4711', expected letters A-Z",
        ),
        (ValueError("got two equal rotors"), None, "got two equal rotors"),
        (InputError("got a line of digits"), None, "got a line of digits"),
    ],
    ids=lambda error: type(error).__name__ if isinstance(error, Exception) else None,
)
def test_a_factory_refuses_its_options(error: Exception, option: str | None, problem: str) -> None:
    with pytest.raises(BadOptionError) as refusal:
        make_cipher(raising(error), parse("a:4711"))
    assert str(refusal.value) == f"cipher 'a:4711': {problem}"
    assert refusal.value.option == option
    assert refusal.value.specification == parse("a:4711")
    assert refusal.value.__cause__ is error


@pytest.mark.parametrize("error", [TypeError("no"), KeyError("no"), OSError("no")], ids=repr)
def test_what_else_a_factory_raises_is_not_the_options_fault(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        make_cipher(raising(error), parse("a:4711"))
    assert raised.value is error


def test_an_option_error_has_what_was_given_as_facts() -> None:
    error = OptionError("ring_setting", 27, "1 to 26")
    assert str(error) == "option ring-setting: got 27, expected 1 to 26"
    assert (error.option, error.given, error.expected) == ("ring-setting", 27, "1 to 26")
    assert isinstance(error, ValueError)


# Parameters that can't be options.

EXPECTED_TYPES = (
    "has a type that an option can't have; expected int, float, str, bool, pathlib.Path, "
    "a Literal of strings, or one of these | None"
)


@pytest.mark.parametrize(
    "annotation",
    [
        bytes,
        None,
        object,
        Any,
        list[int],
        int | str,
        Union[int, str, None],  # noqa: UP007
        Literal[1, 2],
        Literal["B", 1],
        Annotated[bytes, "key"],
        [int],
        Literal[[1]],
    ],
    ids=str,
)
def test_a_type_that_no_option_has_is_a_faulty_schema(annotation: object) -> None:
    with pytest.raises(SchemaError) as fault:
        options_of(taking(annotation))
    message = str(fault.value)
    assert message.startswith("parameter value")
    assert message.endswith(EXPECTED_TYPES)


def of_positional_only(key: str, /) -> None: ...
def of_any_number(*keys: str) -> None: ...
def of_any_name(**keys: str) -> None: ...


@pytest.mark.parametrize(
    ("factory", "parameter"),
    [
        (of_positional_only, "key: str"),
        (of_any_number, "*keys: str"),
        (of_any_name, "**keys: str"),
    ],
)
def test_a_parameter_without_a_name_of_its_own_is_a_faulty_schema(
    factory: Callable[..., object], parameter: str
) -> None:
    with pytest.raises(SchemaError) as fault:
        options_of(factory)
    assert str(fault.value) == (
        f"parameter {parameter} can't be given by name, so it can't be an option"
    )


@pytest.mark.parametrize("extra", [7, Range], ids=["no container", "a class of containers"])
def test_an_extra_that_is_neither_help_nor_a_container_is_a_faulty_schema(extra: object) -> None:
    with pytest.raises(SchemaError) as fault:
        options_of(taking(Annotated[int, extra]))
    assert str(fault.value).endswith(
        f"is annotated with {extra!r}, expected a text or something that the value can be in"
    )


def with_unknown_type(key: Lemon) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def with_failing_type(key: 1 / 0) -> None: ...  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("factory", "cause"),
    [
        (with_unknown_type, NameError),
        (with_failing_type, ZeroDivisionError),
        (dict, ValueError),  # written in C, and says nothing of its parameters
    ],
)
def test_parameters_that_cannot_be_read_are_a_faulty_schema(
    factory: Callable[..., object], cause: type[Exception]
) -> None:
    with pytest.raises(SchemaError, match="its parameters can't be read") as fault:
        options_of(factory)
    assert isinstance(fault.value.__cause__, cause)
    assert cause.__name__ in str(fault.value)


def test_a_faulty_schema_is_found_before_anything_is_made() -> None:
    made = []

    def factory(key: str = "Lemon", *keys: str) -> None:
        made.append(key)

    with pytest.raises(SchemaError):
        make_cipher(factory, parse("a:Lime"))
    assert made == []


# Families.


def test_a_family_is_given_its_own_options_and_its_member_is_left_the_others() -> None:
    member, rest = resolve_member(Moved, parse("moved:furlongs,furlongs=5,left=yes"))
    assert isinstance(member, Member)
    assert (member.unit, member.left) == ("furlongs", True)
    assert rest == parse("moved:furlongs=5")
    assert [
        (option.name, option.takes, option.required, option.default, option.help)
        for option in options_of(member)
    ] == [
        ("furlongs", "a whole number, 0 to 25", True, REQUIRED, "how many furlongs"),
        ("case", "one of both", False, "both", "which letters"),
        ("note", "text", False, None, ""),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "moved:unit=big-steps,big-steps=3",
        "moved:big-steps,Big_Steps=3",
        "moved:big-steps=3,unit=big-steps",
    ],
)
def test_what_a_family_makes_is_made_with_the_options_left(text: str) -> None:
    made = make_cipher(Moved, parse(text))
    assert isinstance(made, Shift)
    assert b"abc".translate(made.table) == b"def"


def test_what_is_no_family_is_no_member() -> None:
    specification = parse("caesar:5,anything=goes")
    assert resolve_member(caesar, specification) == (caesar, specification)


@pytest.mark.parametrize(
    ("text", "option", "problem"),
    [
        # The family's own.
        ("moved", "unit", "option unit is missing, expected text (its name)"),
        ("moved:steps=3", "unit", "option unit is missing, expected text (its name)"),
        ("moved:units=steps", "units", "got unknown option units; did you mean unit?"),
        ("moved:steps,unit=steps", "unit", "option unit is given twice"),
        ("moved:steps,left=7", "left", "option left: got '7', expected yes or no"),
        ("moved:leagues", "unit", "option unit: got 'leagues', expected the name of a unit"),
        # Of both: with the nearest name of either, or all.
        ("moved:steps,setps=3", "setps", "got unknown option setps; did you mean steps?"),
        ("moved:steps,letf=no", "letf", "got unknown option letf; did you mean left?"),
        (
            "moved:steps,zz=1",
            "zz",
            "got unknown option zz; it takes steps, case, note, unit, left",
        ),
        # Its member's.
        (
            "moved:steps,left=yes",
            "steps",
            "option steps is missing, expected a whole number, 0 to 25 (how many steps)",
        ),
        (
            "moved:steps,steps=26",
            "steps",
            "option steps: got '26', expected a whole number, 0 to 25",
        ),
        ("moved:steps,case=no,steps=1", "case", "option case: got 'no', expected one of both"),
    ],
)
def test_an_option_of_a_family_is_refused_as_it_was_written(
    text: str, option: str, problem: str
) -> None:
    with pytest.raises(BadOptionError) as refusal:
        make_cipher(Moved, parse(text))
    assert str(refusal.value) == f"cipher '{text}': {problem}"
    assert refusal.value.option == option
    assert refusal.value.specification == parse(text)


@pytest.mark.parametrize(
    ("unit", "problem"),
    [
        ("nothing", "it is a family, and made None, expected a class or function"),
        ("families", "it is a family, and made another family, expected a factory of ciphers"),
        ("left", "option left is one of the family and of its member too"),
    ],
)
def test_what_a_family_must_not_make_is_the_fault_of_its_author(unit: str, problem: str) -> None:
    with pytest.raises(SchemaError) as fault:
        make_cipher(Moved, parse(f"moved:{unit}"))
    assert str(fault.value) == problem
