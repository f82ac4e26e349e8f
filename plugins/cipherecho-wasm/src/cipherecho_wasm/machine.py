"""Wasmtime, set up so that everything that runs in it can be stopped.

The process has one engine, so that all guests share compiled code.  Modules are compiled
beside the process, by an engine with the same settings.
"""

from __future__ import annotations

import ctypes
import logging
import math
import mmap
import sys
import threading
import time
from enum import StrEnum
from functools import cache

from wasmtime import Config, Engine

__all__ = ["Clock", "Target", "clock", "engine", "new_engine", "target"]

log = logging.getLogger("cipherecho.wasm")

# The precision of a bound on time. Each tick costs a few microseconds while guests run.
_TICK_SECONDS = 0.01

# No toolchain for guests needs these features. Turned off, guests can't reach their code.
_NOT_NEEDED = (
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_memory64",
    "wasm_relaxed_simd",
    "wasm_tail_call",
    "wasm_threads",
)

# The thread ends after this many ticks without a running guest, so that an idle server sleeps.
_QUIET_TICKS = 100


class Target(StrEnum):
    """What code is compiled for."""

    NATIVE = "native"
    """This processor."""
    INTERPRETER = (
        f"pulley{64 if sys.maxsize > 2**32 else 32}{'be' if sys.byteorder == 'big' else ''}"
    )
    """Wasmtime's interpreter, Pulley, which needs no executable memory."""


@cache
def target() -> Target:
    """Return the target for this process: its processor, if the system allows new machine code."""
    if _can_execute_new_code():
        return Target.NATIVE
    log.warning(
        "modules are interpreted, which takes about 30 times as long, since this process may not "
        "execute new code (MemoryDenyWriteExecute= of its unit?)"
    )
    return Target.INTERPRETER


def _can_execute_new_code() -> bool:
    with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        address = ctypes.addressof(start := ctypes.c_char.from_buffer(page))
        allowed: int = ctypes.CDLL(None).mprotect(
            ctypes.c_void_p(address),
            ctypes.c_size_t(mmap.PAGESIZE),
            mmap.PROT_READ | mmap.PROT_EXEC,
        )
        del start  # otherwise the page could not be unmapped
    return allowed == 0


@cache
def engine() -> Engine:
    """Return the engine that runs every guest of this process."""
    return new_engine(target())


def new_engine(target: Target) -> Engine:
    """Return an engine that compiles and runs guests for `target`."""
    config = Config()
    if target is not Target.NATIVE:
        config.target = target.value
    config.consume_fuel = True
    config.epoch_interruption = True
    config.parallel_compilation = False
    config.cranelift_nan_canonicalization = True  # the same answers on every machine
    for feature in _NOT_NEEDED:
        setattr(config, feature, False)
    return Engine(config)


@cache
def clock() -> Clock:
    """Return the clock of :func:`engine`."""
    return Clock(engine())


class Clock:
    """Ticks while guests run, so that Wasmtime can stop those that take too long."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running = 0
        self._thread: threading.Thread | None = None

    def ticks(self, seconds: float) -> int:
        """Return the number of ticks after which at least `seconds` have passed."""
        return math.ceil(seconds / _TICK_SECONDS) + 1

    def start(self) -> None:
        """Tick until :meth:`end` was called as often as this."""
        with self._lock:
            self._running += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="wasm clock", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """End what :meth:`start` began."""
        with self._lock:
            self._running -= 1

    def stop(self) -> None:
        """End the thread until a guest runs again; for a process that confines its threads."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _tick(self) -> None:
        quiet = 0
        while quiet < _QUIET_TICKS:
            time.sleep(_TICK_SECONDS)
            self._engine.increment_epoch()
            with self._lock:
                quiet = 0 if self._running else quiet + 1
                if self._thread is not threading.current_thread():
                    return
                if quiet == _QUIET_TICKS:
                    self._thread = None
