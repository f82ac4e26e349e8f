"""Reads a service manager's environment variables: numbers, and which process they are for.

:mod:`~cipherecho.service_manager.inherited_sockets` and
:mod:`~cipherecho.service_manager.notifications` know what each variable means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from cipherecho.errors import CipherechoError

__all__ = ["VariableError", "is_for_us", "number_in"]


class VariableError(CipherechoError, ValueError):
    """A service manager's environment variable, `variable`, is invalid.

    It was probably set by hand or by another program: unset it.
    """

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        super().__init__(f"environment variable {variable}: {problem}")


def number_in(variables: Mapping[str, str], name: str) -> int | None:
    """Return a variable as a number, 1 or more; None if it isn't set.

    Raises:
      VariableError: it isn't such a number.
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

    It may be the number of a parent, which left the variable in the environment.

    Raises:
      VariableError: it isn't a number.
    """
    return number_in(variables, name) == os.getpid()
