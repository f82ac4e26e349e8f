"""The long description of each package: its README, with links that hold outside the repository.

In the repository, links and pictures of a README are relative.  The setting ``files-url`` in
``pyproject.toml`` makes them absolute when a package is built.  While it is empty, a link
becomes its text and the path in the repository, since a link to nowhere helps nobody.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parent

# A fenced block, which is left as it is; or a link or a picture, if its target is relative.
_LINK = re.compile(
    r"^```.*?^```$|(?P<picture>!?)\[(?P<text>[^\]]+)\]\((?P<target>(?![a-z]+:|#)[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)


class LongDescription(MetadataHookInterface):
    """Sets the long description of cipherecho itself."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it, in what becomes the metadata of the package."""
        metadata["readme"] = long_description(Path(self.root))


def long_description(package: Path) -> dict[str, str]:
    """Return the field ``readme`` of a package of the checkout, by the directory of the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = (package / "README.md").read_text(encoding="utf-8")
    directory = package.resolve().relative_to(ROOT.resolve()).as_posix()
    return {
        "content-type": "text/markdown",
        "text": with_absolute_links(text, directory, settings["tool"]["cipherecho"]["files-url"]),
    }


def with_absolute_links(text: str, directory: str, url: str, *, within: str | None = None) -> str:
    """Return a page with absolute links, or with none if `url` is empty.

    Args:
      text: the page, in Markdown.
      directory: where the page is in the repository.
      url: what stands before the path of a file, as in ``https://HOST/OWNER/NAME/blob/main/``.
      within: a directory of the repository; links to what is in it stay as they are.
    """

    def absolute(link: re.Match[str]) -> str:
        if link["target"] is None:
            return link[0]
        path = posixpath.normpath(posixpath.join(directory, link["target"]))
        if within is not None and f"{path}/".startswith(f"{within}/"):
            return link[0]
        if not url:
            same = path.endswith(link["text"].strip("`/"))
            return f"`{path}`" if same else f"{link['text']} (`{path}`)"
        # A blob is a page about the file, and raw is the file.
        place = url.replace("/blob/", "/raw/") if link["picture"] else url
        return f"{link['picture']}[{link['text']}]({place}{path})"

    return _LINK.sub(absolute, text)
