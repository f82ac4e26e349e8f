"""Fills the parts of the reference that come from the code; ``--check`` changes nothing.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.  It is kept in the page,
so that the page can be read in the checkout too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from cipherecho.cli.configuration.layers import LISTENER_KEYS, PROCESS_KEYS
from cipherecho.cli.configuration.server_options import SECTIONS
from cipherecho.cli.root import root
from cipherecho.host.metrics import Metrics, Watched
from cipherecho.server import Buffers, Counters

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "cipherecho"

_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z ]+) -->\n).*?(?P<end><!-- end -->\n)", re.DOTALL
)


def _table(*rows: Iterable[str]) -> str:
    """Return a table of Markdown whose first row is the heading."""
    heading, *others = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [heading, ["---"] * len(heading), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def options() -> str:
    """Return a section for each option, under the headings of the server's help."""
    ctx = root.make_context("cipherecho", [])
    parts = []
    for heading, section in SECTIONS.items():
        parts.append(f"## {heading}\n\n")
        parts += [_option(option, ctx) for option in section if isinstance(option, click.Option)]
    return "\n" + "".join(parts)


def _option(option: click.Option, ctx: click.Context) -> str:
    name = option.opts[0]
    key = name.removeprefix("--")
    default = "false" if option.is_flag else str(option.get_help_extra(ctx).get("default", "none"))
    if key in PROCESS_KEYS:
        where = f"key `{key}`, at the top"
    elif key in LISTENER_KEYS:
        where = f"key `{key}`, at the top or in a table"
    elif key == "listen":
        where = "key `listen` at the top, or `url` in a table"
    else:
        where = "not a key of the file"
    return (
        f"### `{name}`\n\n{_markdown(option.help or '')}\n\n"
        f"- Value: {_value(option)}{', repeatable' if option.multiple else ''}\n"
        f"- Default: {default if default in ('none', 'no limit') else f'`{default}`'}\n"
        f"- Elsewhere: variable `{option.envvar}`, {where}\n\n"
    )


def _value(option: click.Option) -> str:
    expected = getattr(option.type, "expected", None)
    if option.is_flag:
        return "none on the command line; `true` or `false` elsewhere"
    if expected:
        return _markdown(str(expected))
    if isinstance(option.type, click.Choice):
        return " or ".join(f"`{choice}`" for choice in option.type.choices)
    return f"`{option.metavar}`"


def _markdown(text: str) -> str:
    """Return help with what is code in it marked as such, for a table's cell."""
    code = r"(?<![`\w])(--[a-z][a-z-]*(?:=\w+)?|\[\[listener\]\]|/[a-z]+|[a-z+]+://[\w:/]*|'\w+')"
    return re.sub(code, lambda found: f"`{found[1].strip(chr(39))}`", " ".join(text.split()))


def commands() -> str:
    """Return a section for each command besides the server."""
    parent = click.Context(root, info_name="cipherecho")
    parts = []
    for name in root.list_commands(parent):
        command = root.get_command(parent, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=parent) as ctx:
            usage = " ".join(command.get_usage(ctx).removeprefix("Usage: ").split())
            rows = [
                (f"`{option.opts[0]}`", _markdown(option.help or ""))
                for option in command.params
                if isinstance(option, click.Option)
            ]
            text = re.sub(r"\n\n\b\n", "\n\n", command.help or "")
            examples = re.search(r"\n *\x08\n(?P<text>(?:.*\n?)*)", text)
            prose = text[: examples.start()] if examples else text
            paragraphs = [_markdown(one) for one in re.split(r"\n\s*\n", prose.strip())]
            parts.append(f"## `cipherecho {name}`\n\n`{usage}`\n\n")
            parts += [f"{paragraph}\n\n" for paragraph in paragraphs]
            if examples:
                _, *shown = [line.strip() for line in examples["text"].splitlines()]
                parts.append("```text\n" + "\n".join(filter(None, shown)) + "\n```\n\n")
            parts.append(_table(("option", "what it does"), *rows) + "\n")
    return "\n" + "".join(parts)


def metrics() -> str:
    """Return a table of what /metrics has, asked of a server that has served nobody."""
    failures: list[Exception] = []
    made = Metrics(
        {"": Watched(Counters(), lambda: 0.0)}, lambda: True, failures.append, buffers=Buffers()
    )
    text = made.exposition()[0].decode()
    assert not failures
    what = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    rows = []
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        series = re.search(rf"^{name}\{{(.*?)\}} ", text, re.MULTILINE)
        labels = re.findall(r"(\w+)=", series[1]) if series else []
        rows.append((f"`{name}`", kind, ", ".join(f"`{one}`" for one in labels), what[name]))
    return _table(("metric", "kind", "labels", "what it says"), *rows)


def reasons() -> str:
    """Return the values that the label ``reason`` has."""
    counters = Counters()
    return _table(
        ("metric", "values of `reason`"),
        (
            "`cipherecho_connections_refused_total`",
            ", ".join(f"`{one}`" for one in counters.refused),
        ),
        ("`cipherecho_connections_closed_total`", ", ".join(f"`{one}`" for one in counters.closed)),
    )


LEVELS = ("critical", "error", "warning", "info", "debug")


def records() -> str:
    """Return a table of all records of the log, by their level."""
    found = sorted(set(log_records()), key=lambda one: (LEVELS.index(one[0]), one[1].lower()))
    return _table(("level", "record"), *((level, f"`{_blank(text)}`") for level, text in found))


def _blank(template: str) -> str:
    return re.sub(r"%\(\w+\)[-.\w]*?[srdgf]", "…", template).replace("%%", "%")


def log_records() -> Iterator[tuple[str, str]]:
    """Yield the level and the text of each call that logs, as far as it is fixed."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")]
    everywhere = {name: value for tree in trees for name, value in _constants(tree)}
    for tree in trees:
        constants = {**everywhere, **dict(_constants(tree))}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            for level, argument in zip(_levels(node.func), node.args, strict=False):
                for text in _texts(argument, constants):
                    if re.search(r"[a-z]{3}", _blank(text)):
                        yield level, text


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _levels(function: ast.expr) -> tuple[str, ...]:
    """Return the levels of the records that the first arguments of a call are."""
    match function:
        case ast.Attribute(ast.Name("log"), level) if level in LEVELS:
            return (level,)
        case ast.Attribute(_, "warn"):  # at most once a second
            return ("warning",)
        case ast.Name("Failures" | "FailureLog"):  # the first time, and again
            return ("error", "warning")
    return ()


def _texts(node: ast.expr, constants: dict[str, ast.expr]) -> list[str]:
    """Return what an expression of strings can be, with ``…`` for what is not fixed."""
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.Name(name) if name in constants:
            return _texts(constants[name], constants)
        case ast.FormattedValue(value):
            return _texts(value, constants)
        case ast.JoinedStr(values):
            texts = [""]
            for value in values:
                texts = [one + more for one in texts for more in _texts(value, constants)]
            return texts
        case ast.BinOp(left, ast.Add(), right):
            rights = _texts(right, constants)
            return [one + more for one in _texts(left, constants) for more in rights]
        case ast.IfExp(_, body, orelse):
            return [*_texts(body, constants), *_texts(orelse, constants)]
    return ["…"]


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "commands": commands,
    "metrics": metrics,
    "reasons": reasons,
    "log records": records,
}


def filled(page: str) -> str:
    """Return a page with its parts as the code has them now."""
    return _PART.sub(lambda part: part["begin"] + PARTS[part["name"]]() + part["end"], page)


def main(*arguments: str) -> int:
    """Fill all pages, or return 1 if one of them would change."""
    outdated = []
    for path in sorted(DOCS.glob("reference/*.md")):
        page = path.read_text(encoding="utf-8")
        new = filled(page)
        if new != page:
            outdated.append(path.name)
            if "--check" not in arguments:
                path.write_text(new, encoding="utf-8")
    if "--check" in arguments and outdated:
        print(f"out of date: {', '.join(outdated)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
