"""What is wrong with what people ask for, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

from cipherecho.errors import CipherechoError

__all__ = ["SettingsError"]


class SettingsError(CipherechoError):
    """Some of what was asked for can't be had; `problems` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))
