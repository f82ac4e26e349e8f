"""``cipherecho-aead``: make a key for the cipher ``aead``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from cipherecho.printable import printable
from cipherecho.registry import Specification
from cipherecho_aead import __version__
from cipherecho_aead.keyfile import create_key

__all__ = ["main"]

_LONGEST_COMPLAINT = 1000


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, message="cipherecho-aead %(version)s")
def root() -> None:
    """Make keys for aead, the cipher of cipherecho that is no toy.

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
    its lines.  You alone can read it; cipherecho refuses a key that group or others can get
    at.  Whoever is to decrypt needs the same file, brought there in secret.

    One key does for both algorithms and for 2**32 lines.

    \b
    Examples:
      cipherecho-aead new-key aead.key
      cipherecho --cipher aead:key-file=aead.key
      cipherecho --cipher aead:key-file=aead.key,algorithm=aes-256-gcm
    """  # noqa: D301
    create_key(path)
    cipher = Specification("aead", options=(("key-file", str(path)),))
    click.echo(f"wrote a new key to {printable(str(path))}, which you alone can read; now run:")
    # As bytes, so that it can be pasted whatever bytes the name has.
    click.echo(os.fsencode(f"  {shlex.join(['cipherecho', '--cipher', str(cipher)])}"))


def main() -> None:
    """Run the command line of this process, and exit.

    The status is 0 if all went well, 1 for what the system refused and for a file that
    exists already, 2 for wrong use, and 130 for an interrupt.
    """
    sys.exit(_run())


def _run() -> int:
    try:
        status = root.main(prog_name="cipherecho-aead", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        return _complain(error.format_message(), 2)
    except FileExistsError as error:
        return _complain(
            f"got {str(error.filename)!r}, which exists, expected a new file; a key that is "
            "overwritten is lost, and so is what was encrypted with it",
            1,
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(where + (error.strerror or str(error)), 1)
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    # Click returns the status of its own exits, such as --help.
    return status if isinstance(status, int) else 0


def _complain(text: str, status: int) -> int:
    click.echo(f"cipherecho-aead: {printable(text, _LONGEST_COMPLAINT)}", err=True)
    return status
