"""The commands: started as a user starts them, or, where only words matter, in this process."""

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cipherecho.ciphers.composition import inverse
from cipherecho.ciphers.registry import Registry
from cipherecho.ciphers.specification import parse
from cipherecho.host.sandbox import landlock
from cipherecho.session import ReplyMode, Session
from cipherecho_aead import __version__
from cipherecho_aead.aead import ALGORITHMS
from cipherecho_aead.cli import main

SCRIPTS = Path(sys.executable).parent

# Seconds, many times as many as any command needs on a slow and busy machine.
PATIENCE = 30

# Long, short, empty and indented lines, a form feed, text that isn't ASCII, and no last ending.
TEXT = (
    "\N{SPACE}" * 20
    + "A PUBLIC LICENSE OF OUR OWN\n"
    + "                     Version 0, made for a test\n\n"
    + "  0. Whoever reads these lines may read them again, aloud if need be,\n"
    + "and may leave out any number of them, as long as nobody notices.\n\n\f\n"
    + "  1. «Größe» means how long it is.\tTabs are kept.\r\n"
    + "".join(f"  {n}. This is section {n}. {'It goes on. ' * n}\n" for n in range(2, 60))
    + "50%\r100%\n\n\nEND OF TERMS"
).encode()


def run(
    command: str, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603
        [SCRIPTS / command, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=PATIENCE,
        check=False,
    )


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    return subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PATH": path},
        timeout=PATIENCE,
        check=False,
    )


Aead = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def aead(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Aead:
    """Return a function that runs ``cipherecho-aead`` as `run` does, but in this process."""

    def run_here(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.setattr(sys, "argv", ["cipherecho-aead", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess((), int(end.value.code or 0), *capfdbinary.readouterr())

    return run_here


@pytest.mark.parametrize(
    ("algorithm", "more"),
    list(zip(ALGORITHMS, ["", " --cipher rot13"], strict=True)),
    ids=["alone", "chain"],
)
def test_text_comes_back_through_a_pipeline(tmp_path: Path, algorithm: str, more: str) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    cipher = f"--cipher aead:key-file=aead.key,algorithm={algorithm}{more}"
    ended = shell(
        "cipherecho-aead new-key aead.key >&2 && "
        f"cipherecho apply {cipher} text | tee coded | cipherecho apply {cipher} --decrypt",
        tmp_path,
    )
    assert ended.returncode == 0
    assert ended.stdout == TEXT
    coded = (tmp_path / "coded").read_bytes()
    assert coded.count(b"\n") == TEXT.count(b"\n")
    assert b"license" not in coded.lower()


def test_forged_lines_are_told_and_the_others_decrypted(key_file: Path) -> None:
    cipher = ["--cipher", f"aead:key-file={key_file}"]
    coded = run("cipherecho", "apply", *cipher, stdin=b"one\ntwo\nthree\n").stdout.splitlines(True)
    coded[1] = coded[1][:12].swapcase() + coded[1][12:]  # in the nonce
    ended = run("cipherecho", "apply", *cipher, "--decrypt", stdin=b"".join(coded))
    assert (ended.returncode, ended.stdout) == (1, b"one\nthree\n")
    assert ended.stderr.startswith(b"cipherecho: line 2: got a line that was encrypted with anoth")
    assert ended.stderr.count(b"\n") == 1


def test_unsafe_key_is_refused_before_anything_is_served(key_file: Path) -> None:
    key_file.chmod(0o644)
    for command in (["--listen", "0"], ["apply"]):
        ended = run("cipherecho", *command, "--cipher", f"aead:key-file={key_file}")
        assert (ended.returncode, ended.stdout) == (2, b"")
        assert f"chmod 600 {key_file}" in ended.stderr.decode()
        assert key_file.read_text().strip() not in ended.stderr.decode()


def test_page_about_it_needs_no_key() -> None:
    ended = run("cipherecho", "ciphers", "aead")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"cipherecho-aead new-key PATH" in ended.stdout


# Making a key.


@pytest.mark.parametrize("name", ["aead.key", "my key, 'the' \"first\"=1\\", "größe", "-key"])
def test_new_key_says_what_to_run_next(
    tmp_path: Path, name: str, aead: Aead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = aead("new-key", "--", name)
    assert (ended.returncode, ended.stderr) == (0, b"")
    path = tmp_path / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().strip() not in ended.stdout
    first, command = ended.stdout.decode().splitlines()
    assert first == f"wrote a new key to {name}, which only you can read; now run:"
    # The specification works.
    *program, specification = shlex.split(command)
    assert program == ["cipherecho", "--cipher"]
    cipher = Registry().load(parse(specification))
    session = Session(cipher, reply=ReplyMode.FILTER)
    back = Session(inverse(cipher), reply=ReplyMode.FILTER)
    assert back.receive(session.receive(b"Hello\n")) == b"Hello\n"


def test_name_that_is_not_utf_8_can_be_pasted_too(tmp_path: Path) -> None:
    ended = run("cipherecho-aead", "new-key", os.fsdecode(b"k\xff"), cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.splitlines()[1] == b"  cipherecho --cipher 'aead:key-file=k\xff'"


def test_new_key_overwrites_none(key_file: Path, aead: Aead) -> None:
    before = key_file.read_bytes()
    ended = aead("new-key", key_file)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode() == (
        f"cipherecho-aead: got '{key_file}', which exists, expected a new file; a key that is "
        "overwritten is lost, and so is what was encrypted with it\n"
    )
    assert key_file.read_bytes() == before


def test_what_the_system_refuses_is_told(
    tmp_path: Path, aead: Aead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = aead("new-key", "no/key")
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr == b"cipherecho-aead: no/key: No such file or directory\n"


def test_wrong_use_is_told(aead: Aead) -> None:
    for arguments, told in (
        ([], b"Usage: cipherecho-aead"),
        (["new-key"], b"cipherecho-aead: Missing argument 'PATH'."),
        (["newkey", "x"], b"cipherecho-aead: No such command 'newkey'."),
    ):
        ended = aead(*arguments)
        assert (ended.returncode, ended.stdout) == (2, b"")
        assert ended.stderr.startswith(told)


def test_help_says_how_to_use_a_key(aead: Aead) -> None:
    for arguments in (["--help"], ["new-key", "--help"], ["new-key", "-h"]):
        ended = aead(*arguments)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"cipherecho --cipher aead:key-file=aead.key" in ended.stdout


def test_version_is_told() -> None:
    assert run("cipherecho-aead", "--version").stdout.decode() == f"cipherecho-aead {__version__}\n"


def test_key_is_read_in_the_sandbox(key_file: Path) -> None:
    """The server confines itself before it imports this plugin."""
    if landlock.version() < 6:
        if os.environ.get("CI"):
            pytest.fail("this machine has no Landlock of version 6, and CI is set")
        pytest.skip("this machine has no Landlock of version 6 (Linux 6.12)")
    words = ["--cipher", f"aead:key-file={key_file}", "--check-config"]
    done = run("cipherecho", *words, "--sandbox=require")
    assert (done.returncode, done.stderr) == (0, b"")
