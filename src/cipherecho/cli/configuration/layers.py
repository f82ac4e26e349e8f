"""Where the value of an option comes from: the file, the environment, the command line.

Each is a layer, and the strongest comes last.  In the file, what a ``[[listener]]`` table does
not have comes from the top of the file; an option of the environment or the command line wins
over every table, too.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from cipherecho.cli.configuration.option_types import Option
from cipherecho.cli.configuration.problems import Problems
from cipherecho.cli.configuration.server_options import Refused
from cipherecho.settings.declaration import declarations
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import Listener
from cipherecho.settings.process import ProcessSettings
from cipherecho.settings.tls import TlsSettings

__all__ = ["LISTENER_KEYS", "PROCESS_KEYS", "TLS_KEYS", "Layer", "Layers", "Setting", "values_of"]

TLS_KEYS = tuple(one.name for one in declarations(TlsSettings))

PROCESS_KEYS = (
    *(one.name for one in declarations(Limits) if one.of_process),
    *(one.name for one in declarations(ProcessSettings)),
)
"""The keys of a file that can't stand in a listener's table."""

LISTENER_KEYS = (
    "cipher",
    "decrypt",
    *(one.name for one in declarations(Listener) if one.name != "listen"),
    *TLS_KEYS,
    *(one.name for one in declarations(Limits) if not one.of_process),
)
"""The keys of a listener's table, but for ``url``, which is ``listen`` at the top."""


class Setting(NamedTuple):
    """The value of an option, and what gave it, for complaints: "" if nothing did."""

    value: Any
    where: str


Layer = dict[str, Setting]
"""Settings by the names of their options, without the dashes in front."""


class Layers:
    """What the context of a command has of each option, and what a file is joined with.

    Bad values are added to `problems`, and count as not given.
    """

    def __init__(self, ctx: click.Context, problems: Problems) -> None:
        self.options = {
            one.opts[0].removeprefix("--"): one
            for one in ctx.command.params
            if isinstance(one, Option)
        }
        self.given: Layer = {}
        """What the environment and the command line have."""
        self._defaults: Layer = {}
        by_parameter = {option.name: (key, option) for key, option in self.options.items()}
        for name, value in ctx.params.items():  # those of the command line first
            if name not in by_parameter:
                continue
            key, option = by_parameter[name]
            source = ctx.get_parameter_source(name)
            if isinstance(value, Refused):  # the others are looked at all the same
                problems.refuse("", value.problem)
                value, source = option.process_value(ctx, option.get_default(ctx)), None
            if source is ParameterSource.COMMANDLINE:
                self.given[key] = Setting(value, option.opts[0])
            elif source is ParameterSource.ENVIRONMENT:
                self.given[key] = Setting(value, str(option.envvar))
            else:
                self._defaults[key] = Setting(value, "")

    def merged(self, *layers: Layer) -> Layer:
        """Return what each option comes to, with some layers of the file, the strongest last."""
        merged = dict(self._defaults)
        for layer in (*layers, self.given):
            merged.update(layer)
        return merged


def values_of(of: type, settings: Layer) -> dict[str, Any]:
    """Return what the fields of settings are given that declare an option."""
    values = {}
    for one in declarations(of):
        value = settings[one.name].value
        if isinstance(one.default, StrEnum):
            value = type(one.default)(value)
        elif isinstance(one.default, bool):
            value = one.default != value  # a flag turns it around
        values[one.attribute] = value
    return values
