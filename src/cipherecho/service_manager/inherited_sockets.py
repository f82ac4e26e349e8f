"""Sockets that a service manager opened for the process (sd_listen_fds(3)).

If ``LISTEN_PID`` is this process, they are the ``LISTEN_FDS`` descriptors from 3 on, and
``LISTEN_FDNAMES`` has their names.  This module doesn't look at the sockets: to listen on one, open
its endpoint.
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
    """An inherited descriptor: its number, and its name, which others may share."""

    number: int
    name: str


def inherited_sockets() -> tuple[Inherited, ...]:
    """Return the descriptors that this process inherited, in order.

    The first call removes the variables from the environment, so that a child process doesn't take
    the sockets for its own, and makes the sockets non-inheritable.  Later calls return the same.

    Raises:
      VariableError: as for :func:`take_sockets`.
    """
    return _handed_over()[0]


def why_not_activated() -> str:
    """Return why sockets in the environment are not for this process, and what to do; or "".

    Raises:
      VariableError: as for :func:`take_sockets`.
    """
    return _handed_over()[1]


@cache
def _handed_over() -> tuple[tuple[Inherited, ...], str]:
    variables = dict(os.environ)
    return take_sockets(os.environ), why_not_ours(variables)


def take_sockets(variables: MutableMapping[str, str]) -> tuple[Inherited, ...]:
    """Return the descriptors that `variables` give this process, and remove the variables.

    Raises:
      VariableError: a variable is invalid, or a descriptor isn't open.  The variables are removed
        nevertheless.
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
    """Return why the sockets in `variables` are not for this process, or "" if they are.

    They aren't if a service manager started a shell, or a runner such as ``uv run``, and that
    started us as a child.  The sockets are open in both, but belong to the parent.
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
