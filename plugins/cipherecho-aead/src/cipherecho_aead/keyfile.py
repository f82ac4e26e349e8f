"""Key files: their format, who may read them, and how to make one.

A key file holds 32 random bytes as 64 hexadecimal digits, in either case, and a line
ending, which may be missing.  It is hexadecimal rather than base64, because that has one
alphabet and no padding, and ``openssl rand -hex 32`` writes it too.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from cipherecho.cipher import OptionError

__all__ = ["KEY_BYTES", "create_key", "read_key"]

# Both algorithms take keys of this size.
KEY_BYTES = 32

_DIGITS = 2 * KEY_BYTES
_CONTENT = re.compile(rb"([0-9A-Fa-f]{%d})(\r?\n)?" % _DIGITS)
_LONGEST = _DIGITS + len("\r\n")

# Forbidden modes. If the file is ours, only we need it. If it is root's, such as a Kubernetes
# Secret or a credential of systemd, we read it as members of its group. PostgreSQL has the
# same rule for its ssl_key_file.
_NOT_IN_OURS = stat.S_IRWXG | stat.S_IRWXO
_NOT_IN_ROOTS = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of the key in the file at `path`.

    Symbolic links are followed, since mounted secrets are often links; the checks are on the
    file that was opened.  It must be a regular file.  If it belongs to us, group and others must
    have no access; if it belongs to root, its mode must be 0640 at most.

    Raises:
      OptionError: of the option key-file: the file does not exist, fails a check, or holds
        no key. The message never shows its content.
    """
    given = str(path)
    try:
        # Without O_NONBLOCK, this would wait for a writer of a named pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        make = shlex.join(["cipherecho-aead", "new-key", given])
        raise OptionError("key-file", given, f"a file that exists; to make one: {make}") from None
    except (OSError, ValueError) as error:  # ValueError: the path has a NUL
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OptionError("key-file", given, f"a file that can be opened ({reason})") from None
    try:
        status = os.fstat(descriptor)
        _check_kind_and_owner(given, status)
        content = os.read(descriptor, _LONGEST + 1)
    finally:
        os.close(descriptor)
    key = _key_in(given, content)
    # Last, so that the error about the mode is only for files with a key.
    _check_mode(given, status)
    return key


def _check_kind_and_owner(given: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OptionError(
            "key-file", given, "a regular file with a key in it, not a directory, pipe or device"
        )
    us = os.geteuid()
    if status.st_uid not in (us, 0):
        # Its owner chose the key, or can still read it.
        raise OptionError(
            "key-file",
            given,
            f"a file of the user {us}, who runs this, or of root, and it belongs to "
            f"{status.st_uid}; chown it, or run this as {status.st_uid}",
        )


def _key_in(given: str, content: bytes) -> bytes:
    match = _CONTENT.fullmatch(content)
    if match is not None:
        return bytes.fromhex(match[1].decode())
    if len(content) > _LONGEST:
        what = f"more than {_LONGEST} bytes"
    elif len(content) >= _DIGITS:
        what = "other characters"
    else:
        what = f"only {len(content)}"
    raise OptionError(
        "key-file",
        given,
        f"a file of {_DIGITS} hexadecimal digits and a line ending, and it holds {what}; "
        "cipherecho-aead new-key makes a valid one",
    )


def _check_mode(given: str, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    path = shlex.quote(given)
    if status.st_uid == os.geteuid():
        bad, expected, instead = (
            _NOT_IN_OURS,
            "without access for group and others",
            f"chmod 600 {path}",
        )
    else:
        bad, expected, instead = (
            _NOT_IN_ROOTS,
            "of root that only its group can read too",
            f"chmod 640 {path}, or defaultMode: 0440 for a Kubernetes Secret",
        )
    if mode & bad:
        raise OptionError(
            "key-file",
            given,
            f"a file {expected}, and its mode is {mode:04o}; if nobody has read it yet: {instead}",
        )


def create_key(path: Path) -> None:
    """Write a new random key to a new file at `path`, which only we can read and write.

    Raises:
      FileExistsError: something exists at `path`, even a link that leads nowhere; it stays as it
        is.
      OSError: the file can't be made or written; it doesn't exist then.
    """
    content = f"{secrets.token_hex(KEY_BYTES)}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a umask may have left less
            file.write(content)
            file.flush()
            # Nothing else will decrypt the lines that are encrypted with it.
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
