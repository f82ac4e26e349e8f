"""Serving: from a configuration to a running server."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import redirect_stdout, suppress
from functools import partial

from cipherecho.ciphers.specification import SelectionError
from cipherecho.cli.configuration.assembly import Configuration
from cipherecho.cli.configuration.problems import SettingsError
from cipherecho.cli.configuration.toml_file import SettingsFile
from cipherecho.cli.messages import CRASHED
from cipherecho.host.log.stderr import logging_to_stderr
from cipherecho.host.log.writer import NoThreadError
from cipherecho.host.process import Callbacks, ciphers_in_sandbox, run
from cipherecho.host.signals import Signals
from cipherecho.service_manager.environment import VariableError
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.file_contents import has_changed
from cipherecho.settings.process import LogFormat, Sandbox

__all__ = ["check_ciphers", "serve_command"]

log = logging.getLogger("cipherecho")


def serve_command(configuration: Configuration, signals: Signals) -> int:
    """Serve until a signal ends it; return the exit status.

    Raises:
      NoThreadError: the system allows no thread.
      SettingsError: what a service manager has set in the environment makes no sense, or a
        cipher can't be made in the sandbox.
    """
    settings = configuration.process
    stdout = None if sys.stdout is None else sys.stdout.fileno()
    announce = partial(_announce, stdout, settings.log_format)
    with (
        redirect_stdout(sys.stderr),  # a plugin may print, but not there
        logging_to_stderr(settings.log_level, settings.log_format) as written,
    ):
        for warning in configuration.warnings:
            log.warning("%(warning)s", {"warning": warning})
        try:
            callbacks = Callbacks(
                announce,
                threads_paused=written.paused,
                records_lost=written.lost,
                look_again=partial(_look_again, configuration.settings_file),
            )
            return run(configuration.plan, settings, callbacks, signals)
        except VariableError as error:
            raise SettingsError([str(error)]) from error
        except (OSError, SettingsError, SelectionError):
            raise  # what the caller says in a line
        except Exception as error:
            if _lacks_thread(error):
                raise NoThreadError("the server") from error
            log.critical(CRASHED, exc_info=True)
            return 1


def _lacks_thread(error: BaseException) -> bool:
    """Return whether something failed only because the system allows no more threads."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_lacks_thread, error.exceptions))
    # Python has no type of its own for that.
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"


def check_ciphers(configuration: Configuration) -> None:
    """Make the ciphers, in the sandbox if there is to be one; the process stays in it.

    Raises:
      SettingsError: they can't be made.
    """
    sandbox = configuration.process.sandbox
    if sandbox is not Sandbox.OFF:
        ciphers_in_sandbox(configuration.plan, sandbox)


def _look_again(file: SettingsFile | None) -> None:
    """Say it if there are other settings now, as whoever asks for a reload may expect them."""
    if file is not None and has_changed(file.path, file.contents):
        log.warning(
            "%(file)s has changed since the start, and settings take a restart: see that they "
            "are right with --check-config first",
            {"file": str(file.path)},
        )


def _announce(stdout: int | None, form: LogFormat, what: str, endpoint: Endpoint) -> None:
    if what == "listening" and not endpoint.is_private and not endpoint.tls:
        log.warning(
            "%(endpoint)s can be reached from other machines, and nothing on it is encrypted "
            "on its way",
            {"endpoint": str(endpoint)},
        )
    # Who collects JSON has nothing from standard output, or a line that is none. In text, it
    # would be said twice at every terminal.
    if form is LogFormat.JSON:
        log.info(f"{what}: endpoint=%(endpoint)s", {"endpoint": str(endpoint)})
    # Past every buffer, so that one that nobody reads has nothing left at the end. There is
    # no standard output at all if it was closed when the program started.
    if stdout is not None:
        with suppress(OSError):
            os.write(stdout, os.fsencode(f"{what} {endpoint}\n"))
