"""One guest: a store, an instance, and the transforms in it.

A guest that does something wrong ends with one of the errors here, and no other guest with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from wasmtime import Store, WasmtimeError
from wasmtime.component import U32, Func, String

from cipherecho.cipher import InputError
from cipherecho.printable import printable
from cipherecho_wasm.bounds import Bounds
from cipherecho_wasm.machine import clock, engine
from cipherecho_wasm.module import Module

__all__ = [
    "BadOption",
    "Guest",
    "GuestError",
    "GuestTransform",
    "OutOfFuel",
    "OutOfMemory",
    "OutOfTime",
    "Trapped",
]

# What else a guest may have: several times what any toolchain makes.
_MOST_INSTANCES = 100
_MOST_MEMORIES = 4
_MOST_TABLES = 20
_MOST_TABLE_ELEMENTS = 100_000

# The form of crossing text, as a digit before it; see the adapter.
_PLAIN = 0
_SOME_REJECTED = 1
_HEXADECIMAL = 2

_NOTE_LINES = 40
_NOTE_WIDTH = 200


class GuestError(Exception):
    """A guest failed, and has ended: its author's fault."""


class OutOfFuel(GuestError):  # noqa: N818 (clients see the name)
    """It took more instructions than allowed."""


class OutOfTime(GuestError):  # noqa: N818
    """It took more time than allowed."""


class OutOfMemory(GuestError):  # noqa: N818
    """It needs more memory at the start than allowed."""


class Trapped(GuestError):  # noqa: N818
    """It did something that WebAssembly doesn't allow, or gave up."""


class BadOption(Exception):  # noqa: N818 (not an error of the guest's)
    """A guest refuses the value of an option."""

    def __init__(self, name: str, expected: str) -> None:
        self.name = name
        self.expected = expected
        super().__init__(f"option {name}: expected {expected}")


class _CodeType:
    """The type of the adapter's ``code``: the parts that a call reads."""

    params = (("transform", U32()), ("text", String()))
    result = String()


class Guest:
    """A fresh instance of a module.

    Only one thread may use it at a time.  It needs no closing: it goes with the last reference
    to it.

    Raises:
      GuestError: it could not be set up within its bounds.
    """

    def __init__(self, module: Module, bounds: Bounds) -> None:
        self._bounds = bounds
        self._clock = clock()
        self._ticks = self._clock.ticks(bounds.time)
        self._store = Store(engine())
        self._store.set_limits(
            memory_size=bounds.memory_bytes,
            table_elements=_MOST_TABLE_ELEMENTS,
            instances=_MOST_INSTANCES,
            tables=_MOST_TABLES,
            memories=_MOST_MEMORIES,
        )
        self._dropped: list[int] = []
        self._exports = module.exports
        self._instance = self._run(
            bounds.fuel_to_begin, module.linker.instantiate, module.component
        )
        self._code = self._function("code")
        # Each call reads the function's type, which takes twice as long as the rest of the call.
        self._code.type = lambda _: _CodeType  # type: ignore

    def describe(self) -> Any:
        """Return the description of the cipher, the record of the interface."""
        return self._call("describe")

    def start(self, options: Mapping[str, str], *, decrypt: bool) -> GuestTransform:
        """Return a transform at the start of its state.

        Raises:
          BadOption: the guest refuses one of `options`.
          GuestError: the call failed.
        """
        started = self._call("start", list(options.items()), decrypt)
        if isinstance(started, int):
            return GuestTransform(self, started)
        raise BadOption(*started)

    def code(self, transform: int, text: bytes) -> tuple[bytes, dict[int, InputError]]:
        """Return the code of whole lines, and why some were rejected, as a transform does.

        Raises:
          GuestError: the call failed, and the guest can't be used again.
        """
        self._forget_dropped()
        fuel = self._bounds.fuel_for(text.count(b"\n"), len(text))
        crossing = f"{_PLAIN}{text.decode()}" if text.isascii() else f"{_HEXADECIMAL}{text.hex()}"
        answer: str = self._run(fuel, self._code, transform, crossing)
        form = int(answer[0])
        coded = bytes.fromhex(answer[1:]) if form & _HEXADECIMAL else answer[1:].encode()
        if not form & _SOME_REJECTED:
            return coded, {}
        return coded, {line: InputError(reason) for line, reason in self._call("rejections")}

    def copy(self, transform: int) -> int:
        """Return the number of a copy of a transform."""
        self._forget_dropped()
        copied: int = self._call("copy", transform)
        return copied

    def drop(self, transform: int) -> None:
        """Forget a transform at the next call; may be called at any time, in any thread."""
        self._dropped.append(transform)

    def _forget_dropped(self) -> None:
        while self._dropped:
            self._call("drop", self._dropped.pop())

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._run(self._bounds.fuel_to_begin, self._function(name), *arguments)

    def _function(self, name: str) -> Func:
        function: Func | None = self._instance.get_func(self._store, self._exports[name])
        assert function is not None  # the module was checked for it
        return function

    def _run(self, fuel: int, function: Callable[..., Any], *arguments: Any) -> Any:
        store = self._store
        store.set_fuel(fuel)
        store.set_epoch_deadline(self._ticks)
        self._clock.start()
        try:
            return function(store, *arguments)
        except WasmtimeError as failure:
            problem = str(failure)
            error = self._error(problem, fuel)
            # The place in the module, for its author; the names in it are the module's.
            shown = [printable(line, _NOTE_WIDTH) for line in problem.splitlines()]
            error.add_note("\n".join(shown[:_NOTE_LINES]))
            raise error from None
        finally:
            self._clock.end()

    def _error(self, problem: str, fuel: int) -> GuestError:
        """Return the error for Wasmtime's text about a failure."""
        if "all fuel consumed" in problem:
            return OutOfFuel(f"the module took more than the {fuel} instructions that it may")
        if "wasm trap: interrupt" in problem:
            return OutOfTime(f"the module took more than the {self._bounds.time} s that it may")
        if "memory minimum size" in problem:
            return OutOfMemory(
                f"the module needs more than the {self._bounds.memory} MiB that it may have"
            )
        return Trapped(problem.strip().splitlines()[-1].strip())


class GuestTransform:
    """A transform of the contract: a guest codes the lines, many at a time."""

    __slots__ = ("_guest", "_number")

    def __init__(self, guest: Guest, number: int) -> None:
        self._guest = guest
        self._number = number

    def __call__(self, body: bytes) -> bytes:
        # With CRLF, since a CR at the body's end would count as half of the ending.
        coded, rejections = self.block(body + b"\r\n")
        if rejections:
            raise rejections[0]
        return coded[:-2]

    def block(self, text: bytes) -> tuple[bytes, dict[int, InputError]]:
        """Return the code of whole lines with their endings, and why some were rejected."""
        return self._guest.code(self._number, text)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return type(self)(self._guest, self._guest.copy(self._number))

    def __del__(self) -> None:
        self._guest.drop(self._number)
