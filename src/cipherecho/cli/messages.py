"""Error messages on standard error, where there is no log.

People get a line for each reason.  A server whose log is in JSON says that in JSON too, since
whatever reads the one gets the other, and most of all wants to know why there is no server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import pairwise

import click

from cipherecho.commands import LONGEST_COMPLAINT
from cipherecho.printable import printable

__all__ = ["CRASHED", "Messages", "form_asked_for"]

CRASHED = "cipherecho ended by an exception, which is a bug"
"""The message for an unexpected exception that ends the process."""


class Messages:
    """Writes error messages: as text, until the format of the log is known."""

    def __init__(self) -> None:
        self.in_json = False
        self._log = ExitStack()

    def use(self, form: str) -> None:
        """Use the format of the log from now on, also for Python's own messages."""
        if self.in_json == (form == "json"):
            return
        self.in_json = not self.in_json
        self._log.close()
        if self.in_json:
            from cipherecho.host.log.stderr import logging_at_once

            self._log.enter_context(logging_at_once())

    def complain(self, text: str) -> None:
        """Write an error message."""
        # It may quote a plugin or its metadata.
        text = printable(text, LONGEST_COMPLAINT)
        if self.in_json:
            import logging  # not for those who have nothing to complain of

            log = logging.getLogger("cipherecho")
            log.error("%s", text)
            return
        line = f"cipherecho: {text}"
        if "JOURNAL_STREAM" in os.environ:
            from cipherecho.host.log.form import is_journal, prioritised

            if is_journal(2, os.environ):
                import logging

                line = prioritised(line, logging.ERROR)
        with suppress(OSError):  # then nobody is there to read it
            click.echo(line, err=True)

    def crash(self) -> None:
        """Log the current exception with its traceback; only for JSON."""
        import logging

        log = logging.getLogger("cipherecho")
        log.critical(CRASHED, exc_info=True)


def form_asked_for(
    arguments: Sequence[str], variables: Mapping[str, str], commands: Iterable[str]
) -> str:
    """Return the format of the log, as far as it is known before options are parsed.

    What is wrong with the other options, or the file, is to be said in it.  All `commands`
    speak to people, and so does ``--check-config``.
    """
    if "--check-config" in arguments or (arguments and arguments[0] in commands):
        return "text"
    form = variables.get("CIPHERECHO_LOG_FORMAT", "").strip()
    for word, following in pairwise([*arguments, ""]):
        if word == "--":
            break
        if word == "--log-format":
            form = following
        elif word.startswith("--log-format="):
            form = word.partition("=")[2]
    return form
