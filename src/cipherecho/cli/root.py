"""``cipherecho``: serve, unless a command says otherwise."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from cipherecho import __version__
from cipherecho.cli.parameters import COUNT, ENDPOINT, SECONDS, cipher_options, option
from cipherecho.limits import Limits
from cipherecho.session import Reply

__all__ = ["root"]

_DEFAULT_ENDPOINT = "tcp://127.0.0.1:8013"

_COMMANDS = {
    "apply": "Put files or standard input through a cipher.",
    "ciphers": "Say what ciphers are installed, or what one is and takes.",
    "check": "Say whether a cipher keeps the contract.",
    "new": "Write a package for a cipher of your own.",
}


class _Root(click.Group):
    """Knows its commands by name, and imports the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = getattr(import_module(f"cipherecho.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            if ctx.resilient_parsing:  # a shell completes, and wants no complaints
                return None, None, args
            near = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {' and '.join(_COMMANDS)}"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table above: help imports no command.
        with formatter.section("Other commands (each has its own --help)"):
            formatter.write_dl(list(_COMMANDS.items()))

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("cipherecho", "[OPTIONS]")
        formatter.write_usage("cipherecho", "COMMAND [OPTIONS] ...", prefix="       ")


@click.group(
    cls=_Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="Every option can come from the environment: CIPHERECHO_MAX_LINE=99 is --max-line 99.",
)
@cipher_options
@option(
    "--listen",
    type=ENDPOINT,
    multiple=True,
    default=[_DEFAULT_ENDPOINT],
    show_default=True,
    metavar="URL",
    help="tcp://HOST:PORT, unix:///PATH, HOST:PORT, or PORT of 127.0.0.1; port 0 picks a free "
    "one. Repeat it to listen at several.",
)
@option(
    "--reply",
    type=click.Choice([Reply.BOTH.value, Reply.CIPHER.value]),
    default=Reply.BOTH.value,
    show_default=True,
    help="Send each line and its code, or its code alone.",
)
@option(
    "--max-line",
    type=COUNT,
    default=Limits.max_line,
    show_default=True,
    metavar="BYTES",
    help="The longest line, without its ending.",
)
@option(
    "--max-connections",
    type=COUNT,
    default=Limits.max_connections,
    show_default=True,
    metavar="N",
    help="How many clients are served at once.",
)
@option(
    "--max-workers",
    type=COUNT,
    default=Limits.max_workers,
    show_default=True,
    metavar="N",
    help="How many threads a slow cipher may have.",
)
@option(
    "--idle-timeout",
    type=SECONDS,
    default=Limits.idle_timeout,
    show_default=True,
    metavar="SECONDS",
    help="How long a client may send nothing ('inf' for ever).",
)
@option(
    "--line-timeout",
    type=SECONDS,
    default=Limits.line_timeout,
    show_default=True,
    metavar="SECONDS",
    help="How long a line may take once it has begun.",
)
@option(
    "--write-timeout",
    type=SECONDS,
    default=Limits.write_timeout,
    show_default=True,
    metavar="SECONDS",
    help="How long a client may take to take a reply.",
)
@option(
    "--grace",
    type=SECONDS,
    default=Limits.grace,
    show_default=True,
    metavar="SECONDS",
    help="How long a shutdown may take.",
)
@option(
    "--no-express",
    is_flag=True,
    help="Serve each connection by a task of its own, not all quiet ones by one task, as "
    "otherwise on Linux. Clients see no difference but the speed.",
)
@option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is told on standard error.",
)
@click.version_option(__version__, message="cipherecho %(version)s")
@click.pass_context
def root(ctx: click.Context, /, **options: Any) -> int | None:
    """Answer each line that a client sends with the line and its cipher.

    \b
    Examples:
      cipherecho --cipher rot13                 # serve ROT13 on tcp://127.0.0.1:8013
      ncat 127.0.0.1 8013                       # talk to it, from another terminal
      cipherecho --listen 0 --reply cipher      # on any free port, without the echo
      echo Hello | cipherecho apply             # the same cipher in a pipeline
      cipherecho ciphers                        # what else is installed
    """  # noqa: D301
    if ctx.invoked_subcommand is not None:
        _refuse_options_before(ctx, ctx.invoked_subcommand)
        return None
    from cipherecho.cli.serve import serve_command

    return serve_command(**options)


def _refuse_options_before(ctx: click.Context, command: str) -> None:
    for parameter in ctx.command.params:
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"got {parameter.opts[0]} before {command}, where it is an option of the server; "
                f"expected the options of {command} after its name",
                ctx,
            )
