"""The command line, the top layer: arguments in, text and exit statuses out.

Each command's own module is imported when that command runs, so that nobody waits for
what they did not ask for.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process, and exit.

    The status is 0 if all went well, 1 for what the system refused and for lines that
    were rejected, 2 for a usage error, and 128 plus its number for a signal.
    """
    # Before the slow imports: process 1 has no default actions for signals, so a signal before
    # there is a handler is lost.
    from cipherecho.host.signals import Signals

    signals = Signals()
    signals.handle()

    from cipherecho.cli.command_line import run_command_line

    run_command_line(signals)
