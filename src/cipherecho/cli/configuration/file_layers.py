"""What a settings file gives to each option: what is at its top, and what is in its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from cipherecho.cli.configuration.layers import (
    LISTENER_KEYS,
    PROCESS_KEYS,
    Layer,
    Layers,
    Setting,
)
from cipherecho.cli.configuration.option_types import NumberType, Option, SizeType, SwitchType
from cipherecho.cli.configuration.problems import Problems
from cipherecho.cli.configuration.toml_file import LISTENER, SettingsFile
from cipherecho.printable import printable, safe_text

__all__ = ["layers_of_file"]

_TOP = {key: key for key in ("listen", *LISTENER_KEYS, *PROCESS_KEYS)}
_TABLE = {key: key for key in LISTENER_KEYS} | {"url": "listen"}


def layers_of_file(
    file: SettingsFile, layers: Layers, problems: Problems
) -> tuple[Layer, list[Layer]]:
    """Return the settings at the top of a file, and those of each listener's table.

    What is wrong with them is added to `problems`, and left out.
    """
    return _FileLayers(file, layers, problems).read()


class _FileLayers:
    def __init__(self, file: SettingsFile, layers: Layers, problems: Problems) -> None:
        self._file = file
        self._options = layers.options
        self._given = layers.given
        self._problems = problems

    def read(self) -> tuple[Layer, list[Layer]]:
        file = self._file
        document = dict(file.document)
        tables = document.pop(LISTENER, [])
        if LISTENER in file.document and not _are_tables(tables):
            self._problems.refuse(
                file.where(LISTENER), f"expected tables, each begun by [[{LISTENER}]]"
            )
            tables = []
        top = self._layer(document, _TOP)
        layers = [self._layer(one, _TABLE, number) for number, one in enumerate(tables, 1)]
        for number, one in enumerate(tables, 1):
            if "url" not in one:
                self._problems.refuse(
                    file.where("url", number), "is missing, expected where to listen"
                )
        if tables:
            self._refuse_listen_beside_tables(top)
        return top, layers

    def _refuse_listen_beside_tables(self, top: Layer) -> None:
        for layer in (top, self._given):
            if "listen" in layer:
                self._problems.refuse(
                    layer.pop("listen").where,
                    f"got it together with [[{LISTENER}]] tables, expected one or the other: each "
                    "table has a url of its own",
                )

    def _layer(
        self,
        table: Mapping[str, Any],
        keys: Mapping[str, str],
        number: int | None = None,
    ) -> Layer:
        layer: Layer = {}
        for key, given in table.items():
            where = self._file.where(key, number)
            if key not in keys:
                self._problems.refuse(where, _unknown(key, keys))
                continue
            value = self._converted(keys[key], given, where, self._file.path.parent)
            if value is not None:
                layer[keys[key]] = Setting(value, where)
        return layer

    def _converted(self, key: str, given: Any, where: str, directory: Path) -> Any:
        """Return what a value of the file stands for, None if it is refused."""
        option = self._options[key]
        several = given if option.multiple and isinstance(given, list) else [given]
        if not several and key != "proxy-from":
            self._problems.refuse(where, "got an empty list, expected one or more")
            return None
        expected = _kind(option)
        values = []
        for one in several:
            if type(one) not in expected.types:  # a bool is an int, but not here
                self._problems.refuse(where, f"got {_as_written(one)}, expected {expected.words}")
                continue
            try:
                value = option.type.convert(one, option, None)
            except click.UsageError as error:
                self._problems.refuse(where, error.message)
            else:
                values.append(directory / value if isinstance(value, Path) else value)
        if len(values) < len(several):
            return None
        return tuple(values) if option.multiple else values[0]


class _Kind(NamedTuple):
    """What the value of an option is in TOML."""

    types: tuple[type, ...]
    words: str


def _kind(option: Option) -> _Kind:
    if option.is_flag:
        return _Kind((bool,), "true or false")
    if isinstance(option.type, SizeType):
        return _Kind((int, float, str), option.type.expected)
    if isinstance(option.type, NumberType):
        return _Kind((int, float), option.type.expected)
    if isinstance(option.type, SwitchType):
        return _Kind((bool, str), option.type.expected)
    return _Kind((str,), "text in quotes")


def _as_written(value: object) -> str:
    """Return what a value of a TOML document is, for a complaint about its type."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case int() | float() | str():
            return printable(safe_text(value, repr))
        case _:
            return f"the date or time {value}"


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _unknown(key: str, keys: Mapping[str, str]) -> str:
    """Return what is wrong with a key that is none of `keys`."""
    if key in PROCESS_KEYS:
        return f"is of the whole process, expected it above every [[{LISTENER}]]"
    if key in ("config", "check-config"):
        return "is no key of the file, expected it as an option or a variable"
    from difflib import get_close_matches

    # What listen is at the top is url in a table.
    swapped = {"listen": "url", "url": "listen"}.get(key)
    near = [swapped] if swapped in keys else get_close_matches(key, [*keys, LISTENER], n=1)
    hint = f"did you mean {near[0]}?" if near else "cipherecho --help has all options"
    return f"there is no such key; {hint}"
