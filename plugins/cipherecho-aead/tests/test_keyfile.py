"""Key files: which are accepted, which are refused, and that no error shows the key."""

import os
import stat
from pathlib import Path

import pytest

from cipherecho.cipher import OptionError
from cipherecho.ciphers.options import BadOptionError
from cipherecho.ciphers.specification import Specification
from cipherecho.registry import Registry
from cipherecho_aead.keyfile import create_key, read_key

KEY = "c0ffee11" * 8


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def refusal_of(path: Path) -> str:
    """Return why `path` is refused; checks that the error names the option and hides the key."""
    with pytest.raises(OptionError) as refusal:
        read_key(path)
    assert (refusal.value.option, refusal.value.given) == ("key-file", str(path))
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None
    with pytest.raises(BadOptionError) as refusal_by_registry:
        Registry().load(Specification("aead", first=str(path)))
    assert refusal_by_registry.value.option == "key-file"
    assert str(refusal.value) in str(refusal_by_registry.value)
    assert KEY[:8] not in str(refusal_by_registry.value).lower()
    return refusal.value.expected


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""], ids=["LF", "CRLF", "none"])
@pytest.mark.parametrize("digits", [KEY, KEY.upper()], ids=["small", "capital"])
def test_key_is_read(tmp_path: Path, digits: str, ending: str) -> None:
    assert read_key(written(tmp_path / "key", digits + ending)) == bytes.fromhex(KEY)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_key_that_others_have_no_access_to_is_read(tmp_path: Path, mode: int) -> None:
    assert read_key(written(tmp_path / "key", KEY, mode)) == bytes.fromhex(KEY)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o602, 0o660, 0o666, 0o610, 0o601])
def test_key_that_others_have_access_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "a key", KEY, mode)
    assert refusal_of(path) == (
        f"a file without access for group and others, and its mode is {mode:04o}; "
        f"if nobody has read it yet: chmod 600 '{path}'"
    )
    path.chmod(0o600)
    assert read_key(path) == bytes.fromhex(KEY)


def test_file_of_a_stranger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "key", KEY)
    if os.geteuid() == 0:
        os.chown(path, 4711, -1)
    else:  # then a stranger runs this
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    owner = path.stat().st_uid
    assert f"it belongs to {owner}; chown it" in refusal_of(path)


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as somebody else than root, who owns the files that the test makes."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of root's")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)


@pytest.mark.usefixtures("another_user")
@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_file_of_root_may_be_open_to_its_group(tmp_path: Path, mode: int) -> None:
    """Kubernetes mounts a Secret with fsGroup like this, and systemd a credential."""
    assert read_key(written(tmp_path / "key", KEY, mode)) == bytes.fromhex(KEY)


@pytest.mark.usefixtures("another_user")
@pytest.mark.parametrize("mode", [0o644, 0o444, 0o660, 0o650, 0o601, 0o602])
def test_file_of_root_that_others_have_access_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", KEY, mode)
    assert refusal_of(path) == (
        "a file of root that only its group can read too, and its mode is "
        f"{mode:04o}; if nobody has read it yet: chmod 640 {path}, or defaultMode: 0440 for a "
        "Kubernetes Secret"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "only 0"),
        ("\n", "only 1"),
        (KEY[:-1], "only 63"),
        (KEY[:-1] + "\n", "other characters"),
        (KEY[:-1] + "g", "other characters"),
        (KEY + "0", "other characters"),
        (KEY + "\n\n", "other characters"),
        (KEY + "\r", "other characters"),
        (" " + KEY, "other characters"),
        (KEY + "00\n", "more than 66 bytes"),
        (KEY + "\r\n\n", "more than 66 bytes"),
        ("0x" + KEY + "\n", "more than 66 bytes"),
        (KEY * 1000, "more than 66 bytes"),
        (bytes.fromhex(KEY), "only 32"),
        ("ß" * 32, "other characters"),
        ("\N{FULLWIDTH DIGIT ONE}" * 64, "more than 66 bytes"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: str | bytes, what: str) -> None:
    assert refusal_of(written(tmp_path / "key", content)) == (
        f"a file of 64 hexadecimal digits and a line ending, and it holds {what}; "
        "cipherecho-aead new-key makes a valid one"
    )


def test_what_is_no_key_is_not_said_to_need_another_mode(tmp_path: Path) -> None:
    assert "chmod" not in refusal_of(written(tmp_path / "passwd", "root:x:0:0\n", 0o644))


def test_missing_file_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "no key"
    assert refusal_of(path) == (
        f"a file that exists; to make one: cipherecho-aead new-key '{path}'"
    )


def test_directory_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path).startswith("a regular file with a key in it, not a directory")
    assert refusal_of(Path()).startswith("a regular file")  # the path of an empty option


def test_pipe_and_device_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal_of(tmp_path / "pipe").startswith("a regular file")
    assert refusal_of(Path(os.devnull)).startswith("a regular file")


def test_path_that_can_not_be_is_refused(tmp_path: Path) -> None:
    refusal = refusal_of(tmp_path / "a\0b")
    assert refusal.startswith("a file that can be opened (")
    assert "embedded null" in refusal  # the rest is Python's, and differs between versions
    assert refusal_of(written(tmp_path / "file", KEY) / "key") == (
        "a file that can be opened (Not a directory)"
    )


def test_link_is_followed_and_what_it_leads_to_is_checked(tmp_path: Path) -> None:
    path, link = written(tmp_path / "key", KEY), tmp_path / "link"
    link.symlink_to(path)
    assert read_key(link) == bytes.fromhex(KEY)
    path.chmod(0o644)
    assert f"chmod 600 {link}" in refusal_of(link)
    path.unlink()
    assert refusal_of(link).startswith("a file that exists")
    link.unlink()
    link.symlink_to(link)
    assert refusal_of(link).startswith("a file that can be opened (Too many levels")


def test_new_key_is_read_and_is_another_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    create_key(first)
    create_key(second)
    assert read_key(first) == bytes.fromhex(first.read_text())
    assert len(read_key(first)) == 32
    assert read_key(first) != read_key(second)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_new_key_is_for_its_owner_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_new_key_replaces_nothing(tmp_path: Path) -> None:
    path, nowhere = written(tmp_path / "key", KEY), tmp_path / "nowhere"
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(path)
    dangling.symlink_to(nowhere)
    for taken in (path, link, dangling, tmp_path):
        with pytest.raises(FileExistsError):
            create_key(taken)
    assert path.read_text() == KEY
    assert not nowhere.exists()


def test_key_that_could_not_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        create_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
