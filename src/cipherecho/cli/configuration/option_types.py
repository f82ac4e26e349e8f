"""What values options take, and how those are written: counts, sizes, seconds, endpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cipherecho.printable import printable, safe_text
from cipherecho.settings.declaration import (
    FILE,
    METRICS_URL,
    PEER,
    SIZE,
    URL,
    Declaration,
    Number,
    Switch,
    Value,
    Words,
)
from cipherecho.settings.endpoint import (
    Endpoint,
    EndpointError,
    TcpEndpoint,
    UnixEndpoint,
    parse_endpoint,
)

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

__all__ = [
    "NumberType",
    "Option",
    "SizeType",
    "SwitchType",
    "declared_option",
    "variable_of",
    "word",
    "written_size",
]


class Option(click.Option):
    """An option that can also come from the environment, as ``CIPHERECHO_NAME``."""

    def __init__(self, name: str, **attributes: Any) -> None:
        variable = "CIPHERECHO_" + name.removeprefix("--").replace("-", "_").upper()
        super().__init__([name], envvar=variable, show_default=True, **attributes)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return what the variable has; one that is blank counts as not set.

        White space around it is nothing that anybody meant, but for the name of a file.
        """
        # Not what Click makes of it: before 8.2.2, a flag was on whatever it had.
        value = os.environ.get(str(self.envvar), "")
        if not value.strip():
            return None
        return value if isinstance(self.type, FileType) else value.strip()

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return what the variable has; a list of nothing but commas counts as not set."""
        value = super().value_from_envvar(ctx)
        return None if value == [] else value

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value as what it stands for, or refuse it."""
        try:
            return super().type_cast_value(ctx, value)
        except click.BadParameter:
            if not self.is_flag:
                raise
            expected = "true or false (1 or 0, yes or no, on or off)"
            return self.type.fail(f"got {value!r}, expected {expected}", self, ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return the name of the variable, if that gave the value, or that of the option."""
        return variable_of(self, ctx) or super().get_error_hint(ctx)

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return the default, as people say it."""
        extra = super().get_help_extra(ctx)
        if extra.get("default") == str(inf):
            extra["default"] = "no limit"
        if isinstance(self.type, SizeType) and extra.get("default", "").isdigit():
            extra["default"] = written_size(int(extra["default"]))
        return extra


def variable_of(parameter: click.Parameter | None, ctx: click.Context | None) -> str | None:
    """Return the name of the variable that gave the option its value, None if none did."""
    if parameter is None or parameter.name is None or ctx is None:
        return None
    if ctx.get_parameter_source(parameter.name) is not ParameterSource.ENVIRONMENT:
        return None
    return str(parameter.envvar)


class _ListType(click.ParamType):  # type: ignore[type-arg]
    """What several are separated by in a variable: commas or white space."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return rv.replace(",", " ").split()


class _EndpointType(_ListType):
    name = "url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        if not isinstance(value, str):
            endpoint: Endpoint = value
            return endpoint
        try:
            return parse_endpoint(value)
        except EndpointError as error:
            self.fail(str(error), param, ctx)


class _MetricsEndpointType(_EndpointType):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        endpoint = super().convert(value, param, ctx)
        if not isinstance(endpoint, TcpEndpoint | UnixEndpoint) or endpoint.tls:
            self.fail(f"got {value!r}, expected tcp://HOST:PORT or unix:///PATH", param, ctx)
        return endpoint


class _PeerType(_ListType):
    """A network, an address, or ``unix``: what a peer that must send a PROXY header has."""

    name = "cidr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from cipherecho.settings.trusted_proxies import TrustedProxies

        try:
            TrustedProxies([value])
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class FileType(click.Path):
    """The path of a file, which is looked at by whoever needs it."""

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or "\0" in str(value):
            self.fail(f"got {value!r}, expected the path of a file", param, ctx)
        return super().convert(value, param, ctx)


class NumberType(click.ParamType):  # type: ignore[type-arg]
    """A number of the settings; `expected` tells people what it takes."""

    def __init__(self, number: Number) -> None:
        self.name = number.metavar.lower()
        self.expected = number.expected
        self._number = number

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse it."""
        try:
            number = self.read(value)
        except (ValueError, OverflowError):
            number = nan
        if not self._number.allows(number):
            given = printable(safe_text(value, repr))
            self.fail(f"got {given}, expected {self.expected}{self.hint(value)}", param, ctx)
        return number

    def read(self, value: Any) -> float:
        """Return the number that a text or another number stands for; NaN for none.

        Raises:
          ValueError, OverflowError: none.
        """
        if self._number.infinite and str(value).strip().lower() == "inf":
            return inf
        if self._number.whole:
            return _whole(value)
        number = float(value)
        return number if self._number.infinite or isfinite(number) else nan

    def hint(self, value: Any) -> str:
        """Return what to type instead of a value that is refused, if that can be told."""
        return ""


# A letter alone is a power of 1,024, as for systemd, Docker, HAProxy and nginx.
_UNITS = {"": 1, "b": 1} | {
    unit: 1024**power
    for power, letter in enumerate("kmgt", 1)
    for unit in (letter, f"{letter}i", f"{letter}ib")
}
_SIZE = re.compile(r"\s*(?P<number>[0-9][0-9_]*)\s*(?P<unit>[a-z]*)\s*", re.IGNORECASE)


class SizeType(NumberType):
    """A number of bytes, 1 or more, perhaps with a unit, in small letters or capitals.

    ``64KiB``, ``64Ki`` and ``64K`` are 65,536 bytes.  kB and MB are refused, since they are
    powers of 1,000 for some and of 1,024 for others (Redis, PostgreSQL).

    >>> SizeType().convert("1 MiB", None, None), SizeType().convert(1000, None, None)
    (1048576, 1000)
    """

    def __init__(self) -> None:
        super().__init__(SIZE)

    def read(self, value: Any) -> float:
        """Return the number of bytes that a text or a number stands for; NaN for none."""
        if not isinstance(value, str):
            return _whole(value)
        parts = _SIZE.fullmatch(value)
        factor = _UNITS.get(parts["unit"].lower()) if parts else None
        return int(parts["number"]) * factor if parts and factor else nan

    def hint(self, value: Any) -> str:
        """Return what can be meant by kB and its like."""
        parts = _SIZE.fullmatch(str(value))
        if parts is None or not re.fullmatch("[kmgt]b", parts["unit"].lower()):
            return ""
        letter = parts["unit"][0].upper()
        power = "KMGT".index(letter) + 1
        return (
            f"; {parts['unit']} may be {1000**power:,} or {1024**power:,}: type "
            f"{parts['number']}{letter}iB or {parts['number']}{'000' * power}"
        )


def written_size(size: int) -> str:
    """Return a number of bytes as people write it, in the largest unit that leaves it whole.

    >>> written_size(65_536), written_size(1000)
    ('64KiB', '1000')
    """
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size % _UNITS[unit.lower()] == 0:
            return f"{size // _UNITS[unit.lower()]}{unit}"
    return safe_text(size)  # it may have more digits than Python writes


def _whole(value: Any) -> float:
    # int() would cut a number of a file that is not whole.
    return nan if isinstance(value, float) and not value.is_integer() else int(value)


def word(*words: str) -> click.Choice[str]:
    """Return the type of an option that is one of some words, in small letters or capitals."""
    return click.Choice([str(one) for one in words], case_sensitive=False)


class SwitchType(click.ParamType):  # type: ignore[type-arg]
    """True or false, or a word for more than that; its values are "on", "off" and the word.

    `expected` tells people what it takes.
    """

    name = "switch"

    def __init__(self, more: str) -> None:
        self.expected = f"true, false or {more!r}"
        self._more = more

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value, or refuse it."""
        if str(value).strip().lower() == self._more:
            return self._more
        try:
            return "on" if click.BOOL.convert(value, param, ctx) else "off"
        except click.BadParameter:
            self.fail(f"got {value!r}, expected {self.expected}", param, ctx)


_TYPES: Mapping[Value, Callable[[], click.ParamType]] = {  # type: ignore[type-arg]
    FILE: FileType,
    METRICS_URL: _MetricsEndpointType,
    PEER: _PeerType,
    SIZE: SizeType,
    URL: _EndpointType,
}


def type_of(value: Value) -> click.ParamType:  # type: ignore[type-arg]
    """Return what reads a value of the settings."""
    if value in _TYPES:
        return _TYPES[value]()
    match value:
        case Words(words=words):
            return word(*words)
        case Switch(more=more):
            return SwitchType(str(more))
        case Number():
            return NumberType(value)
    raise TypeError(f"nothing reads {value!r}")


def declared_option(declaration: Declaration, kind: type[Option] = Option) -> Option:
    """Return the option of the command line that a field of the settings declares."""
    attributes: dict[str, Any] = {"help": declaration.help, "multiple": declaration.repeatable}
    default = declaration.default
    match declaration.value:
        case None:  # a flag turns its default around
            return kind(f"--{declaration.name}", is_flag=True, **attributes)
        case Switch():
            attributes |= {"is_flag": False, "flag_value": "on"}
            default = "false"
        case Words():
            default = str(default)
    return kind(
        f"--{declaration.name}",
        type=type_of(declaration.value),
        default=default,
        metavar=declaration.value.metavar or None,
        **attributes,
    )
