"""``cipherecho ciphers``: lists the installed ciphers, or describes one."""

from __future__ import annotations

import inspect
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

import click

from cipherecho.cipher import Vector
from cipherecho.ciphers.docstring import summary_of
from cipherecho.ciphers.options import (
    REQUIRED,
    CipherOption,
    SchemaError,
    is_family,
    options_of,
    resolve_member,
)
from cipherecho.ciphers.registry import BrokenCipherError, Entry, IncompatibleCipherError, Registry
from cipherecho.ciphers.specification import SelectionError, Specification, parse
from cipherecho.cli.configuration.cipher_choice import SPECIFICATION, installed
from cipherecho.cli.help import hanging
from cipherecho.printable import printable
from cipherecho.session import ReplyMode, Session

__all__ = ["ciphers"]

# The example's line, if the cipher has no vectors.
_TEXT = "Attack at dawn!"

# Wider terminals get pages of this width too, since longer lines are hard to read.
_WIDEST = 80

# A column of text that is narrower than this is hard to read, too.
_NARROWEST = 30


@click.command()
@click.argument("cipher", required=False, type=SPECIFICATION, metavar="[SPEC]")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
def ciphers(cipher: Specification | None, as_json: bool) -> None:
    """List the installed ciphers, or describe the cipher SPEC.

    The list comes from metadata alone: no plugin is imported for it.

    \b
    Examples:
      cipherecho ciphers
      cipherecho ciphers rot13
    """  # noqa: D301
    registry = installed()
    if cipher is None:
        rows = [_row(entry, registry) for entry in registry.entries]
        _print(json.dumps(rows, indent=2) if as_json else _table(rows))
        return
    entry = registry.find(cipher.name, cipher.distribution)
    with redirect_stdout(sys.stderr):  # a plugin may print, but not there
        try:
            page = _page(entry, cipher, registry)
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
    seen = summary_of(entry.value)
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


def _page(entry: Entry, asked: Specification, registry: Registry) -> dict[str, Any]:
    """Return all that can be said of one cipher, as plain data."""
    package = None if registry.status(entry) == "ok" else entry.package
    asked = replace(asked, name=entry.name, distribution=package)
    bare = replace(asked, first=None, options=())
    factory = registry.factory(entry)
    try:
        own = options_of(factory)
        # What a family's members are and take depends on what it is given.
        as_a_whole = is_family(factory) and asked == bare
        subject, left = (factory, asked) if as_a_whole else resolve_member(factory, asked)
        options = options_of(subject)
    except SchemaError as problem:
        raise IncompatibleCipherError(entry, str(problem)) from problem
    is_member = subject is not factory
    base = bare
    if is_member:
        base = replace(
            asked, options=tuple(one for one in asked.options if one not in left.options)
        )
    if as_a_whole:
        example = _unfinished(base, options)
    else:
        example = _example(asked, base, subject, options, registry)
    return {
        "name": entry.name,
        "package": entry.package,
        "version": entry.version,
        "origin": entry.origin,
        "kind": "secure" if getattr(subject, "secure", False) is True else "toy",
        "family": is_family(factory),
        "member": str(base) if is_member else None,
        "help": inspect.getdoc(subject) or "",
        "options": [_option(option) for option in (options + own if is_member else options)],
        "example": example,
    }


def _option(option: CipherOption) -> dict[str, Any]:
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
    asked: Specification,
    base: Specification,
    factory: Callable[..., object],
    options: Sequence[CipherOption],
    registry: Registry,
) -> dict[str, str]:
    """Return a command that works when pasted, and what it prints.

    It is what was `asked` for, if that has any of the factory's options; or else `base`, which
    has none, with those of its own first vector, where it has a good one.
    """
    vector = _first_vector(factory)
    if asked != base:
        return _example_of(asked, vector.plaintext if vector else _TEXT, registry)
    if vector is not None:
        with suppress(SelectionError):
            with_options = _with(vector.options, base, options)
            return _example_of(with_options, vector.plaintext, registry)
    if not any(option.required for option in options):
        with suppress(SelectionError):
            return _example_of(base, _TEXT, registry)
    # What it takes is known, what it would accept is not.
    return _unfinished(base, options)


def _first_vector(factory: Callable[..., object]) -> Vector | None:
    vectors = getattr(factory, "vectors", None)
    first = vectors[0] if isinstance(vectors, Sequence) and vectors else None
    return first if isinstance(first, Vector) else None


def _with(values: str, base: Specification, options: Sequence[CipherOption]) -> Specification:
    """Return `base` with the `values` of `options` too, which are written as after a name."""
    more = parse(f"{base.name}:{values}") if values else Specification(base.name)
    if base.first is None and not base.options:
        return replace(base, first=more.first, options=more.options)
    # A bare value is that of the first option, and can only be bare where no other stands.
    named = tuple((one.name, more.first) for one in options[:1] if more.first is not None)
    return replace(base, options=base.options + named + more.options)


def _example_of(specification: Specification, text: str, registry: Registry) -> dict[str, str]:
    line = text.partition("\n")[0]
    coded = Session(registry.load(specification), reply=ReplyMode.FILTER).receive(
        line.encode() + b"\n"
    )
    return {
        "command": _command(specification, line),
        "output": coded.decode(errors="backslashreplace").rstrip("\n"),
    }


def _unfinished(base: Specification, options: Sequence[CipherOption]) -> dict[str, str]:
    missing = tuple((option.name, "…") for option in options if option.required)
    return {
        "command": _command(replace(base, options=base.options + missing), _TEXT),
        "output": "",
    }


def _command(specification: Specification, line: str) -> str:
    # Shells differ in what their echo makes of these.
    echo = "printf '%s\\n'" if line.startswith("-") or "\\" in line else "echo"
    written = shlex.quote(str(specification))
    return f"{echo} {shlex.quote(line)} | cipherecho apply --cipher {written}"


def _render(page: dict[str, Any]) -> str:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    parts = [_title(page)]
    if page["help"]:
        parts.append(_prose(page["help"], width))
    if page["options"]:
        rows = [
            [
                printable(cell, 1000)
                for cell in (option["name"], option["takes"], _necessity(option), option["help"])
            ]
            for option in page["options"]
        ]
        parts.append("Options:\n" + _options(rows, width))
    else:
        parts.append("It takes no options.")
    example = "\n".join(
        filter(None, [f"$ {page['example']['command']}", page["example"]["output"]])
    )
    parts.append("Example:\n" + textwrap.indent(example, "  "))
    return "\n\n".join(parts)


def _prose(text: str, width: int) -> str:
    """Return a docstring with those paragraphs wrapped anew that are too wide."""
    paragraphs = "\n".join(map(printable, text.splitlines())).split("\n\n")
    return "\n\n".join(
        textwrap.fill(paragraph, width, break_on_hyphens=False, break_long_words=False)
        if _is_prose(paragraph) and max(map(len, paragraph.splitlines())) > width
        else paragraph
        for paragraph in paragraphs
    )


def _is_prose(paragraph: str) -> bool:
    """Return whether the lines of a paragraph may be joined: code and lists have theirs."""
    return all(line[:1].isalnum() or line[:1] in "\"'(`" for line in paragraph.splitlines() if line)


def _options(rows: Sequence[Sequence[str]], width: int) -> str:
    """Return a table with its last column wrapped, or below the others if they are wide."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    *first, last = widths
    if len("  ") + sum(size + 2 for size in first) + min(last, _NARROWEST) <= width:
        lines = [
            hanging("  " + "".join(f"{cell:{size + 2}}" for cell, size in pairs), row[-1], width)
            for row in rows
            for pairs in [zip(row[:-1], first, strict=True)]
        ]
    else:
        lines = []
        for name, takes, necessity, text in rows:
            beside = f"  {name:{widths[0]}}  "
            lines.append(hanging(beside, f"{takes}, {necessity}", width))
            lines += [hanging(" " * len(beside), text, width)] if text else []
    return "\n".join(lines)


def _title(page: dict[str, Any]) -> str:
    name = printable(page["member"] or page["name"])
    title = f"{name} ({page['package']} {page['version']}, {page['kind']})"
    if page["member"]:
        title += f"\nof the family {page['name']}, whose options are the last"
    elif page["family"]:
        title += "\na family of ciphers, which have options of their own besides"
    return title


def _necessity(option: dict[str, Any]) -> str:
    if option["required"]:
        return "required"
    return "optional" if option["default"] is None else f"default {option['default']!r}"
