"""Machine code for a module: from the cache, or from the compiler beside this process.

This process never parses a stranger's module, not even as text: it only takes its digest.
"""

from __future__ import annotations

import logging

from wasmtime import WasmtimeError
from wasmtime.component import Component

from cipherecho.companion import cache_directory, companion
from cipherecho_wasm import cache
from cipherecho_wasm.bounds import CompileBounds
from cipherecho_wasm.machine import engine, target
from cipherecho_wasm.messages import Outcome, Request, receive, send

__all__ = ["COMPILER", "NotCompiledError", "compiled"]

log = logging.getLogger("cipherecho.wasm")

COMPILER = ("cipherecho-wasm", "cipherecho_wasm.compiler:serve")
"""The package's entry point for the compiler."""


class NotCompiledError(Exception):
    """The module did not compile; the text says what was expected of it."""


def compiled(module: bytes, bounds: CompileBounds) -> Component:
    """Return the component `module`, in binary or as text, joined with the adapter.

    If the cache can't be used, the log has a warning, and the module is compiled each time.

    Raises:
      WasmtimeError: `module` is not a component, or not a valid one.
      NotCompiledError: compiling it takes more than `bounds`, or crashed.
    """
    try:
        code = cache.kept(cache_directory(COMPILER[0]), cache.key_of(module, target()))
    except RuntimeError:  # the user has no home
        code = None
    if code is None:
        code = _asked_for(module, bounds)
    try:
        return Component.deserialize(engine(), code)
    except WasmtimeError:  # made with other settings, or for another processor
        return Component.deserialize(engine(), _asked_for(module, bounds, afresh=True))


def _asked_for(module: bytes, bounds: CompileBounds, *, afresh: bool = False) -> bytes:
    """Return the code from the compiler."""
    request = Request(afresh, target(), bounds.time, bounds.memory_bytes, module)
    try:
        with companion(*COMPILER) as compiler:
            send(compiler.requests, *request.parts())
            outcome, *rest = receive(compiler.answers) or [b"gone"]
    except OSError as error:
        raise NotCompiledError(
            f"a compiler in a process beside this one, and it can't be started: {error.strerror}"
        ) from error
    match outcome, *rest:
        case Outcome.CODE, code, problem:
            if problem:
                log.warning(
                    "compiled code can't be kept, so it is compiled again next time: %(problem)s",
                    {"problem": problem.decode()},
                )
            return code
        case Outcome.REFUSED, problem:
            raise WasmtimeError(problem.decode())
        case (Outcome.OUT_OF_TIME,):
            raise NotCompiledError(
                f"a module that compiles within {bounds.time} s of processor time; "
                f"compile-time={2 * bounds.time} would give it more"
            )
        case (Outcome.OUT_OF_MEMORY,):
            raise NotCompiledError(
                f"a module that compiles within {bounds.memory} MiB of memory; "
                f"compile-memory={2 * bounds.memory} would give it more"
            )
        case _:
            how = b" ".join(rest).decode() or "it ended"
            raise NotCompiledError(f"a module that compiles, and the compiler failed: {how}")
