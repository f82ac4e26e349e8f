"""What the symbolic links of installed packages lead to.

Landlock allows a directory with all beneath it, but not what a link beneath it leads to.
Some installers fill ``site-packages`` with links, to the files of a cache or to the directories
of a store.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["linked_from"]


@cache  # a server asks twice: before it makes ciphers, and before it serves
def linked_from(tree: Path) -> tuple[Path, ...]:
    """Return what links in the directory `tree` lead to, and links in those directories.

    Installers link every file of a package or none.  So a package is read beyond its first
    files only if one of those is a link: to read all of a large site-packages would delay each
    start by a tenth of a second.

    A link to a directory that holds `tree` is left out, since it would open all of that.
    """
    return tuple(_Search(tree).found)


class _Search:
    """The links that were found so far, beneath one directory."""

    def __init__(self, tree: Path) -> None:
        self.found: list[Path] = []
        self._tree = os.path.realpath(tree)
        self._seen: set[str] = set()
        self._read(self._tree, outermost=True)

    def _read(self, directory: str, *, outermost: bool = False) -> None:
        """Read a directory, given by a path without links."""
        if directory in self._seen:
            return
        self._seen.add(directory)
        try:
            entries = list(os.scandir(directory))
        except OSError:  # it is a module, or closed to us
            return
        links = [entry.path for entry in entries if entry.is_symlink()]
        inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for link in links:
            self._follow(directory, os.path.realpath(link))
        has_no_files = len(links) + len(inner) == len(entries)
        if outermost or links or has_no_files:
            for one in inner:
                self._read(one)

    def _follow(self, directory: str, target: str) -> None:
        holds = os.path.join(target, "")  # noqa: PTH118 (twice as fast for thousands of links)
        if any(f"{one}/".startswith(holds) for one in (self._tree, directory)):
            return
        self.found.append(Path(target))
        if os.path.isdir(target):  # noqa: PTH112
            self._read(target, outermost=True)
