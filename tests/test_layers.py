"""Imports run one way, downwards.

The table below says what each module may import. A package, such as the command line's,
is one row, and its modules may import each other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cipherecho

SOCKETS = frozenset({"asyncio", "select", "selectors", "socket", "socketserver", "ssl"})
CLOCKS = frozenset({"datetime", "sched", "signal", "threading", "time"})


@dataclass(frozen=True)
class Row:
    """What one module may import."""

    own: frozenset[str] = frozenset()
    """Modules of cipherecho; each has to stand above this row in the table."""
    third_party: frozenset[str] = frozenset()
    """Packages of other people. Nothing but the standard library without."""
    not_standard: frozenset[str] = SOCKETS | CLOCKS
    """What of the standard library is out of bounds."""


def row(*own: str, third_party: Iterable[str] = ()) -> Row:
    """Return the row of a module that does no input or output."""
    return Row(frozenset(own), frozenset(third_party))


def server_side(*own: str) -> Row:
    """Return the row of a module that knows sockets, sessions, and the other `own`."""
    below = {"chain", "cipher", "coding", "limits", "pace", "printable", "session"}
    return Row(frozenset(own) | below, frozenset({"trio"}), frozenset())


# From the bottom to the top. "__init__" is the package itself, which has the version.
ROWS = {
    "__init__": row(),
    # The contract, and what is built on it alone.
    "cipher": row(),
    "printable": row(),
    "coding": row("cipher"),
    "chain": row("cipher", "coding"),
    "rot13": row("cipher"),
    # What is read of a plugin that is not imported.
    "glimpse": row(),
    # The registry: it knows no session and no server.
    "specification": row(),
    "options": row("cipher", "specification"),
    "registry": row(
        "chain",
        "cipher",
        "coding",
        "options",
        "printable",
        "specification",
        third_party=["importlib_metadata"],
    ),
    # The session: it knows ciphers by their contract, and no registry.
    "session": row("cipher", "coding", "printable"),
    # The server: it knows sessions, and no registry and no command line.
    "limits": row("session"),
    "pace": Row(frozenset({"chain", "cipher", "coding"}), not_standard=SOCKETS),
    "turns": server_side(),
    "allocation": row(),
    "signals": Row(not_standard=SOCKETS),
    "descriptors": row(),
    "endpoint": row(),
    "addresses": row(),
    "proxies": row("addresses"),
    "proxy_protocol": row(),
    "tally": row(),
    "sources": server_side("addresses"),
    "buffers": row(),
    "certificate": row(),
    "file_contents": Row(not_standard=SOCKETS),
    "tls": server_side("certificate", "file_contents"),
    "service": row("endpoint", "limits", "proxies", "session", "tls"),
    "recurring": server_side(),
    "sockets": server_side("addresses"),
    "variables": row(),
    "activation": row("endpoint", "variables"),
    "service_manager": server_side("variables"),
    "listeners": server_side("activation", "endpoint", "sockets", "tls", "variables"),
    "certificate_holder": row(),
    "tls_socket": Row(frozenset({"certificate_holder"}), frozenset({"trio"}), frozenset()),
    "workers": server_side("recurring", "tally"),
    "client": row(),
    "connection": server_side(
        "buffers", "client", "sources", "tally", "tls_socket", "turns", "workers"
    ),
    "connection_task": server_side("client", "connection", "sockets"),
    "express_lane": server_side("buffers", "connection", "recurring", "sockets", "workers"),
    # Who is let in, and how they have to begin.
    "handshakes": server_side("client", "sources"),
    "admission": server_side(
        "client", "descriptors", "handshakes", "recurring", "sockets", "sources", "tally"
    ),
    "prologue": server_side("connection_task", "proxy_protocol", "tls_socket"),
    # What a process gives up, for good.
    "landlock": row(),
    "sandbox": Row(frozenset({"landlock"}), frozenset({"trio"}), frozenset()),
    "companion": row("landlock", "sandbox"),
    "reader": Row(frozenset({"companion", "file_contents", "sandbox"}), not_standard=SOCKETS),
    "welcome": server_side(
        "admission",
        "client",
        "connection",
        "connection_task",
        "prologue",
        "proxies",
        "sockets",
        "tls",
        "tls_socket",
    ),
    "accepting": server_side("admission", "client", "listeners", "tls"),
    "server": server_side(
        "accepting",
        "admission",
        "buffers",
        "client",
        "connection",
        "connection_task",
        "endpoint",
        "express_lane",
        "listeners",
        "proxies",
        "recurring",
        "sockets",
        "tally",
        "tls_socket",
        "welcome",
        "workers",
    ),
    # For whoever watches a server; the packages that these need are an extra.
    "extras": row(),
    "metrics": row("__init__", "buffers", "tally", third_party=["prometheus_client"]),
    "monitoring": Row(
        frozenset(
            {
                "buffers",
                "connection_task",
                "endpoint",
                "listeners",
                "metrics",
                "printable",
                "recurring",
                "sources",
            }
        ),
        frozenset({"h11", "trio"}),
    ),
    "process": server_side(
        "admission",
        "allocation",
        "buffers",
        "companion",
        "descriptors",
        "endpoint",
        "file_contents",
        "listeners",
        "metrics",
        "monitoring",
        "reader",
        "sandbox",
        "server",
        "service",
        "service_manager",
        "signals",
        "tally",
        "tls",
    ),
}

# The kit for authors of plugins: it knows how long a line takes, and no test framework.
ROWS["testing"] = Row(
    frozenset({"chain", "cipher", "coding", "options", "printable", "session", "specification"}),
    frozenset(),
    SOCKETS,
)

# The command line comes on top: it may import everything below it, but knows no sockets.
ROWS["cli"] = Row(frozenset(ROWS), frozenset({"click"}), SOCKETS)
ROWS["__main__"] = row("cli")

PACKAGE = Path(cipherecho.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def parts_of(source: Path) -> tuple[str, ...]:
    """Return where a module is below cipherecho: ``("cli", "__init__")``."""
    return source.relative_to(PACKAGE).with_suffix("").parts


def imports(code: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that `code` imports, wherever it does.

    ``from a import b`` imports ``a.b``; `package` is what relative imports start from.
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*start, *filter(None, [node.module])])
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def violations(code: str, *parts: str) -> list[str]:
    """Return what the module `parts`, with the source `code`, may not import and does."""
    this, allowed = parts[0], ROWS[parts[0]]
    found = []
    for line, name in imports(code, ("cipherecho", *parts[:-1])):
        top, _, rest = name.partition(".")
        if top == "cipherecho":
            other = rest.partition(".")[0]
            # What is no module is defined in the package itself, as the version is.
            other = other if other in ROWS else "__init__"
            fits = other in allowed.own or other == this
        elif top in sys.stdlib_module_names:
            fits = top not in allowed.not_standard
        else:
            fits = top in allowed.third_party
        if not fits:
            found.append(f"line {line}: {this} may not import {name}")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: ".".join(parts_of(source)))
def test_a_module_imports_only_what_its_row_allows(source: Path) -> None:
    parts = parts_of(source)
    assert parts[0] in ROWS, (
        f"{parts[0]} is in no layer: add a row for it to ROWS, above every module that "
        "imports it, with what it may import"
    )
    assert violations(source.read_text(encoding="utf-8"), *parts) == []


def test_every_row_is_of_a_module() -> None:
    assert ROWS.keys() <= {parts_of(source)[0] for source in SOURCES}


@pytest.mark.parametrize("module", ROWS)
def test_a_row_allows_only_what_stands_above_it(module: str) -> None:
    above = list(ROWS)[: list(ROWS).index(module)]
    assert ROWS[module].own <= set(above)


# Rules for the table itself, so that a row that is changed in haste does not break them.


def test_one_module_knows_where_packages_are_installed() -> None:
    assert _who_may_import("importlib_metadata") == {"registry"}


def test_the_command_line_alone_knows_click() -> None:
    assert _who_may_import("click") == {"cli"}


def test_the_packages_of_an_extra_are_known_to_a_module_of_its_own() -> None:
    """So that the rest runs without them."""
    assert _who_may_import("prometheus_client") == {"metrics"}
    assert _who_may_import("h11") == {"monitoring"}


def test_what_knows_trio_knows_no_registry_and_no_command_line() -> None:
    server = _who_may_import("trio")
    assert server
    for module in server:
        assert not ROWS[module].own & {"cli", "options", "registry", "rot13", "specification"}


def test_what_does_not_know_trio_knows_no_sockets() -> None:
    for module in ROWS.keys() - _who_may_import("trio"):
        assert ROWS[module].not_standard >= SOCKETS, module


def test_the_contract_stands_on_nothing() -> None:
    assert ROWS["cipher"] == Row()


def _who_may_import(package: str) -> set[str]:
    return {module for module, row in ROWS.items() if package in row.third_party}


# The check itself, so that it can't pass by looking away.


@pytest.mark.parametrize(
    ("module", "code", "name"),
    [
        ("cipher", "from cipherecho.printable import printable", "cipherecho.printable.printable"),
        ("cipher", "from cipherecho import __version__", "cipherecho.__version__"),
        ("cipher", "from . import printable", "cipherecho.printable"),
        ("cipher", "from .printable import printable", "cipherecho.printable.printable"),
        ("session", "import trio", "trio"),
        ("session", "import trio.lowlevel as low", "trio.lowlevel"),
        ("session", "from time import monotonic", "time.monotonic"),
        ("session", "import os, socket", "socket"),
        ("session", "import cipherecho.registry", "cipherecho.registry"),
        ("session", "def late():\n    from cipherecho import registry", "cipherecho.registry"),
        ("session", "if TYPE_CHECKING:\n    import trio", "trio"),
        ("coding", "from cipherecho.chain import chain", "cipherecho.chain.chain"),
        ("options", "import importlib_metadata", "importlib_metadata"),
        ("registry", "from cipherecho.session import Session", "cipherecho.session.Session"),
        ("registry", "import click", "click"),
        ("server", "import click", "click"),
        ("server", "from cipherecho.registry import Registry", "cipherecho.registry.Registry"),
        ("server", "from cipherecho.cli import main", "cipherecho.cli.main"),
        ("cli.main", "import socket", "socket"),
        ("cli.main", "import trio", "trio"),
        ("cli.main", "from importlib_metadata import version", "importlib_metadata.version"),
    ],
)
def test_an_import_that_is_not_allowed_is_found(module: str, code: str, name: str) -> None:
    parts = module.split(".")
    line = code.count("\n") + 1
    assert violations(code, *parts) == [f"line {line}: {parts[0]} may not import {name}"]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("session", "import re"),
        ("session", "from collections.abc import Callable"),
        ("session", "from cipherecho.cipher import Cipher"),
        ("session", "from . import cipher"),
        ("server", "import socket, trio.lowlevel"),
        ("server", "from cipherecho.session import Session"),
        ("registry", "import importlib_metadata"),
        ("cli.main", "import click"),
        ("cli.main", "from cipherecho import __version__"),
        ("cli.main", "from cipherecho.cli.output import table"),
        ("cli.main", "from .output import table"),
        ("cli.main", "from . import output"),
        ("cli.main", "from .. import __version__"),
        ("cli.main", "from ..registry import Registry"),
        ("cli.__init__", "from .main import main"),
    ],
)
def test_an_import_that_is_allowed_is_not(module: str, code: str) -> None:
    assert violations(code, *module.split(".")) == []
