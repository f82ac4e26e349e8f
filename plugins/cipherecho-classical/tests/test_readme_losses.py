"""The README's examples of lines that decrypt with losses."""

import re
from pathlib import Path

import pytest

from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import ReplyMode, Session

README = Path(__file__).parent.parent / "README.md"
ROWS = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| spacing", README.read_text(), re.M)


def test_all_of_them_are_there() -> None:
    assert [specification.partition(":")[0] for _, specification, _ in ROWS] == [
        "playfair",
        "bifid",
        "adfgvx",
    ]


@pytest.mark.parametrize(("sent", "specification", "back"), ROWS)
def test_line_comes_back_so(sent: str, specification: str, back: str) -> None:
    cipher = Registry().load(parse(specification))
    there, and_back = (Session(one, reply=ReplyMode.CIPHER) for one in (cipher, inverse(cipher)))
    assert and_back.receive(there.receive(f"{sent}\n".encode())) == f"{back}\n".encode()
