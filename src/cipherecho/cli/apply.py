"""``cipherecho apply``: the session as a filter, from files to standard output."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import click

from cipherecho.cipher import InputError
from cipherecho.ciphers.specification import Specification
from cipherecho.cli.configuration.cipher_choice import chosen_cipher, cipher_options
from cipherecho.cli.configuration.option_types import declared_option
from cipherecho.host.memory import raise_mmap_threshold
from cipherecho.printable import printable, safe_text
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho.settings.declaration import declarations
from cipherecho.settings.listener import Listener

__all__ = ["apply"]

# The size of a pipe: a larger block is written in two parts, and the second waits for the reader.
# Also, a block and its ciphertext fit into a processor's cache.
_BLOCK_BYTES = 64 * 1024


_RESET = next(one for one in declarations(Listener) if one.attribute == "reset")


@click.command(params=[*cipher_options(), declared_option(_RESET)])
@click.argument("files", nargs=-1, type=click.Path(allow_dash=True), metavar="[FILE]...")
def apply(cipher: Sequence[Specification], decrypt: bool, reset: str, files: Sequence[str]) -> int:
    """Encrypt or decrypt files, or standard input, to standard output.

    Several files are read as one text. Each line keeps its ending, and a last line
    without one stays without. Lines that the cipher rejects are left out and reported on
    standard error, and the exit status is 1.

    \b
    Examples:
      echo Hello | cipherecho apply --cipher rot13
      cipherecho apply --cipher rot13 --decrypt README.md
    """  # noqa: D301
    output = _descriptor_of(sys.stdout, "standard output")
    raise_mmap_threshold()
    with redirect_stdout(sys.stderr), ExitStack() as stack:  # a plugin may print, but not there
        session = Session(
            chosen_cipher(cipher, decrypt=decrypt),
            reply=ReplyMode.FILTER,
            reset=StateScope(reset),
            max_line=None,
            on_rejected=_tell_rejected,
        )
        # All are opened before anything is written, so a missing file leaves no partial output.
        sources = [_open(name, stack) for name in files or ["-"]]
        # A broken pipe isn't an error: the reader has seen enough.
        with suppress(BrokenPipeError):
            for coded in _filter(_blocks(sources), session):
                _write(output, coded)
    if isinstance(session.failure, KeyboardInterrupt):
        raise session.failure
    if session.failure is not None:
        click.echo("cipherecho: the cipher failed; this is a bug of its plugin:", err=True)
        for line in "".join(traceback.format_exception(session.failure)).splitlines():
            click.echo(printable(line), err=True)
    return 1 if session.rejected or session.failure is not None else 0


# Descriptors instead of Python's files: a buffered file can fail once more at exit, and an
# unbuffered one (PYTHONUNBUFFERED) can write only a part.


def _descriptor_of(stream: TextIO | None, name: str) -> int:
    if stream is None:  # it was closed when the program started
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), name)
    return stream.fileno()


def _open(name: str, stack: ExitStack) -> int:
    if name == "-":
        return _descriptor_of(sys.stdin, "standard input")
    return stack.enter_context(Path(name).open("rb", buffering=0)).fileno()


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _blocks(descriptors: Iterable[int]) -> Iterator[bytes]:
    for descriptor in descriptors:
        # This returns what there is, and doesn't wait for a full block.
        while block := os.read(descriptor, _BLOCK_BYTES):
            yield block


def _filter(blocks: Iterable[bytes], session: Session) -> Iterator[bytes]:
    for block in blocks:
        yield session.receive(block)
        while session.has_more:
            yield session.resume()
        if session.closed:
            return
    yield session.end()


def _tell_rejected(line: int, rejection: InputError) -> None:
    click.echo(f"cipherecho: line {line}: {printable(safe_text(rejection))}", err=True)
