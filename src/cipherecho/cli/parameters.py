"""Options that commands share: how they are written, read, completed and refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from cipherecho.cipher import Cipher
from cipherecho.endpoint import Endpoint, EndpointError, parse_endpoint
from cipherecho.session import Reset
from cipherecho.specification import SelectionError, Specification, SpecificationError, parse

if TYPE_CHECKING:
    from cipherecho.registry import Registry

__all__ = [
    "CIPHER_NAME",
    "COUNT",
    "ENDPOINT",
    "SECONDS",
    "SPECIFICATION",
    "chosen_cipher",
    "cipher_options",
    "installed",
    "option",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def option(name: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Declare an option that can also come from the environment, as ``CIPHERECHO_NAME``."""
    variable = "CIPHERECHO_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, cls=_Option, envvar=variable, **attributes)


class _Option(click.Option):
    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        # A variable that is blank counts as not set, as one that is empty does.
        value = super().resolve_envvar_value(ctx)
        return value if value and value.strip() else None

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return _variable_of(self, ctx) or super().get_error_hint(ctx)


def _variable_of(parameter: click.Parameter | None, ctx: click.Context | None) -> str | None:
    """Return the name of the variable that gave the option its value, None if none did."""
    if parameter is None or parameter.name is None or ctx is None:
        return None
    if ctx.get_parameter_source(parameter.name) is not ParameterSource.ENVIRONMENT:
        return None
    return str(parameter.envvar)


class CipherName(click.ParamType):  # type: ignore[type-arg]
    """The name of a cipher; a shell completes it from what is installed."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin with `incomplete`, from metadata alone."""
        registry = installed()
        names = {one.name for one in registry.entries if registry.status(one) != "bad name"}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


class _CipherSpecification(CipherName):
    name = "spec"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Specification:
        try:
            return value if isinstance(value, Specification) else parse(value)
        except SpecificationError as error:
            raise _refusal(error, param, ctx) from error

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        # White space parts the stages of a chain, but not inside quotes.
        return re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\]|["'\\])+""", rv)


class _EndpointType(click.ParamType):  # type: ignore[type-arg]
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


class _Positive(click.ParamType):  # type: ignore[type-arg]
    """A number that is more than 0, as every limit is."""

    def __init__(self, name: str, kind: type[int] | type[float], expected: str) -> None:
        self.name = name
        self._kind = kind
        self._expected = expected

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = self._kind(value)
        except ValueError:
            number = 0
        if not number > 0:  # nor is NaN
            self.fail(f"got {value!r}, expected {self._expected}", param, ctx)
        return number


CIPHER_NAME = CipherName()
COUNT = _Positive("count", int, "a whole number, 1 or more")
ENDPOINT = _EndpointType()
SPECIFICATION = _CipherSpecification()
SECONDS = _Positive("seconds", float, "seconds, more than 0 ('inf' for ever)")


def cipher_options(command: _Command) -> _Command:
    """Declare the options that say which cipher, as every command that codes has them."""
    for declare in (
        option(
            "--reset",
            type=click.Choice([reset.value for reset in Reset]),
            default=Reset.CONNECTION.value,
            show_default=True,
            help="Where the cipher's state starts afresh.",
        ),
        option("--decrypt", is_flag=True, help="Undo the cipher, the last stage first."),
        option(
            "--cipher",
            type=SPECIFICATION,
            multiple=True,
            default=["rot13"],
            show_default=True,
            metavar="SPEC",
            help="A cipher by name, with its options: caesar:5. Repeat it for a chain.",
        ),
    ):
        command = declare(command)
    return command


def installed() -> Registry:
    """Return the registry, with the packages that ``CIPHERECHO_PLUGINS`` allows.

    They are parted by commas or spaces; if it is blank or not set, all are allowed.
    """
    from cipherecho.registry import Registry

    allowed = re.split(r"[,\s]+", os.environ.get("CIPHERECHO_PLUGINS", "").strip(" ,"))
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
    variable = _variable_of(parameter, ctx)
    return click.UsageError(f"{variable}: {error}" if variable else str(error), ctx)
