"""What the service manager is told of the process: ready, reloading, stopping, alive.

The messages are those of sd_notify(3), datagrams to the socket that ``NOTIFY_SOCKET`` names.
Nothing is linked for it, and other managers than systemd take them too.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import trio

from cipherecho.service_manager.environment import is_for_us, number_in

__all__ = ["ServiceManager"]


class ServiceManager:
    """Tells the service manager how the process does; without one, nothing happens.

    No call waits or fails because of the manager: a message that it has no room for, or that
    nobody is there to take, is lost.  Close it at the end, or use it as a context manager.

        with ServiceManager() as manager:
            manager.ready()

    Args:
      variables: the environment, which is left as it is.

    Raises:
      VariableError: the watchdog's variables are no numbers.
    """

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self.watchdog_seconds = _watchdog_seconds(variables)
        # A leading "@" stands for the zero byte of an address in Linux's abstract namespace.
        self._address = re.sub("^@", "\0", variables.get("NOTIFY_SOCKET", ""))
        # Opened once, so that the watchdog is fed even when the descriptors have run out.
        self._socket: socket.socket | None = None
        if sys.platform != "win32" and self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            # What it is connected to is still there for it in a sandbox.
            with suppress(OSError):
                self._socket.connect(self._address)

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket to the manager; it is told nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self) -> None:
        """Say that clients can connect, or that a reload has ended, well or not."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that a reload begins; :meth:`ready` has to follow.

        The time in it lets a manager whose units have ``Type=notify-reload`` see that this
        is the reload which it has asked for.
        """
        microseconds = time.monotonic_ns() // 1000  # CLOCK_MONOTONIC, where systemd is
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Say that a shutdown has begun."""
        self._tell("STOPPING=1")

    async def feed_watchdog(self) -> None:
        """Give the manager a sign of life at once, and then twice in the time that it waits.

        It comes from the task that calls this, so it ceases when Trio's loop stands still.
        Without a watchdog, this returns at once; else it ends when it is cancelled.
        """
        if self.watchdog_seconds is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.watchdog_seconds / 2)

    def _tell(self, message: str) -> None:
        if self._socket is None:
            return
        text = message.encode(errors="replace")
        try:
            self._socket.send(text)
        except OSError:  # it was not there yet, or is there anew, or is full
            with suppress(OSError):
                self._socket.sendto(text, self._address)


def _watchdog_seconds(variables: Mapping[str, str]) -> float | None:
    # Without its process number, it is meant for whoever reads it (sd_watchdog_enabled(3)).
    if "WATCHDOG_PID" in variables and not is_for_us(variables, "WATCHDOG_PID"):
        return None
    microseconds = number_in(variables, "WATCHDOG_USEC")
    return None if microseconds is None else microseconds / 1_000_000
