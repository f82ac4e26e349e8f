"""Handles signals, from the first moment of the process to its last.

Python runs handlers in the main thread, between two instructions, even while a cipher written in
Python blocks the event loop.  (While C code holds the interpreter's lock, no handler runs, and only
SIGKILL helps.)

This imports almost nothing, so that the handlers are there as early as possible.
"""

from __future__ import annotations

import _thread
import atexit
import errno
import os
import signal
import sys
import time
from collections.abc import Callable

__all__ = ["Signals"]

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_HANDLED: tuple[signal.Signals, ...] = _STOPPING
if sys.platform != "win32":
    _HANDLED += (signal.SIGHUP,)

# Some supervisors (npm run, uv run, timeout) pass on a signal that the terminal has already sent to
# the whole process group.  Two signals this close count as one: nobody presses Ctrl-C twice so
# quickly.
_SAME_WISH_SECONDS = 0.1

# After a second signal, the event loop has this long to end the process itself, which removes Unix
# sockets.  A loop that isn't blocked needs a few milliseconds.
_ORDERLY_SECONDS = 0.5

# How long the last record may take to reach standard error: ten times as long as the log's writer
# gathers lines.
_LAST_WORD_SECONDS = 0.1


class Signals:
    """Handles SIGTERM, SIGINT and SIGHUP; to be used in the main thread.

    Until a server runs, SIGTERM and SIGINT end the process at once, even process 1, and SIGHUP
    is kept for later.
    """

    def __init__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in _HANDLED}
        self._had_terminal = _has_terminal()
        self._hung_up = False
        self._stopped: float | None = None  # when the first stop came, by time.monotonic
        self._ending = False
        # The server's reactions, once there is a server.
        self._serving = False
        self._stop: Callable[[], None]
        self._stop_at_once: Callable[[int], None]
        self._hang_up: Callable[[], None]

    def handle(self) -> None:
        """Start to handle the signals, even if the parent process had blocked them.

        An ignored SIGTERM or SIGINT (a shell's background jobs ignore SIGINT) stays ignored until
        a server runs.
        """
        for number in _STOPPING:
            if self._before[number] != signal.SIG_IGN:
                signal.signal(number, self._on_stop)
        # Shortly before its end, Python restores the default actions.  A second copy of the signal
        # would then change the exit status.
        atexit.register(_ignore)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._on_hang_up)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def release(self) -> None:
        """Restore the earlier handlers, for a command that runs no server."""
        atexit.unregister(_ignore)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if sys.platform != "win32" and self._hung_up:
            signal.raise_signal(signal.SIGHUP)

    def serve(
        self,
        *,
        stop: Callable[[], None],
        stop_at_once: Callable[[int], None],
        hang_up: Callable[[], None],
    ) -> None:
        """Pass signals to a server until the process ends.

        The functions may be called at any point of the main thread, and must not raise.

        Args:
          stop: called at the first SIGTERM or SIGINT.
          stop_at_once: called with the number of a second one that comes at least 0.1 s later.
            If the process has not ended 0.5 s after that, it is ended by force.
          hang_up: called at each SIGHUP, and now if one has come already.
        """
        self._stop, self._stop_at_once, self._hang_up = stop, stop_at_once, hang_up
        self._serving = True
        for number in _STOPPING:
            signal.signal(number, self._on_stop)
        if self._hung_up:
            hang_up()

    def terminal_is_gone(self) -> bool:
        """Return whether the process should end because its terminal was closed.

        The kernel may send SIGHUP a moment before this becomes true.  If the process was started
        with SIGHUP ignored (nohup), this stays False.
        """
        if sys.platform == "win32":
            return False
        return (
            self._had_terminal
            and self._before[signal.SIGHUP] != signal.SIG_IGN
            and not _has_terminal()
        )

    def _on_stop(self, number: int, _: object) -> None:
        now = time.monotonic()
        if not self._serving:
            _end(number)
        elif self._stopped is None:
            self._stopped = now
            self._stop()
        elif now - self._stopped >= _SAME_WISH_SECONDS and not self._ending:
            self._ending = True
            self._stop_at_once(number)
            # Not threading.Thread, whose start takes locks that this thread may hold.
            try:
                _thread.start_new_thread(_end_soon, (number,))
            except RuntimeError:  # the system allows no more threads
                os._exit(128 + number)

    def _on_hang_up(self, number: int, _: object) -> None:
        self._hung_up = True
        if self._serving:
            self._hang_up()
        elif self.terminal_is_gone():
            _end(number)


def _end(number: int) -> None:
    """End the process at once: it does nothing yet that needs a graceful end."""
    if number != signal.SIGINT:
        # End by the signal itself, which service managers count as success.
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)  # process 1 survives its own signal


def _end_soon(number: int) -> None:
    """Give the main thread time to end the process, then end it; runs in a thread of its own."""
    time.sleep(_ORDERLY_SECONDS)
    # Don't wait for the log: it may be what blocks the main thread.
    try:
        _thread.start_new_thread(_say_last_word, (number,))
        time.sleep(_LAST_WORD_SECONDS)
    finally:
        os._exit(128 + number)


def _say_last_word(number: int) -> None:
    import logging

    logging.getLogger("cipherecho").error(
        "ended by a second signal, because something blocks the event loop, such as a cipher "
        "that does not return: signal=%(signal)s",
        {"signal": signal.Signals(number).name},
    )


def _ignore() -> None:
    for number in _HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _has_terminal() -> bool:
    """Return whether there is a terminal whose closing sends SIGHUP to this process."""
    if sys.platform == "win32":
        return False
    try:
        # pathlib takes long to import.
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123
            # The program's name may contain anything.  After it come state, parent, process group,
            # session and terminal (proc_pid_stat(5)).
            return stat.read().rpartition(b")")[2].split()[4] != b"0"
    except OSError:  # not Linux
        pass
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EACCES  # without the right to open it, assume a terminal
    return True
