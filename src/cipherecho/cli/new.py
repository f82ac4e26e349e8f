"""``cipherecho new``: a package for a cipher, which works as it is written."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from cipherecho import __version__
from cipherecho.ciphers.registry import Registry
from cipherecho.ciphers.specification import normalized_name

__all__ = ["new"]

# A package for a cipher called new-cipher. The cipher is a module that is checked with all
# others; the rest could not be run or read where it lies.
_TEMPLATE = files("cipherecho.cli") / "template"


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
    module = f"cipherecho_{folded.replace('-', '_')}"
    words = {
        "cipherecho_new_cipher": module,
        "NewCipher": _class_name(folded),
        "new-cipher": folded,
        "0.0.0": __version__,
    }
    for source, path in {
        "pyproject.toml.in": "pyproject.toml",
        "README.md.in": "README.md",
        "cipher.py": f"src/{module}/__init__.py",
        "test_cipher.py.in": f"tests/test_{module}.py",
    }.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        text = _TEMPLATE.joinpath(source).read_text(encoding="utf-8")
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
    """Return a text of the template with the names of its cipher replaced."""
    return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text)
