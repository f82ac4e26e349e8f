"""What a service manager says in environment variables: numbers, and whom they are for.

What each of them means, :mod:`~cipherecho.service_manager.inherited_sockets` and
:mod:`~cipherecho.service_manager.notifications` know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from cipherecho.errors import CipherechoError

__all__ = ["VariableError", "is_for_us", "number_in"]


class VariableError(CipherechoError, ValueError):
    """An environment variable of a service manager is not as it has to be; `variable` is its name.

    It was set by something else, or by hand: unset it, or start the program as before.
    """

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        super().__init__(f"environment variable {variable}: {problem}")


def number_in(variables: Mapping[str, str], name: str) -> int | None:
    """Return the number, from 1, that a variable is, or None if there is no such variable.

    Raises:
      VariableError: it is something else.
    """
    text = variables.get(name)
    if text is None:
        return None
    # No process, descriptor or time in microseconds has more digits.
    if not re.fullmatch("[0-9]{1,20}", text) or int(text) == 0:
        raise VariableError(name, f"got {text!r}, expected a number from 1")
    return int(text)


def is_for_us(variables: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is the number of this process.

    The variables of a process that was started for us may have been left for its children.

    Raises:
      VariableError: it is no number.
    """
    return number_in(variables, name) == os.getpid()
