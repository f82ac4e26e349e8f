"""Machine code that is kept: used again, and only if nobody else can have written it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from guest_text import guest

from cipherecho_wasm import compiled
from cipherecho_wasm.family import wasm

Write = Callable[[str | bytes], Path]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cipherecho" / "wasm"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is compiled from now on."""
    made: list[bytes] = []

    class Counting(compiled.Component):
        def __init__(self, engine: object, wasm: bytes) -> None:
            made.append(wasm)
            super().__init__(engine, wasm)  # type: ignore[arg-type]

    monkeypatch.setattr(compiled, "Component", Counting)
    return made


def test_a_module_is_compiled_once(module: Write, kept: Path, compilations: list[bytes]) -> None:
    path = module(guest())
    for _ in range(3):
        assert wasm(path)().encryptor()(b"a") == b"a"
    assert len(compilations) == 1
    [file] = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700


def test_another_version_of_wasmtime_has_code_of_its_own(
    module: Write, kept: Path, compilations: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = module(guest())
    wasm(path)
    monkeypatch.setattr(compiled, "version", lambda package: "51.0.0")
    wasm(path)
    assert len(compilations) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "of others", "a link"])
def test_code_that_can_t_be_trusted_is_made_again(
    module: Write, kept: Path, compilations: list[bytes], damage: str
) -> None:
    path = module(guest())
    wasm(path)
    [file] = kept.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "of others":
        file.chmod(0o666)
    else:
        elsewhere = path.parent / "elsewhere"
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    assert wasm(path)().encryptor()(b"a") == b"a"
    assert len(compilations) == 2
    wasm(path)
    assert len(compilations) == 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.is_symlink()


def test_a_directory_that_others_can_write_is_not_used(
    module: Write, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.mkdir(parents=True)
    kept.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        wasm(module(guest()))
    assert list(kept.iterdir()) == []
    assert "can be written by others, expected a directory of this user's alone" in caplog.text


def test_a_directory_that_can_t_be_made_costs_no_more_than_the_time(
    module: Write, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.parent.parent.write_text("a file stands there")
    assert wasm(module(guest()))().encryptor()(b"a") == b"a"
    assert "compiled code is not kept" in caplog.text


def test_what_was_not_used_for_longest_goes(module: Write, kept: Path) -> None:
    first = module(guest())
    wasm(first)
    [oldest] = kept.iterdir()
    for number in range(16):
        other = kept / f"{number}.compiled"
        other.write_bytes(b"")
        os.utime(other, (1000 + number, 1000 + number))
    os.utime(oldest, (1, 1))
    wasm(first)  # used again
    wasm(module(guest(pages=2)))
    assert len(list(kept.iterdir())) == 16
    assert oldest.exists()
