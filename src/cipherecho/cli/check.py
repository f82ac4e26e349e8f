"""``cipherecho check``: runs the conformance kit on an installed cipher."""

from __future__ import annotations

import json

import click

from cipherecho.ciphers.options import SchemaError, make_cipher, resolve_member
from cipherecho.ciphers.registry import (
    BrokenCipherError,
    Entry,
    IncompatibleCipherError,
    Registry,
)
from cipherecho.ciphers.shapes import NotACipherError
from cipherecho.ciphers.specification import SelectionError, Specification
from cipherecho.cli.configuration.cipher_choice import SPECIFICATION, installed
from cipherecho.printable import printable
from cipherecho.testing import Outcome, outcomes

__all__ = ["check"]

_NOT_CONFORMING = 1
_NOT_LOADING = 3


@click.command()
@click.argument("cipher", type=SPECIFICATION, metavar="SPEC")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
def check(cipher: Specification, as_json: bool) -> int:
    """Check that the cipher SPEC keeps the contract, promise by promise.

    Without options, or with those of its family alone, it is checked with the options of its
    first vector. The exit status is 0 if the cipher conforms, 1 if it doesn't, 2 if there is
    no such cipher, and 3 if it can't be loaded.

    \b
    Examples:
      cipherecho check rot13
      cipherecho check vigenere:key=LEMON
    """  # noqa: D301
    registry = installed()
    entry = registry.find(cipher.name, cipher.distribution)
    try:
        found = _outcomes(registry, entry, cipher)
    except (BrokenCipherError, IncompatibleCipherError) as error:
        click.echo(f"cipherecho: {printable(str(error), 1000)}", err=True)
        return _NOT_LOADING
    click.echo(_as_json(found) if as_json else _as_text(found))
    return _NOT_CONFORMING if any(one.problem for one in found) else 0


def _outcomes(registry: Registry, entry: Entry, specification: Specification) -> list[Outcome]:
    factory = registry.factory(entry)
    try:
        member, rest = resolve_member(factory, specification)
        options = str(rest).partition(":")[2]
        if options:
            make_cipher(factory, specification)  # refused, if they are, as they were written
        return list(outcomes(member, options or None))
    except SelectionError:
        raise
    except (SchemaError, NotACipherError) as problem:
        raise IncompatibleCipherError(entry, str(problem)) from problem
    except Exception as cause:
        raise BrokenCipherError(entry, "can't be made", cause) from cause


def _as_text(found: list[Outcome]) -> str:
    lines = []
    for one in found:
        lines.append(f"{'FAIL' if one.problem else 'ok':4}  {one.check:11}  {one.promise}")
        if one.problem:
            lines.append(f"      {printable(one.problem, 1000)}")
    failed = sum(1 for one in found if one.problem)
    lines.append(f"{failed} of {len(found)} failed" if failed else "conforming")
    return "\n".join(lines)


def _as_json(found: list[Outcome]) -> str:
    return json.dumps(
        [{"check": one.check, "promise": one.promise, "problem": one.problem} for one in found],
        indent=2,
    )
