"""``cipherecho new``: a package for a cipher, which works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import click

from cipherecho import __version__
from cipherecho.ciphers.registry import Registry
from cipherecho.ciphers.specification import normalized_name

__all__ = ["new"]


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Directory to write it to, instead of cipherecho-NAME.",
)
def new(name: str, directory: Path | None) -> None:
    """Write a package for a cipher called NAME, for you to change.

    As it is written, it installs, passes its own tests and conforms. Nothing is overwritten.

    \b
    Examples:
      cipherecho new my-cipher --directory /tmp/my-cipher
    """  # noqa: D301
    folded = normalized_name(name)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folded):
        raise click.UsageError(
            f"got the name {name!r}, expected letters a-z and digits, parted by hyphens"
        )
    if folded in {entry.name for entry in Registry().built_in}:
        raise click.UsageError(f"the name {folded} is that of a cipher of cipherecho itself")
    directory = directory or Path(f"cipherecho-{folded}")
    if directory.exists():
        raise click.UsageError(f"{directory} exists already, and nothing is overwritten")
    words = {
        "name": folded,
        "module": f"cipherecho_{folded.replace('-', '_')}",
        "class": _class_name(folded),
        "version": __version__,
    }
    for path, text in _FILES.items():
        file = directory / _filled(path, words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(text, words), encoding="utf-8")
    click.echo(
        f"wrote {directory}; next:\n"
        f"  pip install -e '{directory}[test]'\n"
        f"  cipherecho check {folded}\n"
        f"  echo Hello | cipherecho apply --cipher {folded}"
    )


def _class_name(name: str) -> str:
    camel = "".join(word.capitalize() for word in name.split("-"))
    return camel if camel.isidentifier() else f"Cipher{camel}"


def _filled(text: str, words: dict[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: words[match[1]], text)


_FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "cipherecho-@name@"
version = "0.1.0"
description = "The cipher @name@ for cipherecho"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["cipherecho>=@version@"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."cipherecho.ciphers"]
@name@ = "@module@:@class@"

[tool.hatch.build.targets.wheel]
packages = ["src/@module@"]
""",
    "README.md": """\
# cipherecho-@name@

The cipher `@name@` for cipherecho.

```sh
pip install .
cipherecho ciphers @name@
cipherecho --cipher @name@:3
```

To test it: `pip install -e '.[test]' && pytest && cipherecho check @name@`
""",
    "src/@module@/__init__.py": '''\
"""The cipher @name@."""

import string
from dataclasses import dataclass
from typing import Annotated

from cipherecho.cipher import Range, Vector, letter_table


@dataclass(frozen=True)
class @class@:
    """Moves every letter some places along the alphabet.

    Say here what your cipher does, where it comes from and what is weak about it:
    `cipherecho ciphers @name@` shows this.
    """

    shift: Annotated[int, Range(0, 25), "how many places"] = 1

    vectors = (
        Vector("Hal", "Ibm", source="worked out by hand"),
        Vector("abc xyz", "def abc", source="worked out by hand", options="3"),
    )

    @property
    def table(self) -> bytes:
        alphabet = string.ascii_uppercase
        return letter_table(alphabet[self.shift :] + alphabet[: self.shift])
''',
    "tests/test_@module@.py": '''\
"""The cipher keeps the contract of cipherecho, and its vectors hold."""

from cipherecho.testing import CipherTests

from @module@ import @class@


class Test@class@(CipherTests):
    factory = @class@
''',
}
