"""``cipherecho apply``: the session as a filter, from files to standard output."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.in_process import run
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    ROT13,
    Output,
    complaint,
    ending,
    environment,
    run_shell,
    tool,
)
from tests.helpers.site import Site


def apply(*arguments: str | Path, stdin: bytes = b"", **variables: str) -> bytes:
    """Return what comes out, when all went well and without a word."""
    ended = run("apply", *arguments, stdin=stdin, **variables)
    assert ended.stderr == ""
    assert ended.status == 0
    return ended.stdout


@contextmanager
def applying(*options: str, stdin: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """Start it on a pipe that stays open, unless something else is given for its input."""
    process = subprocess.Popen(
        [COMMAND, "apply", *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment(),
    )
    with ending(process):
        yield process


# What comes out.

ENDINGS = b"Hello\r\nthere\n\r\n\nmid\rdle\n\r\r\nend"


@pytest.mark.parametrize("text", [ENDINGS, b"", b"\n", b"end", b"end\r", b"end\n"])
@pytest.mark.parametrize("cipher", ["rot13", "vigenere:N"], ids=["by blocks", "by lines"])
def test_lines_keep_their_endings_and_a_last_line_without_one_has_none(
    cipher: str, text: bytes
) -> None:
    """A Vigenère key of one N is ROT13, done line by line."""
    assert apply("--cipher", cipher, stdin=text) == text.translate(ROT13)


@pytest.mark.parametrize("cipher", ["caesar:7", "vigenere:LEMON"])
def test_any_bytes_go_through_and_come_back(cipher: str) -> None:
    every_byte = bytes(range(256))
    noise = hashlib.shake_128(b"noise").digest(300_000)
    text = every_byte + b"\r\n" + every_byte[::-1] + b"\n" + noise
    coded = apply("--cipher", cipher, stdin=text)
    assert coded != text
    assert len(coded) == len(text)
    assert apply("--cipher", cipher, "--decrypt", stdin=coded) == text


def test_rot13_is_the_default() -> None:
    assert apply(stdin=b"Hello\n") == b"Uryyb\n"


def test_a_chain_runs_from_left_to_right_and_back_with_decrypt() -> None:
    chain = ["--cipher", "caesar:1", "--cipher", "vigenere:LEMON"]
    # With the key alone it is "Lxfopv" and "ef rnhr!".
    assert apply(*chain, stdin=b"Attack\nat dawn!\n") == b"Mygpqw\nfg sois!\n"
    assert apply(*chain, "--decrypt", stdin=b"Mygpqw\nfg sois!\n") == b"Attack\nat dawn!\n"


def test_state_runs_on_from_line_to_line_or_starts_afresh() -> None:
    cipher = ["--cipher", "vigenere:ABC"]
    assert apply(*cipher, stdin=b"aa\naa\n") == b"ab\nca\n"
    assert apply(*cipher, "--reset", "connection", stdin=b"aa\naa\n") == b"ab\nca\n"
    assert apply(*cipher, "--reset", "line", stdin=b"aa\naa\n") == b"ab\nab\n"
    assert apply(*cipher, "--reset", "line", "--decrypt", stdin=b"ab\nab\n") == b"aa\naa\n"


def test_its_options_can_come_from_the_environment() -> None:
    variables = {
        "CIPHERECHO_CIPHER": "caesar:1 vigenere:AB",
        "CIPHERECHO_DECRYPT": "yes",
        "CIPHERECHO_RESET": "line",
    }
    assert apply(stdin=b"bc\nbc\n", **variables) == b"aa\naa\n"
    assert apply("--cipher", "rot13", stdin=b"Hello\n", **variables) == b"Uryyb\n"
    said = complaint(run("apply", CIPHERECHO_CIPHER="rot31"), 2)
    assert "CIPHERECHO_CIPHER" in said


# Where it comes from.


def test_several_files_are_read_as_one_text(tmp_path: Path) -> None:
    """A line may begin in one and end in the next, and a cipher's state runs on."""
    first, last = tmp_path / "first", tmp_path / "last"
    first.write_bytes(b"aa\na")
    last.write_bytes(b"a\naa")
    cipher = ["--cipher", "vigenere:ABC"]
    assert apply(*cipher, first, last) == b"ab\nca\nbc"
    assert apply(*cipher, first, "-", last, stdin=b"aa\n") == b"ab\ncab\nc\nab"


def test_a_missing_file_is_told_before_anything_is_written(tmp_path: Path) -> None:
    present = tmp_path / "present"
    present.write_text("Hello\n")
    missing = tmp_path / "missing"
    said = complaint(run("apply", present, missing), 1)
    assert f"{missing}: No such file or directory" in said
    assert f"{tmp_path}: Is a directory" in complaint(run("apply", present, tmp_path), 1)


# As it comes.


@pytest.mark.parametrize("cipher", ["rot13", "vigenere:N"])
def test_a_line_is_answered_before_the_input_ends(cipher: str) -> None:
    with applying("--cipher", cipher) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        output = Output(process.stdout)
        process.stdin.write(b"Hello\n")
        assert output.wait_for(6) == b"Uryyb\n"
        process.stdin.write(b"there\nand")
        assert output.wait_for(12)[:12] == b"Uryyb\ngurer\n"
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert output.wait_for(15) == b"Uryyb\ngurer\nnaq"
        output.close()


def test_it_is_quiet_when_the_reader_goes_away() -> None:
    """As ``yes | cipherecho apply | head -1`` makes it."""
    with ending(subprocess.Popen([tool("yes"), "Hello"], stdout=subprocess.PIPE)) as yes:
        assert yes.stdout is not None
        with applying(stdin=yes.stdout.fileno()) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(6) == b"Uryyb\n"
            process.stdout.close()
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == b""


def test_a_full_disk_is_told() -> None:
    ended = run_shell("echo Hello | cipherecho apply >/dev/full")
    assert complaint(ended, 1) == "cipherecho: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_takes_part_of_a_block_loses_nothing_in_silence(
    unbuffered: str, tmp_path: Path
) -> None:
    """As a disk does that fills up; PYTHONUNBUFFERED is what containers often set."""
    # Python would keep as much of its bytecode as fits, and fail at it the next time.
    variables = f"PYTHONUNBUFFERED={unbuffered} PYTHONDONTWRITEBYTECODE=1"
    ended = run_shell(
        f"seq 1 2000 | {variables} sh -c 'ulimit -f 1; cipherecho apply >some'", cwd=tmp_path
    )
    assert complaint(ended, 1) == "cipherecho: File too large\n"


@pytest.mark.parametrize(
    ("redirection", "name"), [("<&-", "standard input"), ("</dev/null >&-", "standard output")]
)
def test_a_stream_that_is_closed_is_told(redirection: str, name: str) -> None:
    ended = run_shell(f"cipherecho apply {redirection}")
    assert complaint(ended, 1) == f"cipherecho: {name}: Bad file descriptor\n"


def test_an_interrupt_ends_it_without_a_word() -> None:
    with applying() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"Hello\n")
        assert process.stdout.read(6) == b"Uryyb\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 128 + signal.SIGINT
        assert process.stderr.read().strip() == b""


# Lines that a cipher rejects, and ciphers that fail. These plugins are really installed, in
# a directory that Python looks in.

PICKY = """
from cipherecho.cipher import InputError

class Picky:
    def encrypt(self, body):
        if b"x" in body:
            raise InputError(f"got {body!r}, expected a line without x")
        return body.upper()
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Site:
    """Where plugins are installed."""
    path = tmp_path / "site"
    path.mkdir()
    return Site(path)


def test_a_rejected_line_is_told_with_its_number_and_the_others_are_done(plugins: Site) -> None:
    plugins.install("acme-ciphers", {"picky": "acme:Picky"}, acme=PICKY)
    text = b"one\r\nx\ntwo\nbox\x1b[31m\r\nthree"
    ended = run("apply", "--cipher", "picky", stdin=text, PYTHONPATH=str(plugins.path))
    assert ended.status == 1
    assert ended.stdout == b"ONE\r\nTWO\nTHREE"
    assert ended.stderr.splitlines() == [
        "cipherecho: line 2: got b'x', expected a line without x",
        "cipherecho: line 4: got b'box\\x1b[31m', expected a line without x",
    ]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise KeyError('alphabet')", "KeyError: 'alphabet'"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("return None", "the cipher returned None, expected bytes"),
    ],
)
def test_a_failing_plugin_is_told_with_its_traceback(plugins: Site, fault: str, told: str) -> None:
    """The lines before it are done, those after it are not."""
    source = (
        "class Wobble:\n"
        "    def encrypt(self, body):\n"
        "        if body == b'two':\n"
        f"            {fault}\n"
        "        return body.upper()\n"
    )
    plugins.install("acme-ciphers", {"wobble": "acme:Wobble"}, acme=source)
    ended = run(
        "apply", "--cipher", "wobble", stdin=b"one\ntwo\nthree\n", PYTHONPATH=str(plugins.path)
    )
    assert ended.status == 1
    assert ended.stdout == b"ONE\n"
    assert ended.stderr.startswith("cipherecho: the cipher failed; this is a bug of its plugin:\n")
    assert ended.stderr.count("Traceback") == 1
    assert told in ended.stderr.splitlines()[-1]


# Much of it.

# Starts what it is given and tells the most memory that it took, in KiB. Not measured by
# the tests' own process: what that has taken itself would be counted as its child's.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""

MIB = 1 << 20


@pytest.mark.parametrize(
    ("options", "block"),
    [
        ([], b"x" * MIB),
        ([], b"Hello, and what is your opinion of Julius Caesar today?\n".ljust(64) * (MIB // 64)),
        (["--cipher", "vigenere:N"], (b"!" * 4095 + b"\n") * (MIB // 4096)),
    ],
    ids=["without any LF", "by blocks", "by lines"],
)
def test_64_mb_take_no_more_memory_than_a_line(
    tmp_path: Path, options: Sequence[str], block: bytes
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(block[:4096])
    with large.open("wb") as file:
        for _ in range(64):
            file.write(block)
    memory_for_small, _ = measured(*options, small)
    memory_for_large, digest = measured(*options, large)
    expected = block.translate(ROT13)
    assert digest == digest_of(expected for _ in range(64))
    assert memory_for_large < memory_for_small + 8 * 1024


def measured(*arguments: str | Path) -> tuple[int, str]:
    """Return the most memory that it took, in KiB, and a digest of what came out."""
    command = [sys.executable, "-c", MEASURE, COMMAND, "apply", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    with ending(process):
        assert process.stdout is not None
        assert process.stderr is not None
        too_late = threading.Timer(PATIENCE, process.kill)
        too_late.start()
        try:
            stdout = process.stdout.fileno()
            digest = digest_of(iter(lambda: os.read(stdout, MIB), b""))
            assert process.wait() == 0
        finally:
            too_late.cancel()
            too_late.join()
        return int(process.stderr.read()), digest


def digest_of(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def test_what_a_plugin_prints_does_not_get_into_the_output(plugins: Site) -> None:
    source = """
print("hello from the import")

class Chatty:
    def encrypt(self, body):
        print("and from a line")
        return body[::-1]
"""
    plugins.install("acme-ciphers", {"chatty": "chatty:Chatty"}, chatty=source)
    ended = run("apply", "--cipher", "chatty", stdin=b"abc\n", PYTHONPATH=str(plugins.path))
    assert (ended.status, ended.stdout) == (0, b"cba\n")
    assert "hello from the import" in ended.stderr
    assert "and from a line" in ended.stderr


def test_a_rejection_that_cannot_be_shown_is_still_told(plugins: Site) -> None:
    source = """
from cipherecho.cipher import InputError

class Unspeakable(InputError):
    def __str__(self):
        raise ZeroDivisionError

class Shy:
    def encrypt(self, body):
        raise Unspeakable
"""
    plugins.install("acme-ciphers", {"shy": "shy:Shy"}, shy=source)
    ended = run("apply", "--cipher", "shy", stdin=b"abc\n", PYTHONPATH=str(plugins.path))
    assert (ended.status, ended.stdout) == (1, b"")
    assert ended.stderr == "cipherecho: line 1: an object that can't be shown\n"
