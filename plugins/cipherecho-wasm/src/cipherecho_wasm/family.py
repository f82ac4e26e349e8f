"""The cipher ``wasm``: options about a module, and the module's own options."""

from __future__ import annotations

import inspect
import keyword
import re
from pathlib import Path
from typing import Annotated, Any

from cipherecho.cipher import OptionError, Range, Takes, Transform, Vector
from cipherecho_wasm.bounds import Bounds, CompileBounds
from cipherecho_wasm.guest import BadOption, Guest, GuestError
from cipherecho_wasm.machine import clock
from cipherecho_wasm.module import Module, load

__all__ = ["Member", "wasm"]

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def wasm(
    module: Annotated[Path, "the component, in binary or as text"],
    sha256: Annotated[str | None, "the digest that the file must have"] = None,
    fuel: Annotated[
        int, Range(1, 10**12), "instructions that a line may take, or each KiB of a longer line"
    ] = Bounds.fuel,
    memory: Annotated[
        int, Range(1, 4096), "MiB that each of its memories may have"
    ] = Bounds.memory,
    time: Annotated[
        float, Range(0.01, 3600), "seconds that a call with at most 2048 lines may take"
    ] = Bounds.time,
    compile_time: Annotated[
        int, Range(1, 86_400), "seconds of processor time that compiling it may take"
    ] = CompileBounds.time,
    compile_memory: Annotated[
        int, Range(64, 1_048_576), "MiB that compiling it may take"
    ] = CompileBounds.memory,
) -> Member:
    """Runs a cipher that was compiled to WebAssembly, and can only compute.

    A module has options of its own. To see them: cipherecho ciphers wasm:module=FILE
    """
    code = load(module, sha256, CompileBounds(compile_time, compile_memory))
    return Member(code, str(module), Bounds(fuel, memory, time))


wasm.family = True  # type: ignore[attr-defined]


class Member:
    """The factory of one module's cipher, described by the module.

    Raises:
      OptionError: the module's description is invalid, or asking for it failed.
    """

    def __init__(self, module: Module, path: str, bounds: Bounds) -> None:
        self._module = module
        self._path = path
        self._bounds = bounds
        self.__name__ = Path(path).stem
        try:
            described = Guest(module, bounds).describe()
        except GuestError as failure:
            raise self._unusable(f"this one fails to describe itself: {failure}") from None
        finally:
            clock().stop()
        self.__doc__ = described.help
        self.__signature__ = inspect.Signature(list(map(self._parameter, described.options)))
        self.vectors = tuple(
            Vector(one.plaintext, one.ciphertext, one.source, one.options)
            for one in described.vectors
        )
        self.lossy = described.inverse == "lossy"
        self._inverts = described.inverse != "none"

    def __call__(self, **given: str | None) -> OneWay:
        """Return the cipher with these options.

        Raises:
          OptionError: the module refuses one of them.
        """
        options = {name.replace("_", "-"): text for name, text in given.items() if text is not None}
        kind = BothWays if self._inverts else OneWay
        cipher = kind(self._module, self._bounds, options)
        try:
            cipher.encryptor()
        except BadOption as refusal:
            given_value = options.get(refusal.name, "nothing")
            raise OptionError(refusal.name, given_value, refusal.expected) from None
        except GuestError as failure:
            raise self._unusable(f"this one fails with these options: {failure}") from None
        finally:
            clock().stop()
        return cipher

    def _parameter(self, option: Any) -> inspect.Parameter:
        if not _NAME.fullmatch(option.name) or keyword.iskeyword(option.name):
            raise self._unusable(
                f"this one has an option {option.name!r}, expected a name in small letters"
            )
        return inspect.Parameter(
            option.name.replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if option.default is None else option.default,
            annotation=Annotated[str, Takes(option.takes), option.help],
        )

    def _unusable(self, why: str) -> OptionError:
        return OptionError("module", self._path, f"a usable module: {why}")


class OneWay:
    """A module's cipher, with its options; it can only encrypt."""

    slow = True

    def __init__(self, module: Module, bounds: Bounds, options: dict[str, str]) -> None:
        self._module = module
        self._bounds = bounds
        self._options = options

    def encryptor(self) -> Transform:
        """Return a transform in a guest of its own."""
        return Guest(self._module, self._bounds).start(self._options, decrypt=False)


class BothWays(OneWay):
    """A module's cipher, with its options, which can decrypt too."""

    def decryptor(self) -> Transform:
        """Return a transform in a guest of its own that decrypts."""
        return Guest(self._module, self._bounds).start(self._options, decrypt=True)
