"""Runs a server from a configuration."""

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
    """Return whether the only cause is that the system allows no more threads."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_lacks_thread, error.exceptions))
    # Python has no exception type for that.
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"


def check_ciphers(configuration: Configuration) -> None:
    """Make the ciphers; with a sandbox, in it, and the process stays in it.

    Raises:
      SettingsError: a cipher can't be made.
    """
    sandbox = configuration.process.sandbox
    if sandbox is not Sandbox.OFF:
        ciphers_in_sandbox(configuration.plan, sandbox)


def _look_again(file: SettingsFile | None) -> None:
    """Warn if the settings file has changed, since a reload doesn't read it."""
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
    # A collector of JSON logs doesn't read standard output. In text, a terminal would show it
    # twice.
    if form is LogFormat.JSON:
        log.info(f"{what}: endpoint=%(endpoint)s", {"endpoint": str(endpoint)})
    # Unbuffered, so that nothing is left to fail at exit if nobody reads. There is no standard
    # output if it was closed when the program started.
    if stdout is not None:
        with suppress(OSError):
            os.write(stdout, os.fsencode(f"{what} {endpoint}\n"))
