"""What the tutorials install is installed as they say, in a fresh copy of the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pasting import ROOT, blocks_of, checkout


def script(page: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of the script for sh that a tutorial has, each with where it is."""
    [block] = [one for one in blocks_of(ROOT / "docs/tutorials" / page) if one.language == "sh"]
    for line in block.text.splitlines():
        yield line, block.where


@pytest.mark.thorough
def test_the_tutorials_can_be_pasted(tmp_path: Path) -> None:
    with checkout(tmp_path) as fresh:
        for line, where in script("first-lines.md"):
            fresh.paste(f"$ {line}\n", where)
            if "-m venv " in line:
                fresh.lend_packages()
        fresh.paste("$ cipherecho new wave\n…\n")
        for line, where in script("write-a-cipher.md"):
            fresh.paste(f"$ {line} > /dev/null\n", where)
            if "-m venv " in line:
                fresh.lend_packages("fresh")
