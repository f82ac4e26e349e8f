"""A key file for the tests that need one."""

from pathlib import Path

import pytest

from cipherecho_aead.keyfile import create_key


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The path of a new key file, as ``cipherecho-aead new-key`` makes it."""
    path = tmp_path / "aead.key"
    create_key(path)
    return path
