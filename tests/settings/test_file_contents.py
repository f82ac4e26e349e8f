"""Files that are read whole, whatever they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from cipherecho.settings.file_contents import has_changed, read_file


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody can get to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


def test_a_file_is_read_whole_up_to_a_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a" * 1000)
    contents = read_file(file, most=1000)
    assert contents.data == b"a" * 1000
    assert contents.lasting
    with pytest.raises(OSError, match="it has more than 999 bytes"):
        read_file(file, most=999)


def test_what_never_ends_is_given_up() -> None:
    with pytest.raises(OSError, match="it has more than 16,777,216 bytes"):
        read_file(Path("/dev/zero"))


def test_what_is_empty_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_file(tmp_path / "empty").data == b""


def test_a_pipe_is_read_to_its_end_once_somebody_writes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sent = b"abc" * 100_000  # more than a pipe holds
    Thread(target=pipe.write_bytes, args=(sent,), daemon=True).start()
    contents = read_file(pipe)
    assert contents.data == sent
    assert not contents.lasting
    assert not contents.public


@pytest.mark.parametrize("begun", [False, True])
def test_a_pipe_is_not_waited_for_without_end(tmp_path: Path, begun: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR) if begun else os.open(os.devnull, os.O_RDONLY)
    try:
        if begun:
            os.write(writer, b"half of ")
        with pytest.raises(TimeoutError, match=r"its end did not come within 0\.05 seconds"):
            read_file(pipe, seconds=0.05)
    finally:
        os.close(writer)


def test_opening_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    never, end = os.pipe()
    # As on a file server that is down.
    monkeypatch.setattr("cipherecho.settings.file_contents._read", lambda *_: os.read(never, 1))
    monkeypatch.setattr("cipherecho.settings.file_contents._GRACE_SECONDS", 0.0)
    with pytest.raises(TimeoutError):
        read_file(Path("file"), seconds=0.05)
    os.close(end)


def test_no_thread_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    (tmp_path / "file").write_bytes(b"hello")
    assert read_file(tmp_path / "file").data == b"hello"


def test_what_can_not_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)


@pytest.mark.parametrize(
    ("file", "directory", "expected"),
    [(0o644, 0o755, True), (0o640, 0o755, False), (0o644, 0o750, False), (0o604, 0o711, True)],
)
def test_a_file_is_public_if_everybody_can_read_it_where_it_is(
    public: Path, file: int, directory: int, expected: bool
) -> None:
    inner = public / "inner"
    inner.mkdir()
    (inner / "file").touch()
    (inner / "file").chmod(file)
    inner.chmod(directory)
    assert read_file(inner / "file").public is expected


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"hello")
    other.replace(file)


def of_the_same_size(file: Path) -> None:
    file.write_bytes(b"HELLO")


def gone(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, False),
        (Path.touch, False),
        (replaced, False),
        (of_the_same_size, True),
        (gone, True),
    ],
)
def test_a_file_has_changed_if_it_has_something_else(
    tmp_path: Path, change: Callable[[Path], None], expected: bool
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"hello")
    contents = read_file(file)
    change(file)
    assert has_changed(file, contents) is expected


def test_nobody_can_tell_whether_a_pipe_has_changed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    Thread(target=pipe.write_bytes, args=(b"a",), daemon=True).start()
    assert not has_changed(pipe, read_file(pipe))
