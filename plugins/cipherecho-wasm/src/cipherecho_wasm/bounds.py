"""How much a guest may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "CompileBounds"]

_KIB = 1024


@dataclass(frozen=True)
class Bounds:
    """What one guest may use; each connection has its own guest."""

    fuel: int = 10_000_000
    """How many instructions a line may take, as Wasmtime counts them: about ten milliseconds of
    simple ones. A line over 1 KiB may take as many for each KiB."""

    memory: int = 64
    """How large each of its memories may grow, in MiB. There are two, its own and the one in which
    lines cross over, and at most two more if it brings more."""

    time: float = 5.0
    """How many seconds a call may take, with one line or with 2,048."""

    def fuel_for(self, lines: int, size: int) -> int:
        """Return how many instructions a call with this many lines and bytes may take."""
        return self.fuel * (lines + size // _KIB)

    @property
    def fuel_to_begin(self) -> int:
        """How many instructions its setup may take: 100 times as many as a line."""
        return self.fuel * 100

    @property
    def memory_bytes(self) -> int:
        """The same as :attr:`memory`, in bytes."""
        return self.memory * _KIB * _KIB


@dataclass(frozen=True)
class CompileBounds:
    """What compiling a module may take."""

    time: int = 120
    """In seconds of processor time. On a busy machine, compiling may last four times as long."""

    memory: int = 1024
    """In MiB of address space, including 60 for the compiler itself."""

    @property
    def memory_bytes(self) -> int:
        """The same as :attr:`memory`, in bytes."""
        return self.memory * _KIB * _KIB
