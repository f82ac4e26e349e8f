"""A module from a file: checked, joined with the adapter, and compiled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wasmtime import WasmtimeError
from wasmtime.component import Component, ExportIndex, Linker

from cipherecho.cipher import OptionError
from cipherecho_wasm.bounds import CompileBounds
from cipherecho_wasm.compiled import NotCompiledError, compiled
from cipherecho_wasm.interface import INTERFACE
from cipherecho_wasm.machine import engine

__all__ = ["Module", "load"]


@dataclass(frozen=True)
class Module:
    """A guest's code, joined with the adapter and compiled; all its instances share it."""

    component: Component
    linker: Linker
    """Empty, so that a guest gets nothing from the host."""
    exports: Mapping[str, ExportIndex]
    """The adapter's functions, and the guest's ``describe``."""


def load(
    path: Path,
    sha256: str | None = None,
    bounds: CompileBounds = CompileBounds(),  # noqa: B008
) -> Module:
    """Return the guest in the file `path`.

    The file is a component, in binary or as text.  Its digest is checked first.

    Raises:
      OptionError: the file doesn't exist, its digest isn't `sha256`, it isn't a component that
        exports the interface and imports nothing, or compiling it takes more than `bounds`.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise OptionError("module", str(path), f"a file to read ({problem.strerror})") from None
    if sha256 is not None:
        _check_digest(content, sha256)
    try:
        return _module(compiled(content, bounds))
    except NotCompiledError as problem:
        raise OptionError("module", str(path), str(problem)) from None
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


def _reason(problem: str, content: bytes) -> str:
    """Return in one line what is wrong with a module, from Wasmtime's complaint."""
    imported = re.search(r"missing import named `([^`]*)`", problem)
    if imported:
        return (
            f"this one imports {imported[1]}, but a cipher can't import anything; build it without "
            "(componentize-py --stub-wasi, componentize-qjs --stub-wasi)"
        )
    if f"no export named `{INTERFACE}`" in problem:
        package = INTERFACE.partition("@")[0].encode()
        other = re.search(re.escape(package) + rb"@[0-9A-Za-z.+-]+", content)
        exported = f"this one has {other[0].decode()}" if other else "this one does not"
        return (
            f"it must export {INTERFACE}, and {exported}; build it against the output of "
            "python -m cipherecho_wasm"
        )
    if "expected a version header for a component" in problem:
        return "this is a core module; turn it into a component (wasm-tools component new)"
    causes = problem.partition("Caused by:")[2].split("\n") if "Caused by:" in problem else []
    lines = [line.strip() for line in causes or problem.split("\n")]
    return " ".join(filter(None, lines))[:300] or "it is not one"
