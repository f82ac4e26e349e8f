"""Machine code that was compiled once, kept in a directory.

The code runs unchecked, so nobody else may be able to write it: the directory and the file must
be the user's own, and writable by nobody else.  The name of a file is a digest of everything
its content depends on, including Wasmtime's version.  The file begins with the digest
of the rest, and appears in one step.
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

# How many are kept, by last use. A small one has 60 kB, one with Python 40 MB.
_MOST_FILES = 16

_OTHERS_CAN_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIGEST_BYTES = hashlib.sha256().digest_size


def key_of(module: bytes, target: str) -> str:
    """Return the name of the machine code of a module, compiled for `target`."""
    # Wasmtime itself checks that code is for its version, its settings and this processor.
    depends = "".join(f"{one}\n" for one in (version("wasmtime"), target, _adapter_digest()))
    return hashlib.sha256(depends.encode() + module).hexdigest()


@remembered
def _adapter_digest() -> str:
    return hashlib.sha256(adapter().encode()).hexdigest()


def refusal(directory: Path | None) -> str:
    """Return why code can't be kept in `directory`, or "" if it can."""
    if directory is None:
        return "this user has no home"
    try:
        status = directory.lstat()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory}: it is not a directory"
    if not _is_ours(status):
        return f"{directory} is writable by others, expected a directory of this user's alone"
    return ""


def kept(directory: Path, key: str) -> bytes | None:
    """Return the code kept as `key`, or None if there is none that can be trusted."""
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
            os.utime(descriptor)  # the time of its last use
    return code


def keep(directory: Path, key: str, code: bytes) -> None:
    """Keep the code as `key`, and remove all but the last used.

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
