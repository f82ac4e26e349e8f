"""Finds the targets of symbolic links in installed packages.

Landlock allows a directory and everything in it, but not the targets of links in it.  Some
installers fill ``site-packages`` with links to the files of a cache or the directories of a store.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["linked_from"]


@cache  # a server calls this twice: before it makes ciphers, and before it serves
def linked_from(tree: Path) -> tuple[Path, ...]:
    """Return the targets of links in the directory `tree`, and of links in those targets.

    Installers link either every file of a package or none.  So the search enters a package's inner
    directories only if the outer one contains a link, or no files.  Reading a whole large
    site-packages would delay each start by 0.1 s.

    A link to a directory that contains `tree` is left out, since it would open all of that.
    """
    return tuple(_Search(tree).found)


class _Search:
    """A search for links in one directory, with the targets found so far."""

    def __init__(self, tree: Path) -> None:
        self.found: list[Path] = []
        self._tree = os.path.realpath(tree)
        self._seen: set[str] = set()
        self._read(self._tree, outermost=True)

    def _read(self, directory: str, *, outermost: bool = False) -> None:
        """Read a directory; its path must contain no links."""
        if directory in self._seen:
            return
        self._seen.add(directory)
        try:
            entries = list(os.scandir(directory))
        except OSError:  # it is a file, or we may not read it
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
