"""What the tests of this plugin share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cipherecho.host.sandbox.companion import companions
from cipherecho_wasm.compiled import COMPILER

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside this one


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled code out of the user's own cache."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        with companions([COMPILER]):  # otherwise each test would start one
            yield directory


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Return a function that writes a module to a file."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "module.wat"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
