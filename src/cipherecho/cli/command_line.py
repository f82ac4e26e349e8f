"""One run of the command line: what it says, and its exit status."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from cipherecho.cli.parameters import SettingsError
from cipherecho.cli.root import root
from cipherecho.printable import printable
from cipherecho.signals import Signals
from cipherecho.specification import SelectionError

__all__ = ["run_command_line"]

_LONGEST_COMPLAINT = 1000


def run_command_line(signals: Signals) -> NoReturn:
    """Run the command line of this process, and exit as :func:`cipherecho.cli.main` says.

    `signals` are handled; a command that does not serve releases them.
    """
    status = _run(signals)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # What is left in its buffer would fail once more at exit, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status == 0 and not isinstance(error, BrokenPipeError):
            status = _complain(str(error.strerror), 1)
    sys.exit(status)


def _run(signals: Signals) -> int:
    try:
        _open_standard_descriptors()
        # Click returns the status of its own exits (--help), and of ours.
        status = root.main(prog_name="cipherecho", standalone_mode=False, obj=signals)
    except (click.UsageError, SelectionError) as error:
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        return _complain(text, 2)
    except SettingsError as error:
        for problem in error.problems:
            _complain(problem, 2)
        return 2
    except BrokenPipeError:
        return 0  # whoever reads has seen enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(where + (error.strerror or str(error)), 1)
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    return status if isinstance(status, int) else 0


def _open_standard_descriptors() -> None:
    """Open those of the standard descriptors that are closed, on the null device.

    Or sockets would get their numbers, and a client what is meant for standard error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _complain(text: str, status: int) -> int:
    # What is quoted in it may come from a plugin or its metadata.
    click.echo(f"cipherecho: {printable(text, _LONGEST_COMPLAINT)}", err=True)
    return status
