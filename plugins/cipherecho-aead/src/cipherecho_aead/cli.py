"""``cipherecho-aead``: make a key for the cipher ``aead``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from cipherecho.commands import run_command
from cipherecho.printable import printable
from cipherecho.registry import Specification
from cipherecho_aead import __version__
from cipherecho_aead.keyfile import create_key

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, message="cipherecho-aead %(version)s")
def root() -> None:
    """Make keys for aead, the cipher that really encrypts.

    \b
    Examples:
      cipherecho-aead new-key aead.key                        # once
      cipherecho --cipher aead:key-file=aead.key              # serve it
      cipherecho apply --cipher aead:key-file=aead.key FILE   # or use it in a pipeline,
      cipherecho apply --cipher aead:key-file=aead.key --decrypt CODED   # and back
    """  # noqa: D301


@root.command()
@click.argument("path", type=click.Path(path_type=Path))
def new_key(path: Path) -> None:
    """Write a new random key to the file PATH.

    The file must not exist yet: a key is never overwritten, since nothing else decrypts
    its lines.  Only you can read it; cipherecho refuses a key that group or others can
    read.  To decrypt elsewhere, bring the same file there in secret.

    One key is good for both algorithms, and for 2**32 lines.

    \b
    Examples:
      cipherecho-aead new-key aead.key
      cipherecho --cipher aead:key-file=aead.key
      cipherecho --cipher aead:key-file=aead.key,algorithm=aes-256-gcm
    """  # noqa: D301
    try:
        create_key(path)
    except FileExistsError:
        raise click.ClickException(
            f"got {str(path)!r}, which exists, expected a new file; a key that is overwritten is "
            "lost, and so is what was encrypted with it"
        ) from None
    cipher = Specification("aead", options=(("key-file", str(path)),))
    click.echo(f"wrote a new key to {printable(str(path))}, which only you can read; now run:")
    # In bytes, so that a name that is not UTF-8 can be pasted too.
    click.echo(os.fsencode(f"  {shlex.join(['cipherecho', '--cipher', str(cipher)])}"))


def main() -> None:
    """Run the command line of this process, and exit."""
    run_command(root, "cipherecho-aead")
