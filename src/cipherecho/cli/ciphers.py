"""``cipherecho ciphers``: what is installed, and what one cipher is and takes."""

from __future__ import annotations

import inspect
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout, suppress
from itertools import groupby
from typing import Any

import click

from cipherecho.cipher import Vector
from cipherecho.cli.parameters import CIPHER_NAME, installed
from cipherecho.glimpse import glimpse
from cipherecho.options import REQUIRED, Option, SchemaError, options_of
from cipherecho.printable import printable
from cipherecho.registry import BrokenCipherError, Entry, IncompatibleCipherError, Registry
from cipherecho.session import Reply, Session
from cipherecho.specification import SelectionError, parse

__all__ = ["ciphers"]

# The line of an example, if the cipher has none of its own.
_TEXT = "Attack at dawn!"


@click.command()
@click.argument("name", required=False, type=CIPHER_NAME)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
def ciphers(name: str | None, as_json: bool) -> None:
    """Say what ciphers are installed, or what the cipher NAME is and takes.

    The list is made from metadata alone, and no plugin is imported for it.

    \b
    Examples:
      cipherecho ciphers
      cipherecho ciphers rot13
    """  # noqa: D301
    registry = installed()
    if name is None:
        rows = [_row(entry, registry) for entry in registry.entries]
        _print(json.dumps(rows, indent=2) if as_json else _table(rows))
        return
    specification = parse(name)
    entry = registry.find(specification.name, specification.distribution)
    with redirect_stdout(sys.stderr):  # a plugin may print, but not there
        try:
            page = _page(entry, registry)
        except SelectionError:
            raise
        except Exception as cause:
            raise BrokenCipherError(entry, "can't be shown", cause) from cause
    _print(json.dumps(page, indent=2) if as_json else _render(page))


def _print(text: str) -> None:
    # What a plugin says of itself may hold what a terminal's encoding lacks.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def _row(entry: Entry, registry: Registry) -> dict[str, str]:
    seen = glimpse(entry.value)
    return {
        "name": entry.name,
        "package": entry.package,
        "version": entry.version,
        "status": registry.status(entry),
        "kind": "secure" if seen.secure else "toy",
        "summary": printable(seen.summary),
    }


def _table(rows: Sequence[dict[str, str]]) -> str:
    """Return the list by package, a line a cipher, as wide as the terminal at the most."""
    if not rows:
        return "no ciphers are installed"
    width = shutil.get_terminal_size().columns
    columns = ("name", "status", "kind", "summary")
    cells = _columns([[row[column] for column in columns] for row in rows], "  ").splitlines()
    lines = []
    by_package = sorted(zip(rows, cells, strict=True), key=lambda pair: pair[0]["package"])
    for package, pairs in groupby(by_package, key=lambda pair: pair[0]["package"]):
        members = list(pairs)
        lines += ["", f"{package} {members[0][0]['version']}"]
        lines += [cell if len(cell) <= width else f"{cell[: width - 1]}…" for _, cell in members]
    lines += ["", "A toy keeps no secret. What one is and takes: cipherecho ciphers NAME"]
    return "\n".join(lines[1:])


def _columns(rows: Iterable[Iterable[str]], indent: str = "") -> str:
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join((indent + "  ".join(map(str.ljust, row, widths))).rstrip() for row in cells)


def _page(entry: Entry, registry: Registry) -> dict[str, Any]:
    """Return all that can be said of one cipher, as plain data."""
    factory = registry.factory(entry)
    try:
        options = options_of(factory)
    except SchemaError as problem:
        raise IncompatibleCipherError(entry, str(problem)) from problem
    return {
        "name": entry.name,
        "package": entry.package,
        "version": entry.version,
        "origin": entry.origin,
        "kind": "secure" if getattr(factory, "secure", False) is True else "toy",
        "help": inspect.getdoc(factory) or "",
        "options": [_option(option) for option in options],
        "example": _example(entry, factory, options, registry),
    }


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "takes": option.takes,
        "required": option.required,
        "default": _written(option.default),
        "help": " ".join(option.help.split()),
    }


def _written(default: object) -> str | None:
    """Return a default as it would be given, None if there is none to give."""
    if default is None or default is REQUIRED:
        return None
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(default)


def _example(
    entry: Entry, factory: Callable[..., object], options: Sequence[Option], registry: Registry
) -> dict[str, str]:
    """Return a command that works when pasted, and what it prints.

    It is the cipher's own first vector, where it has a good one.
    """
    name = entry.name if registry.status(entry) == "ok" else f"{entry.name}@{entry.package}"
    vectors = getattr(factory, "vectors", None)
    if isinstance(vectors, Sequence) and vectors and isinstance(vectors[0], Vector):
        with suppress(SelectionError):
            return _example_of(name, vectors[0].options, vectors[0].plaintext, registry)
    missing = ",".join(f"{option.name}=…" for option in options if option.required)
    if missing:  # what it takes is known, what it would accept is not
        return {"command": _command(name, missing, _TEXT), "output": ""}
    with suppress(SelectionError):
        return _example_of(name, "", _TEXT, registry)
    return {"command": _command(name, "", _TEXT), "output": ""}


def _example_of(name: str, values: str, text: str, registry: Registry) -> dict[str, str]:
    line = text.partition("\n")[0]
    command = _command(name, values, line)
    cipher = registry.load(parse(f"{name}:{values}" if values else name))
    coded = Session(cipher, reply=Reply.FILTER).receive(line.encode() + b"\n")
    return {"command": command, "output": coded.decode(errors="backslashreplace").rstrip("\n")}


def _command(name: str, values: str, line: str) -> str:
    # Shells differ in what their echo makes of these.
    echo = "printf '%s\\n'" if line.startswith("-") or "\\" in line else "echo"
    specification = f"{name}:{values}" if values else name
    return f"{echo} {shlex.quote(line)} | cipherecho apply --cipher {shlex.quote(specification)}"


def _render(page: dict[str, Any]) -> str:
    parts = [f"{page['name']} ({page['package']} {page['version']}, {page['kind']})"]
    if page["help"]:
        parts.append("\n".join(map(printable, page["help"].splitlines())))
    if page["options"]:
        rows = [
            [
                option["name"],
                option["takes"],
                _necessity(option),
                option["help"],
            ]
            for option in page["options"]
        ]
        parts.append("Options:\n" + _columns(rows, indent="  "))
    else:
        parts.append("It takes no options.")
    example = "\n".join(
        filter(None, [f"$ {page['example']['command']}", page["example"]["output"]])
    )
    parts.append("Example:\n" + textwrap.indent(example, "  "))
    return "\n\n".join(parts)


def _necessity(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    return "optional" if option["default"] is None else f"default {option['default']!r}"
