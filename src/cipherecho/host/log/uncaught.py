"""Logs what Python itself would write to standard error.

Python's own reports have no date and no level, aren't JSON, and block while standard error is full.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cipherecho.printable import safe_text

__all__ = ["uncaught_logged"]

log = logging.getLogger("cipherecho")


@contextmanager
def uncaught_logged() -> Iterator[None]:
    """Log Python's warnings, uncaught exceptions in threads, and exceptions that Python ignores."""
    before = (
        warnings.showwarning,
        threading.excepthook,
        sys.unraisablehook,
    )
    warnings.showwarning = _warning
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable
    try:
        yield
    finally:
        (
            warnings.showwarning,
            threading.excepthook,
            sys.unraisablehook,
        ) = before


def _warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    log.warning(
        "%(category)s: %(warning)s (%(file)s:%(line)d)",
        {
            "category": category.__name__,
            "warning": safe_text(message),
            "file": filename,
            "line": lineno,
        },
    )


def _in_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_type is SystemExit:  # ends only that thread, on purpose
        return
    thread = raised.thread.name if raised.thread else "unknown"
    log.error(
        "a thread ended by an exception: thread=%(thread)r",
        {"thread": thread},
        exc_info=raised.exc_value,
    )


def _unraisable(raised: sys.UnraisableHookArgs) -> None:
    log.error(
        "an exception was ignored: where=%(where)r",
        {"where": f"{raised.err_msg or 'Exception ignored in'}: {safe_text(raised.object, repr)}"},
        exc_info=raised.exc_value,
    )
