"""How much a guest may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "CompileBounds"]

_KIB = 1024


@dataclass(frozen=True)
class Bounds:
    """What one guest may use; there is one for every connection."""

    fuel: int = 10_000_000
    """How many instructions a line may take, as Wasmtime counts them: some ten milliseconds
    of the simplest. A longer line may take so many for each KiB of it."""

    memory: int = 64
    """How large each memory of it may grow, in MiB. There are two, its own and that in which
    lines cross over, and two more at the most if it brings more."""

    time: float = 5.0
    """How many seconds a call may take, be it with one line or 2,048."""

    def fuel_for(self, lines: int, size: int) -> int:
        """Return how many instructions a call with so many lines and bytes may take."""
        return self.fuel * (lines + size // _KIB)

    @property
    def fuel_to_begin(self) -> int:
        """How many it may take to be set up: 100 times what a line may."""
        return self.fuel * 100

    @property
    def memory_bytes(self) -> int:
        """The same as :attr:`memory`, in bytes."""
        return self.memory * _KIB * _KIB


@dataclass(frozen=True)
class CompileBounds:
    """What compiling a module may take."""

    time: int = 120
    """In seconds of processor time. On a busy machine it may last four times as long."""

    memory: int = 1024
    """In MiB of address space, with 60 that the compiler itself has."""

    @property
    def memory_bytes(self) -> int:
        """The same as :attr:`memory`, in bytes."""
        return self.memory * _KIB * _KIB
