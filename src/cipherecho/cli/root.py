"""``cipherecho``: serve, unless a command says otherwise."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib import import_module
from itertools import chain
from typing import Any

import click
from click.core import ParameterSource

from cipherecho import __version__
from cipherecho.cli.configuration.server_options import SECTIONS
from cipherecho.cli.help import HelpContext, write_sections
from cipherecho.cli.program import Program
from cipherecho.printable import printable

__all__ = ["COMMANDS", "root"]

COMMANDS = {
    "apply": "Encrypt or decrypt files, or standard input.",
    "ciphers": "List the installed ciphers, or describe one.",
    "check": "Check that a cipher keeps the contract.",
    "new": "Write a package for a cipher of your own.",
}


class _Root(click.Group):
    """Knows its commands by name, and imports the one that runs."""

    context_class = HelpContext

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Many servers have this word, so it does no harm; nobody has to type it.
        return super().parse_args(ctx, args[1:] if args[:1] == ["serve"] else args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = getattr(import_module(f"cipherecho.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            if ctx.resilient_parsing:  # a shell completes, and wants no complaints
                return None, None, args
            from cipherecho.cli.guesses import WrongLineError

            there_are = f"there are {', '.join(COMMANDS)}"
            raise WrongLineError(f"there is no command {args[0]!r}", there_are, ctx)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Commands are those of the table above: help imports none of them.
        with_heading = set(chain.from_iterable(SECTIONS.values()))
        others = [one for one in self.get_params(ctx) if one not in with_heading]
        options = {**SECTIONS, "Help": others}
        write_sections(
            formatter,
            {"Commands (each has its own --help)": COMMANDS.items()}
            | {
                heading: [one.get_help_record(ctx) for one in parameters]
                for heading, parameters in options.items()
            },
        )

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("cipherecho", "[OPTIONS]")
        formatter.write_usage("cipherecho", "COMMAND [OPTIONS] ...", prefix="       ")


@click.group(
    cls=_Root,
    params=list(chain.from_iterable(SECTIONS.values())),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nEvery option can also come from the environment:\n"
    "CIPHERECHO_MAX_LINE=99 stands for --max-line 99.",
)
@click.version_option(__version__, message="cipherecho %(version)s")
@click.pass_context
def root(ctx: click.Context, /, *, check_config: bool, **_: Any) -> int | None:
    """Echo each line that a client sends, followed by its ciphertext.

    \b
    Examples:
      cipherecho --cipher rot13             # serve ROT13 at tcp://127.0.0.1:8013
      ncat 127.0.0.1 8013                   # talk to it, from another terminal
      cipherecho --listen 0 --reply cipher  # on any free port, without the echo
      echo Hello | cipherecho apply         # the same cipher in a pipeline
      cipherecho ciphers                    # what else is installed
    """  # noqa: D301
    signals = ctx.ensure_object(Program).signals
    if ctx.invoked_subcommand is not None:
        signals.release()
        _refuse_options_before(ctx, ctx.invoked_subcommand)
        return None
    from cipherecho.cli.configuration.assembly import configuration_of

    with redirect_stdout(sys.stderr):  # a plugin may print, but not there
        configuration = configuration_of(ctx)
    from cipherecho.cli.serve import check_ciphers, serve_command

    if check_config:
        with redirect_stdout(sys.stderr):
            check_ciphers(configuration)
        for warning in configuration.warnings:
            click.echo(f"cipherecho: warning: {printable(warning)}", err=True)
        click.echo(f"configuration ok\n{configuration.summary}")
        return 0
    return serve_command(configuration, signals)


def _refuse_options_before(ctx: click.Context, command: str) -> None:
    for parameter in ctx.command.params:
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            from cipherecho.cli.guesses import WrongLineError

            raise WrongLineError(
                f"got {parameter.opts[0]} before {command}, where it is an option of the server",
                f"expected the options of {command} after its name",
                ctx,
            )
