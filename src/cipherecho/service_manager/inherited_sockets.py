"""Sockets that a service manager has opened for the process (sd_listen_fds(3)).

They are the descriptors from 3, ``LISTEN_FDS`` of them, named by ``LISTEN_FDNAMES``, if
``LISTEN_PID`` is this process.  Nothing is known here of what they are: to listen on one,
open its endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cipherecho.service_manager.environment import VariableError, is_for_us, number_in

__all__ = [
    "Inherited",
    "inherited_sockets",
    "take_sockets",
    "why_not_activated",
    "why_not_ours",
]

_FIRST = 3  # after the standard streams (sd_listen_fds(3): SD_LISTEN_FDS_START)
_UNNAMED = "unknown"  # the name of all, without LISTEN_FDNAMES (sd_listen_fds_with_names(3))
_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(frozen=True)
class Inherited:
    """A descriptor that was handed over, by its number, and its name, which others may share."""

    number: int
    name: str


def inherited_sockets() -> tuple[Inherited, ...]:
    """Return what was handed over to this process, in order; empty if nothing was.

    The first call takes the variables out of the environment, so that no child takes the
    sockets for its own, and has the sockets closed in programs that are executed.  Later
    calls return the same.

    Raises:
      VariableError: as for :func:`take_sockets`.
    """
    return _handed_over()[0]


def why_not_activated() -> str:
    """Return why nothing was handed over though it looks so, and what to do; "" if it doesn't.

    Raises:
      VariableError: as for :func:`take_sockets`.
    """
    return _handed_over()[1]


@cache
def _handed_over() -> tuple[tuple[Inherited, ...], str]:
    variables = dict(os.environ)
    return take_sockets(os.environ), why_not_ours(variables)


def take_sockets(variables: MutableMapping[str, str]) -> tuple[Inherited, ...]:
    """Return what `variables` say was handed over to this process, and remove them.

    Raises:
      VariableError: they do not say it as they have to, or a descriptor is not open; they
        are removed all the same.
    """
    taken = {name: variables.pop(name) for name in _VARIABLES if name in variables}
    if not is_for_us(taken, "LISTEN_PID"):
        return ()
    number = number_in(taken, "LISTEN_FDS") or 0
    descriptors = range(_FIRST, _FIRST + number)
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise VariableError(
                "LISTEN_FDS", f"got {number}, but descriptor {descriptor} is not open"
            ) from error
    together = taken.get("LISTEN_FDNAMES")
    names = [_UNNAMED] * number if together is None else together.split(":")
    if len(names) != number:
        raise VariableError(
            "LISTEN_FDNAMES",
            f"got {len(names)} names, {together!r}, expected {number}, as LISTEN_FDS says",
        )
    return tuple(map(Inherited, descriptors, names))


def why_not_ours(variables: Mapping[str, str]) -> str:
    """Return why sockets that `variables` speak of are not for this process; "" if they are.

    A service manager starts a shell, or a runner such as ``uv run``, and that starts us as its
    child: the sockets are open in both, and meant for the other.
    """
    process = number_in(variables, "LISTEN_PID")
    if process is None or "LISTEN_FDS" not in variables or process == os.getpid():
        return ""
    name = ""
    with suppress(OSError):  # it has ended, or there is no /proc
        name = f" ({Path(f'/proc/{process}/comm').read_text(errors='replace').strip()})"
    return (
        f"the sockets in LISTEN_FDS were handed over to process {process}{name} and not to this "
        f"one, {os.getpid()}, which is left without them: start it by exec, as in sh -c 'exec "
        "cipherecho', or without a wrapper"
    )
