"""Commands of plugins that fail as ``cipherecho`` does: one line, and an exit status.

A plugin may need a command of its own, as one that makes keys.  With this, its ``main`` is::

    def main() -> None:
        run_command(root, "cipherecho-acme")

Exit statuses are 0 for success, 1 for a system error, 2 for a usage error, and 130 for an
interrupt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import click

from cipherecho.printable import printable

__all__ = ["LONGEST_COMPLAINT", "end", "exit_status", "run_command"]

LONGEST_COMPLAINT = 1000
"""How many characters an error line may have: enough for a sentence with two long paths."""


def run_command(command: click.Command, name: str) -> NoReturn:
    """Run a Click command with the arguments of this process, and exit.

    An error is one line on standard error that begins with `name`.  To report an error of its own,
    a command raises a ``click.ClickException``, which exits with 1, or a ``click.UsageError``.
    """

    def complain(text: str) -> None:
        with suppress(OSError):  # nobody is there to read it
            click.echo(f"{name}: {printable(text, LONGEST_COMPLAINT)}", err=True)

    end(
        exit_status(lambda: command.main(prog_name=name, standalone_mode=False), complain), complain
    )


def exit_status(run: Callable[[], object], complain: Callable[[str], object]) -> int:
    """Run a Click command that does not exit by itself, and return the exit status.

    Args:
      run: runs it, and returns what Click does: the status of an exit such as ``--help``'s.
      complain: reports an error; called once at most.
    """
    try:
        status = run()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except BrokenPipeError:
        return 0  # the reader has seen enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(where + (error.strerror or str(error)))
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    return status if isinstance(status, int) else 0


def end(status: int, complain: Callable[[str], object]) -> NoReturn:
    """Write what is left of the output, and exit; with 1 instead of 0 if that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # The rest in its buffer would fail once more at exit, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status == 0 and not isinstance(error, BrokenPipeError):
            complain(str(error.strerror))
            status = 1
    sys.exit(status)
