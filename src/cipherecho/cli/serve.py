"""Serving: from options to a running server."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from functools import partial

from cipherecho.cli.log import logging_to_stderr
from cipherecho.cli.parameters import chosen_cipher
from cipherecho.endpoint import Endpoint
from cipherecho.limits import Limits
from cipherecho.process import run
from cipherecho.service import Service
from cipherecho.session import Reply, Reset
from cipherecho.specification import Specification

__all__ = ["serve_command"]

log = logging.getLogger("cipherecho")


def serve_command(
    *,
    cipher: Sequence[Specification],
    decrypt: bool,
    reset: str,
    listen: Sequence[Endpoint],
    reply: str,
    no_express: bool,
    log_level: str,
    **bounds: float,
) -> int:
    """Serve until a signal ends it; return the exit status."""
    limits = Limits(**bounds)  # type: ignore[arg-type]
    announce = partial(_announce, None if sys.stdout is None else sys.stdout.fileno())
    with redirect_stdout(sys.stderr):  # a plugin may print, but not there
        chosen = chosen_cipher(cipher, decrypt=decrypt)
        with logging_to_stderr(log_level):
            service = Service(listen, chosen, limits, Reply(reply), Reset(reset))
            return run([service], express=not no_express, announce=announce)


def _announce(stdout: int | None, what: str, endpoint: Endpoint) -> None:
    if what == "listening" and not endpoint.is_private and not endpoint.tls:
        log.warning(
            "%(endpoint)s can be reached from other machines, and nothing on it is encrypted "
            "on its way",
            {"endpoint": str(endpoint)},
        )
    # Past every buffer, so that one that nobody reads has nothing left at the end. There is
    # no standard output at all if it was closed when the program started.
    if stdout is not None:
        with suppress(OSError):
            os.write(stdout, os.fsencode(f"{what} {endpoint}\n"))
