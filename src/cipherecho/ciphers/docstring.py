"""The summary of a cipher, read from the plugin's source without running it.

For lists: a plugin that is only listed must not be imported, since it may be broken, slow,
or not what anybody asked for.
"""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["Summary", "summary_of"]


@dataclass(frozen=True)
class Summary:
    """What is known of a cipher without importing it; empty if there is no source."""

    summary: str = ""
    """The first sentence of its factory's docstring."""
    secure: bool = False
    """Whether its factory says ``secure = True``: the cipher is meant to keep secrets."""


def summary_of(value: str) -> Summary:
    """Return the summary of the factory at `value`, ``module:attribute``.

    >>> summary_of("cipherecho.rot13:Rot13").summary
    'Moves every letter 13 places along the alphabet of 26; twice is the original.'
    """
    module, _, attribute = value.partition(":")
    with suppress(Exception):  # no source, or none that this Python can read
        for node in ast.parse(_source_of(module).read_bytes()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute.strip():
                docstring = " ".join((ast.get_docstring(node) or "").split())
                sentence = re.match(r".*?[.!?](?=\s|$)", docstring)
                return Summary(sentence[0] if sentence else docstring, _says_secure(node))
    return Summary()


def _source_of(module: str) -> Path:
    # Only the top of a package is looked up: for what is in it, a look-up would import it.
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(module)
    path = Path(spec.origin).parent.joinpath(*rest) if rest else Path(spec.origin)
    if not rest:
        return path
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _says_secure(node: ast.ClassDef | ast.FunctionDef) -> bool:
    return any(
        isinstance(statement, ast.Assign)
        and [ast.unparse(target) for target in statement.targets] == ["secure"]
        and ast.unparse(statement.value) == "True"
        for statement in node.body
    )
