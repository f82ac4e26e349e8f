"""How Sphinx builds these pages.

In the checkout::

    .venv/bin/pip install -e '.[docs]'
    .venv/bin/sphinx-build -W --keep-going -n docs build/docs
"""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Mapping
from pathlib import Path

from sphinx.application import Sphinx

from cipherecho import __version__

ROOT = Path(__file__).parent.parent

project = "cipherecho"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

html_theme = "furo"
html_title = f"cipherecho {__version__}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

# Docstrings write the name of a parameter between single backquotes.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# What is copied from a block with prompts is what was typed.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

# Other projects' inventories would have to be fetched for each build, so nothing links to them.
nitpick_ignore_regex = [
    (r"py:.*", r"(bytes|click|collections|copy|enum|pathlib|socket|ssl|sys|trio|typing)\..*"),
    (r"py:.*", r"importlib_metadata\..*"),
    (r"py:class", r"cipherecho\.cipher\._Shape"),  # what keeps __init__ out of three protocols
    # What public modules say of others that are not.
    (r"py:.*", r"cipherecho\.(ciphers|connections|host|network|settings)(\..*)?"),
    (r"py:data", r"(ANY_CID|LINE_WEIGHT)"),
]
# The grammar of WebAssembly text that Pygments has knows nothing of components.
suppress_warnings = ["misc.highlighting_failure"]

_REPOSITORY: str = (
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    .get("cipherecho", {})
    .get("files-url", "")
)

# The rule for links in the READMEs of packages holds here too, and stands in one place.
_with_absolute_links = runpy.run_path(str(ROOT / "hatch_build.py"))["with_absolute_links"]


def _link_to_repository(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make links that leave ``docs`` absolute; until the project has an address, name the path."""
    directory = (Path(app.srcdir) / docname).parent.relative_to(ROOT).as_posix()
    source[0] = _with_absolute_links(source[0], directory, _REPOSITORY, within="docs")


def _adapt(
    app: Sphinx, what: str, name: str, obj: object, options: Mapping[str, object], lines: list[str]
) -> None:
    """Adapt docstrings before napoleon reads them."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment: the text up to a colon is no type
    elif what == "module" and options.get("exclude-members"):
        lines.clear()  # the page has said it, with what it shows before the rest


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _adapt, priority=400)  # napoleon has 500
    app.connect("source-read", _link_to_repository)
