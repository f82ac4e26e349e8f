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
            return run(
                listen,
                chosen,
                limits,
                reply=Reply(reply),
                reset=Reset(reset),
                express=not no_express,
                announce=announce,
            )


def _announce(stdout: int | None, endpoint: Endpoint) -> None:
    if not endpoint.is_private:
        log.warning(
            "%(endpoint)s can be reached from other machines, and nothing on it is encrypted "
            "on its way",
            {"endpoint": str(endpoint)},
        )
    # Past every buffer, so that one that nobody reads has nothing left at the end. There is
    # no standard output at all if it was closed when the program started.
    if stdout is not None:
        with suppress(OSError):
            os.write(stdout, os.fsencode(f"listening {endpoint}\n"))
