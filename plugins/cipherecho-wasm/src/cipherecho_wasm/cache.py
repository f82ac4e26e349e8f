"""Machine code that was compiled once, kept in a directory.

It is run as it is, so nobody else may have been able to write it: the directory and the file
have to be the user's own, writable by nobody else.  A file is named after all that its
content depends on, Wasmtime's version among it, begins with the digest of the rest, and
takes its place in one step.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from functools import cache as remembered
from pathlib import Path

from importlib_metadata import version

from cipherecho_wasm.interface import adapter

__all__ = ["keep", "kept", "key_of", "refusal"]

# So many are kept, those that were used last. A small one has 60 kB, one with Python 40 MB.
_MOST_FILES = 16

_OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIGEST_BYTES = hashlib.sha256().digest_size


def key_of(module: bytes, target: str) -> str:
    """Return the name that the code of a module has, compiled for `target`."""
    # Wasmtime itself looks whether code is for its version, its settings and this processor.
    depends = "".join(f"{one}\n" for one in (version("wasmtime"), target, _adapter_digest()))
    return hashlib.sha256(depends.encode() + module).hexdigest()


@remembered
def _adapter_digest() -> str:
    return hashlib.sha256(adapter().encode()).hexdigest()


def refusal(directory: Path | None) -> str:
    """Return why code can't be kept there, "" if it can."""
    if directory is None:
        return "this user has no home"
    try:
        status = directory.lstat()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory}: it is no directory"
    if not _is_ours(status):
        return f"{directory} can be written by others, expected a directory of this user's alone"
    return ""


def kept(directory: Path, key: str) -> bytes | None:
    """Return the code that was kept by that name, None if there is none that can be trusted."""
    if refusal(directory):
        return None
    try:
        descriptor = os.open(_file(directory, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
    return code


def keep(directory: Path, key: str, code: bytes) -> None:
    """Keep the code by that name, and no more than some that were used last.

    Raises:
      OSError: it can't be written.
    """
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(hashlib.sha256(code).digest())
            opened.write(code)
        Path(name).replace(_file(directory, key))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    files = sorted(directory.glob("*.compiled"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_FILES]:
        file.unlink(missing_ok=True)


def _file(directory: Path, key: str) -> Path:
    return directory / f"{key}.compiled"


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_CAN_WRITE
