"""One run of the command line: its messages and its exit status."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from cipherecho.ciphers.specification import SelectionError
from cipherecho.cli.configuration.problems import SettingsError
from cipherecho.cli.messages import Messages, form_asked_for
from cipherecho.cli.program import Program
from cipherecho.cli.root import COMMANDS, root
from cipherecho.commands import end, exit_status
from cipherecho.host.signals import Signals

__all__ = ["run_command_line"]


def run_command_line(signals: Signals) -> NoReturn:
    """Run the command line of this process, and exit as :func:`cipherecho.cli.main` says.

    `signals` are handled; a command that does not serve releases them.
    """
    messages = Messages()
    end(_run(Program(signals, messages)), messages.complain)


def _run(program: Program) -> int:
    messages = program.messages
    try:
        _open_standard_descriptors()
        messages.use(form_asked_for(sys.argv[1:], os.environ, COMMANDS))
        return exit_status(lambda: _main(program), messages.complain)
    except SelectionError as error:
        messages.complain(str(error))
        return 2
    except SettingsError as error:
        for problem in error.problems:
            messages.complain(problem)
        return 2
    except Exception:
        if not messages.in_json:
            raise
        messages.crash()
        return 1


def _main(program: Program) -> object:
    """Run Click; a usage error gets the line that was probably meant."""
    try:
        return root.main(prog_name="cipherecho", standalone_mode=False, obj=program)
    except click.UsageError as error:
        from cipherecho.cli.guesses import complaint

        raise click.UsageError(complaint(error, sys.argv[1:])) from error
    except FileNotFoundError as error:
        from cipherecho.cli.guesses import missing_file_hint

        hint = missing_file_hint(error.filename, sys.argv[1:], click.Context(root))
        error.strerror = f"{error.strerror}{hint}"
        raise


def _open_standard_descriptors() -> None:
    """Open closed standard descriptors on the null device.

    Otherwise a socket would get such a number, and its client would get standard error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
