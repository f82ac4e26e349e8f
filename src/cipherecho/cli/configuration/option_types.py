"""What values options take, and how those are written: counts, sizes, seconds, endpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from math import inf, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cipherecho.printable import printable, safe_text
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
    "COUNT",
    "COUNT_OR_INF",
    "DELAY",
    "ENDPOINT",
    "FILE",
    "METRICS_ENDPOINT",
    "PEERS",
    "RATE",
    "SECONDS",
    "SIZE",
    "Number",
    "Option",
    "Size",
    "Switch",
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
        return value if isinstance(self.type, _File) else value.strip()

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
        if isinstance(self.type, Size) and extra.get("default", "").isdigit():
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


class _MetricsEndpoint(_EndpointType):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        endpoint = super().convert(value, param, ctx)
        if not isinstance(endpoint, TcpEndpoint | UnixEndpoint) or endpoint.tls:
            self.fail(f"got {value!r}, expected tcp://HOST:PORT or unix:///PATH", param, ctx)
        return endpoint


class _Peers(_ListType):
    """A network, an address, or ``unix``: what a peer that must send a PROXY header has."""

    name = "cidr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from cipherecho.settings.trusted_proxies import TrustedProxies

        try:
            TrustedProxies([value])
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class _File(click.Path):
    """The path of a file, which is looked at by whoever needs it."""

    def __init__(self) -> None:
        super().__init__(readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" or "\0" in str(value):
            self.fail(f"got {value!r}, expected the path of a file", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.ParamType):  # type: ignore[type-arg]
    """A number that is more than 0, as every limit is, or perhaps 0 too.

    `kind` makes it of text and of other numbers, and raises ValueError or OverflowError
    for those it does not take; `expected` tells people what it takes.
    """

    def __init__(
        self, name: str, kind: Callable[[Any], float], expected: str, *, zero: bool = False
    ) -> None:
        self.name = name
        self.expected = expected
        self._kind = kind
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or refuse it."""
        try:
            number = self._kind(value)
        except (ValueError, OverflowError):
            number = nan
        if not (number > 0 or (self._zero and number == 0)):  # nor is NaN
            given = printable(safe_text(value, repr))
            self.fail(f"got {given}, expected {self.expected}{self.hint(value)}", param, ctx)
        return number

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


class Size(Number):
    """A number of bytes, 1 or more, perhaps with a unit, in small letters or capitals.

    ``64KiB``, ``64Ki`` and ``64K`` are 65,536 bytes.  kB and MB are refused, since they are
    powers of 1,000 for some and of 1,024 for others (Redis, PostgreSQL).

    >>> SIZE.convert("1 MiB", None, None), SIZE.convert(1000, None, None)
    (1048576, 1000)
    """

    def __init__(self) -> None:
        super().__init__("size", _bytes, "bytes, 1 or more, as in 65536, 64KiB or 1MiB")

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


def _bytes(value: Any) -> float:
    if not isinstance(value, str):
        return _whole(value)
    parts = _SIZE.fullmatch(value)
    factor = _UNITS.get(parts["unit"].lower()) if parts else None
    return int(parts["number"]) * factor if parts and factor else nan


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


def _whole_or_inf(value: Any) -> float:
    return inf if str(value).strip().lower() == "inf" else _whole(value)


def _finite(value: Any) -> float:
    number = float(value)
    return number if isfinite(number) else nan


def word(*words: str) -> click.Choice[str]:
    """Return the type of an option that is one of some words, in small letters or capitals."""
    return click.Choice(words, case_sensitive=False)


class Switch(click.ParamType):  # type: ignore[type-arg]
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


COUNT = Number("count", _whole, "a whole number, 1 or more")
COUNT_OR_INF = Number("count", _whole_or_inf, "a whole number, 1 or more ('inf' for no limit)")
DELAY = Number("seconds", _finite, "seconds, 0 or more", zero=True)
ENDPOINT = _EndpointType()
FILE = _File()
METRICS_ENDPOINT = _MetricsEndpoint()
PEERS = _Peers()
RATE = Number("rate", float, "connections a second, more than 0 ('inf' for no limit)")
SECONDS = Number("seconds", float, "seconds, more than 0 ('inf' for ever)")
SIZE = Size()
