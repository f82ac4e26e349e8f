"""The options that choose a cipher, for every command that has one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cipherecho.cipher import Cipher
from cipherecho.ciphers.specification import (
    SelectionError,
    Specification,
    SpecificationError,
    parse,
)
from cipherecho.cli.configuration.option_types import Option, variable_of

if TYPE_CHECKING:
    from cipherecho.ciphers.registry import Registry

__all__ = ["PLUGINS_VARIABLE", "SPECIFICATION", "chosen_cipher", "cipher_options", "installed"]

PLUGINS_VARIABLE = "CIPHERECHO_PLUGINS"
"""The variable that is no option: which packages may bring ciphers, to every command."""


class _CipherSpecification(click.ParamType):  # type: ignore[type-arg]
    """A cipher with its options; a shell completes its name from what is installed."""

    name = "spec"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with `incomplete`, from metadata alone."""
        registry = installed()
        names = {one.name for one in registry.entries if registry.status(one) != "bad name"}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Specification:
        try:
            return value if isinstance(value, Specification) else parse(value)
        except SpecificationError as error:
            from cipherecho.cli.guesses import with_names

            raise _refusal(with_names(error), param, ctx) from error

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        # White space separates the stages of a chain, but not inside quotes; commas separate the
        # options of one.
        return re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\]|["'\\])+""", rv)


SPECIFICATION = _CipherSpecification()


def cipher_options(kind: type[Option] = Option) -> list[click.Parameter]:
    """Return the options that say which cipher, as every command that codes has them."""
    return [
        kind(
            "--cipher",
            type=SPECIFICATION,
            multiple=True,
            default=["rot13"],
            metavar="SPEC",
            help="Cipher by name, with its options: caesar:5. Repeat it for a chain.",
        ),
        kind(
            "--decrypt",
            is_flag=True,
            help="Decrypt instead of encrypting, the last stage of a chain first.",
        ),
    ]


def installed() -> Registry:
    """Return the registry, with the packages that ``CIPHERECHO_PLUGINS`` allows.

    They are parted by commas or spaces; if it is blank or not set, all are allowed.
    """
    from cipherecho.ciphers.registry import Registry

    allowed = re.split(r"[,\s]+", os.environ.get(PLUGINS_VARIABLE, "").strip(" ,"))
    return Registry(allowed if any(allowed) else None)


def chosen_cipher(specifications: Sequence[Specification], *, decrypt: bool) -> Cipher:
    """Return the cipher that the options of the command that runs ask for.

    Raises:
      SelectionError, click.UsageError: it can't be had.
    """
    try:
        return installed().load_chain(specifications, decrypt=decrypt)
    except SelectionError as error:
        ctx = click.get_current_context()
        parameter = next(one for one in ctx.command.params if one.name == "cipher")
        raise _refusal(error, parameter, ctx) from error


def _refusal(
    error: SelectionError, parameter: click.Parameter | None, ctx: click.Context | None
) -> click.UsageError:
    # The error names the cipher, so the option need not be named; the variable has to be.
    variable = variable_of(parameter, ctx)
    return click.UsageError(f"{variable}: {error}" if variable else str(error), ctx)
