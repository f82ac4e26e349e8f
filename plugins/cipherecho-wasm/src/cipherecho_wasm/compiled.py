"""Machine code that was compiled once, kept in the user's cache directory.

It is run as it is, so nobody else may have been able to write it: the directory and the file
have to be the user's own, writable by nobody else.  A file is named after all that its
content depends on, Wasmtime's version among it, begins with the digest of the rest, and
takes its place in one step.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs
from importlib_metadata import version
from wasmtime import WasmtimeError
from wasmtime.component import Component

from cipherecho_wasm.machine import engine

__all__ = ["compiled"]

log = logging.getLogger("cipherecho.wasm")

# So many are kept, those that were used last. A small one has 60 kB, one with Python 40 MB.
_MOST_FILES = 16

_OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIGEST_BYTES = hashlib.sha256().digest_size


def compiled(wasm: bytes) -> Component:
    """Return the component `wasm`, compiled now or before.

    A cache that can't be used is a warning in the log, and costs the time to compile.

    Raises:
      WasmtimeError: `wasm` is no component, or not a valid one.
    """
    try:
        directory = _directory()
    except OSError as problem:
        log.warning(
            "compiled code is not kept, and will have to be made again: %(problem)s",
            {"problem": str(problem)},
        )
        return Component(engine(), wasm)
    file = directory / f"{_key(wasm)}.compiled"
    component = _read(file)
    if component is None:
        component = Component(engine(), wasm)
        with suppress(OSError):  # a full disk
            _write(file, bytes(component.serialize()))
            _prune(directory)
    return component


def _key(wasm: bytes) -> str:
    # Wasmtime itself looks whether code is for its version, its settings and this processor.
    return hashlib.sha256(f"{version('wasmtime')}\n".encode() + wasm).hexdigest()


def _directory() -> Path:
    directory = platformdirs.user_cache_path("cipherecho") / "wasm"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(directory.lstat()) or not stat.S_ISDIR(directory.lstat().st_mode):
        raise PermissionError(
            f"{directory} can be written by others, expected a directory of this user's alone"
        )
    return directory


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_CAN_WRITE


def _read(file: Path) -> Component | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not _is_ours(status) or not stat.S_ISREG(status.st_mode):
            return None
        digest, code = opened.read(_DIGEST_BYTES), opened.read()
        if hashlib.sha256(code).digest() != digest:
            return None
        with suppress(OSError):
            os.utime(descriptor)  # it was used
    try:
        return Component.deserialize(engine(), code)
    except WasmtimeError:  # made with other settings, or for another processor
        return None


def _write(file: Path, code: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(hashlib.sha256(code).digest())
            opened.write(code)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _prune(directory: Path) -> None:
    files = sorted(directory.glob("*.compiled"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_FILES]:
        file.unlink(missing_ok=True)
