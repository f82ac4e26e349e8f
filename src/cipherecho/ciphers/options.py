"""A factory's parameters, read as the options of its cipher.

Names, annotations and defaults are the schema: nobody declares an option twice.
An annotation is ``int``, ``float``, ``str``, ``bool``, ``pathlib.Path``, a
``Literal`` of strings, or one of these ``| None``.  ``Annotated`` adds a text, which is the
option's help, and anything with ``in``, which is what the value has to be in
(:class:`~cipherecho.cipher.Range`), or words for what the factory itself checks
(:class:`~cipherecho.cipher.Takes`).
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from cipherecho.cipher import OptionError, Takes
from cipherecho.ciphers.specification import SelectionError, Specification
from cipherecho.errors import CipherechoError

__all__ = [
    "BadOptionError",
    "CipherOption",
    "SchemaError",
    "is_family",
    "make_cipher",
    "options_of",
    "resolve_member",
]

REQUIRED = inspect.Parameter.empty


class SchemaError(CipherechoError, TypeError):
    """A factory has a parameter that can't be an option, or returns the wrong thing.

    This is a fault of the plugin.
    """


class BadOptionError(SelectionError):
    """An option is unknown, missing, or has a value that the cipher doesn't take.

    `option` is its name, or None if the factory doesn't say which.  `specification` is what was
    given.
    """

    def __init__(self, specification: Specification, option: str | None, problem: str) -> None:
        self.specification = specification
        self.option = option
        super().__init__(f"cipher '{specification}': {problem}")


@dataclass(frozen=True)
class CipherOption:
    """One option of a cipher, for help and for checks."""

    name: str
    """As it is written in a specification: small letters and hyphens."""
    parameter: str
    """The name of the factory's parameter."""
    takes: str
    """The values that it takes, in words that follow "expected"."""
    default: object
    """``REQUIRED`` if there is none."""
    help: str
    parse: Callable[[str], object]
    """Converts text to a value, or raises ValueError."""
    allowed: tuple[Any, ...]
    """Containers; the value must be in all of them."""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    def value_of(self, text: str) -> object:
        """Return the value of `text`.

        Raises:
          OptionError: it is not of the option's type, or not in its range.
        """
        try:
            value = self.parse(text)
            fits = all(value in container for container in self.allowed)
        except ValueError:
            fits = False
        if not fits:
            raise OptionError(self.name, text, self.takes)
        return value


def options_of(factory: Callable[..., object]) -> list[CipherOption]:
    """Return the options of the cipher that `factory` makes, in the order of its parameters.

    Raises:
      SchemaError: a parameter has an annotation that is not in the list above, or
        can't be given by name.

    >>> def caesar(shift: Annotated[int, "places to move"] = 3): ...
    >>> [(option.name, option.takes, option.help) for option in options_of(caesar)]
    [('shift', 'a whole number', 'places to move')]
    """
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except Exception as cause:  # evaluating an annotation runs the plugin's code
        raise SchemaError(
            f"its parameters can't be read ({type(cause).__name__}: {cause})"
        ) from cause
    return [_option_of(parameter) for parameter in parameters]


def _option_of(parameter: inspect.Parameter) -> CipherOption:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise SchemaError(f"parameter {parameter} can't be given by name, so it can't be an option")
    annotation = _without_none(parameter.annotation)
    extras: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        annotation, extras = _without_none(annotation), tuple(rest)
    if annotation is parameter.empty:
        annotation = str
    words = get_args(annotation) if get_origin(annotation) is Literal else ()
    if words and all(isinstance(word, str) for word in words):
        takes, parse = "one of " + ", ".join(words), _KINDS[str][1]
    elif isinstance(annotation, type) and annotation in _KINDS:
        takes, parse = _KINDS[annotation]
    else:
        raise SchemaError(
            f"parameter {parameter} has a type that an option can't have; expected int, float, "
            "str, bool, pathlib.Path, a Literal of strings, or one of these | None"
        )
    takes = next((str(extra) for extra in extras if isinstance(extra, Takes)), takes)
    containers = tuple(extra for extra in extras if not isinstance(extra, str | Takes))
    for container in containers:
        if not hasattr(type(container), "__contains__"):
            raise SchemaError(
                f"parameter {parameter} is annotated with {container!r}, expected a text or "
                "something that the value can be in"
            )
    return CipherOption(
        name=parameter.name.replace("_", "-").lower(),
        parameter=parameter.name,
        takes=", ".join([takes, *map(str, containers)]),
        default=parameter.default,
        help=" ".join(extra for extra in extras if isinstance(extra, str)),
        parse=parse,
        allowed=(words, *containers) if words else containers,
    )


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        alternatives = [one for one in get_args(annotation) if one is not type(None)]
        if len(alternatives) == 1:
            return alternatives[0]
    return annotation


def make_cipher(factory: Callable[..., object], specification: Specification) -> object:
    """Make a cipher with `factory`, or with its member if it is a family, and return it.

    Raises:
      BadOptionError: an option is unknown, given twice, missing, of the wrong type or
        out of range, or the factory raised ValueError.
      SchemaError: the factory's parameters can't be options; or see :func:`resolve_member`.
      Exception: whatever else the factory raises.
    """
    member, rest = resolve_member(factory, specification)
    options = options_of(member)
    given = _given(options, rest)
    _refuse_unknown(given, options, specification)
    return _made(member, options, given, specification)


def is_family(factory: Callable[..., object]) -> bool:
    """Return whether `factory` is a family, which makes factories instead of ciphers."""
    return getattr(factory, "family", False) is True


def resolve_member(
    factory: Callable[..., object], specification: Specification
) -> tuple[Callable[..., object], Specification]:
    """Return the member of a family, and a specification with the options that are left for it.

    The member takes all of these options, and all have names: the bare first value is an option of
    the family.  If `factory` is not a family, both arguments are returned unchanged.

    Raises:
      BadOptionError: an option is one of neither, or the family refuses one of its own;
        `specification` is what it is told of.
      SchemaError: the family's parameters can't be options, or its member's; or what it
        makes is no factory, is itself a family, or has an option of the family's name.
      Exception: whatever else the family raises.
    """
    if not is_family(factory):
        return factory, specification
    own = options_of(factory)
    given = _given(own, specification)
    names = {option.name for option in own}
    ours = {name: text for name, text in given.items() if name in names}
    theirs = {name: text for name, text in given.items() if name not in names}
    # If an option is missing, a similar name is probably a misspelling of it.
    missing = [option for option in own if option.required and option.name not in ours]
    _refuse_unknown((name for name in theirs if _near(name, missing)), missing, specification)
    member = _made(factory, own, ours, specification)
    if not callable(member):
        kind = "None" if member is None else f"an object of type {type(member).__name__}"
        raise SchemaError(f"it is a family, and made {kind}, expected a class or function")
    if is_family(member):
        raise SchemaError("it is a family, and made another family, expected a factory of ciphers")
    options = options_of(member)
    for option in options:
        if option.name in names:
            raise SchemaError(f"option {option.name} is one of the family and of its member too")
    _refuse_unknown(theirs, [*options, *own], specification)
    return (
        cast(Callable[..., object], member),
        replace(specification, first=None, options=tuple(theirs.items())),
    )


def _given(options: list[CipherOption], specification: Specification) -> dict[str, str]:
    """Return the text of each given option by name; names may be unknown."""
    given: dict[str, str] = {}
    if specification.first is not None:
        if not options:
            raise BadOptionError(
                specification, None, f"got {specification.first!r}, but it takes no options"
            )
        given[options[0].name] = specification.first
    for name, text in specification.options:
        if name in given:
            raise BadOptionError(specification, name, f"option {name} is given twice")
        given[name] = text
    return given


def _made(
    factory: Callable[..., object],
    options: list[CipherOption],
    given: Mapping[str, str],
    specification: Specification,
) -> object:
    for option in options:
        if option.required and option.name not in given:
            about = f" ({option.help})" if option.help else ""
            raise BadOptionError(
                specification,
                option.name,
                f"option {option.name} is missing, expected {option.takes}{about}",
            )
    try:
        return factory(
            **{
                option.parameter: option.value_of(given[option.name])
                for option in options
                if option.name in given
            }
        )
    except OptionError as error:
        raise BadOptionError(specification, error.option, str(error)) from error
    except ValueError as error:
        raise BadOptionError(specification, None, str(error)) from error


def _refuse_unknown(
    names: Iterable[str], options: list[CipherOption], specification: Specification
) -> None:
    known = [option.name for option in options]
    for name in names:
        if name not in known:
            raise BadOptionError(specification, name, _unknown(name, options))


def _near(name: str, options: list[CipherOption]) -> list[str]:
    from difflib import get_close_matches  # not for those who write it right

    return get_close_matches(name, [option.name for option in options], n=1)


def _unknown(name: str, options: list[CipherOption]) -> str:
    if not options:
        return f"got option {name}, but it takes no options"
    near = _near(name, options)
    takes = ", ".join(option.name for option in options)
    expected = f"did you mean {near[0]}?" if near else f"it takes {takes}"
    return f"got unknown option {name}; {expected}"


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "true", "1", "no", "false", "0"):
        raise ValueError(text)
    return text.lower() in ("yes", "true", "1")


_KINDS: dict[Any, tuple[str, Callable[[str], object]]] = {
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("text", str),
    bool: ("yes or no", _yes_or_no),
    Path: ("a path", Path),
}
