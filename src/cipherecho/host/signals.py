"""What signals ask of the process, from its first moment to its last.

Python runs handlers in the main thread, between two of its instructions: also while a cipher
in Python keeps the event loop from turning.  (While C code keeps the interpreter, no handler
runs, and only SIGKILL helps.)

Next to nothing is imported here, so that there are handlers as early as can be.
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

# A supervisor passes on what the terminal has sent to the whole process group already
# (npm run, uv run, timeout): two signals, one wish. Nobody presses Ctrl-C twice so quickly.
_SAME_WISH_SECONDS = 0.1

# How long the event loop has, after a second signal, to end the process itself: then Unix
# sockets are removed. One that is not held up takes some milliseconds.
_ORDERLY_SECONDS = 0.5

# How long the last record may take to standard error: ten times what its thread lets gather.
_LAST_WORD_SECONDS = 0.1


class Signals:
    """SIGTERM, SIGINT and SIGHUP, to be handled in the main thread.

    Until a server runs, SIGTERM and SIGINT end the process at once, as process 1 too, and
    SIGHUP is kept for later.
    """

    def __init__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in _HANDLED}
        self._had_terminal = _has_terminal()
        self._hung_up = False
        self._stopped: float | None = None  # when, by a clock that does not go back
        self._ending = False
        # What a server does about them; nothing before there is one.
        self._serving = False
        self._stop: Callable[[], None]
        self._stop_at_once: Callable[[int], None]
        self._hang_up: Callable[[], None]

    def handle(self) -> None:
        """Begin to handle them, even if whoever started the process had blocked them.

        Those that were ignored (in a background job of a shell, SIGINT) stay so until a
        server runs, except for SIGHUP.
        """
        for number in _STOPPING:
            if self._before[number] != signal.SIG_IGN:
                signal.signal(number, self._on_stop)
        # Python gives back their default actions shortly before its end. A second signal of
        # the same wish would change the exit status then.
        atexit.register(_ignore)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._on_hang_up)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def release(self) -> None:
        """Let them do what they did before, for a command that is no server."""
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
        """Pass signals on to a server, until the process ends.

        What is passed is called at any point of the main thread, and must not raise.

        Args:
          stop: called at the first SIGTERM or SIGINT.
          stop_at_once: called with the number of one that comes more than a tenth of a second
            later.  Half a second after that, the process is ended if it has not ended itself.
          hang_up: called at each SIGHUP, and now if there was one already.
        """
        self._stop, self._stop_at_once, self._hang_up = stop, stop_at_once, hang_up
        self._serving = True
        for number in _STOPPING:
            signal.signal(number, self._on_stop)
        if self._hung_up:
            hang_up()

    def terminal_is_gone(self) -> bool:
        """Return whether the process had a terminal and should end, as that was closed.

        The kernel may send SIGHUP a moment before this becomes true.  A process that was
        started with SIGHUP ignored (nohup) goes on.
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
            except RuntimeError:  # there can be no more threads
                os._exit(128 + number)

    def _on_hang_up(self, number: int, _: object) -> None:
        self._hung_up = True
        if self._serving:
            self._hang_up()
        elif self.terminal_is_gone():
            _end(number)


def _end(number: int) -> None:
    """End the process, as it does nothing yet that has to be ended in order."""
    if number != signal.SIGINT:
        # As though it were not handled, which service managers take for a good end.
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
    os._exit(128 + number)  # process 1 is still there


def _end_soon(number: int) -> None:
    """End the process, in a thread of its own, when the main thread had the time to do it."""
    time.sleep(_ORDERLY_SECONDS)
    # The log may be what holds up the main thread, so it is not waited for.
    try:
        _thread.start_new_thread(_say_last_word, (number,))
        time.sleep(_LAST_WORD_SECONDS)
    finally:
        os._exit(128 + number)


def _say_last_word(number: int) -> None:
    import logging

    logging.getLogger("cipherecho").error(
        "ended by a second signal, as something holds up the event loop, such as a cipher "
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
            # After the program's name, which may have anything in it: its state, parent,
            # process group, session and terminal (proc_pid_stat(5)).
            return stat.read().rpartition(b")")[2].split()[4] != b"0"
    except OSError:  # not Linux
        pass
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno == errno.EACCES  # it may not be opened, and so nobody knows
    return True
