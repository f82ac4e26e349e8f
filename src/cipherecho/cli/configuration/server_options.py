"""The options of the server, in the order and under the headings of its help.

All but a few come from the settings, whose fields declare them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cipherecho.cli.configuration.cipher_choice import cipher_options
from cipherecho.cli.configuration.option_types import FileType, Option, declared_option
from cipherecho.settings.declaration import Heading, declarations
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import Listener
from cipherecho.settings.process import ProcessSettings
from cipherecho.settings.tls import TlsSettings

__all__ = ["SECTIONS", "Refused"]


@dataclass(frozen=True)
class Refused:
    """Stands for the value of an option that was given a bad one."""

    problem: str


class _ServerOption(Option):
    """An option whose bad value does not keep the others from being looked at."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.UsageError as error:
            assert self.name is not None
            refused = ctx.params[self.name] = Refused(error.format_message())
            return refused, args


_OTHERS = [
    _ServerOption(
        "--config",
        type=FileType(),
        metavar="FILE",
        help="Read options from a TOML file: max-line = 99 stands for --max-line 99. Each "
        "[[listener]] table has a url and options of its own. The command line and the "
        "environment override the file.",
    ),
    _ServerOption(
        "--check-config",
        is_flag=True,
        help="Check the options, the environment and the file, show what would be served, and "
        "exit.",
    ),
]


def _sections() -> Mapping[str, list[click.Parameter]]:
    sections: dict[str, list[click.Parameter]] = {heading: [] for heading in Heading}
    sections[Heading.SERVED] += cipher_options(_ServerOption)
    for settings in (Limits, ProcessSettings, Listener, TlsSettings):
        for one in declarations(settings):
            sections[one.heading].append(declared_option(one, _ServerOption))
    sections["Settings"] = [*_OTHERS]
    return sections


SECTIONS = _sections()
"""The options under each heading."""
