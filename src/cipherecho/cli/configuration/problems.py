"""What is wrong with what people ask for, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Problems", "SettingsError"]


class SettingsError(Exception):
    """Some of what was asked for can't be had; `problems` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class Problems:
    """Collects what is wrong, so that people are told all of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.lines)

    def refuse(self, where: str, problem: object) -> None:
        """Add a problem, and what gave the value that is wrong; "" if nothing did."""
        self.lines.append(f"{where}: {problem}" if where else str(problem))

    def error(self, more: Iterable[str] = ()) -> SettingsError:
        """Return the exception that has all of them, and more, each once."""
        return SettingsError(dict.fromkeys([*self.lines, *more]))
