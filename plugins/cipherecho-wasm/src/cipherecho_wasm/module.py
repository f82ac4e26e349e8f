"""A module from a file: checked, joined with the adapter, and compiled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wasmtime import WasmtimeError, wat2wasm
from wasmtime.component import Component, ExportIndex, Linker

from cipherecho.cipher import OptionError
from cipherecho_wasm.compiled import compiled
from cipherecho_wasm.interface import INTERFACE, adapter
from cipherecho_wasm.machine import engine

__all__ = ["Module", "load"]

_MAGIC = b"\0asm"
_PREAMBLE_BYTES = 8
_COMPONENT_SECTION = 4


@dataclass(frozen=True)
class Module:
    """A guest's code, joined with the adapter and compiled; shared by all of its instances."""

    component: Component
    linker: Linker
    """Has nothing in it, so there is nothing that a guest could be given."""
    exports: Mapping[str, ExportIndex]
    """The adapter's functions, and the guest's ``describe``."""


def load(path: Path, sha256: str | None = None) -> Module:
    """Return the guest in the file `path`.

    The file is a component, in binary or as text.  Its digest is looked at before anything
    else is done with it.

    Raises:
      OptionError: there is no such file, its digest is another one than `sha256`, or it is
        no component that exports the interface and imports nothing.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise OptionError("module", str(path), f"a file to read ({problem.strerror})") from None
    if sha256 is not None:
        _check_digest(content, sha256)
    try:
        wasm = content if content.startswith(_MAGIC) else bytes(wat2wasm(content))
        return _module(compiled(_joined(wasm)))
    except WasmtimeError as problem:
        expected = f"a WebAssembly component: {_reason(str(problem), content)}"
        raise OptionError("module", str(path), expected) from None


def _module(component: Component) -> Module:
    names = ("start", "code", "rejections", "copy", "drop", "cipher")
    exports = {name: _export(component, name) for name in names}
    exports["describe"] = _export(component, "describe", exports.pop("cipher"))
    return Module(component, Linker(engine()), exports)


def _export(component: Component, name: str, within: ExportIndex | None = None) -> ExportIndex:
    index = component.get_export_index(name, within)
    if index is None:
        raise WasmtimeError(f"it has no function {name}")
    return index


def _check_digest(content: bytes, sha256: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise OptionError("sha256", sha256, "64 hexadecimal digits")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256.lower():
        raise OptionError("sha256", sha256, f"the digest of the module, which is {digest}")


def _joined(guest: bytes) -> bytes:
    """Return the adapter with `guest` in the place of its first component."""
    whole = _adapter()
    # The preamble, the section's number, its size in one byte, and that of nothing.
    size = whole[_PREAMBLE_BYTES + 1]
    after = _PREAMBLE_BYTES + 2 + size
    return (
        whole[:_PREAMBLE_BYTES]
        + bytes([_COMPONENT_SECTION])
        + _leb128(len(guest))
        + guest
        + whole[after:]
    )


@cache
def _adapter() -> bytes:
    return bytes(wat2wasm(adapter()))


def _leb128(number: int) -> bytes:
    """Return `number` as the format writes sizes: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _reason(problem: str, content: bytes) -> str:
    """Return in one line what is wrong with a module, from what Wasmtime says of it."""
    imported = re.search(r"missing import named `([^`]*)`", problem)
    if imported:
        return (
            f"this one imports {imported[1]}, and a cipher can import nothing; build it without "
            "(componentize-py --stub-wasi, componentize-qjs --stub-wasi)"
        )
    if f"no export named `{INTERFACE}`" in problem:
        package = INTERFACE.partition("@")[0].encode()
        other = re.search(re.escape(package) + rb"@[0-9A-Za-z.+-]+", content)
        exported = f"this one has {other[0].decode()}" if other else "this one does not"
        return (
            f"it has to export {INTERFACE}, and {exported}; build it against what "
            "python -m cipherecho_wasm prints"
        )
    if "expected a version header for a component" in problem:
        return "this is a core module; make a component of it (wasm-tools component new)"
    causes = problem.partition("Caused by:")[2].split("\n") if "Caused by:" in problem else []
    lines = [line.strip() for line in causes or problem.split("\n")]
    return " ".join(filter(None, lines))[:300] or "it is not one"
