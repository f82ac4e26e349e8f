"""What a module from a stranger can do to a server: end its own connection, and nothing else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guest_text import guest
from hostile import WRONGS, hostile
from starting import Server, run, serving

from cipherecho.cipher import OptionError
from cipherecho_wasm.family import wasm

Write = Callable[[str | bytes], Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("hostile")
    module = directory / "hostile.wat"
    module.write_text(hostile())
    with serving(f"wasm:module={module}", directory / "log") as running:
        yield running


OUTCOMES = {
    "spin": "OutOfFuel",
    "grow": "Trapped",
    "trap": "Trapped",
    "lf": "CodingError",
    "1 GB": "Trapped",
    "all it has": "OutOfFuel",
    "nothing": "Trapped",
    "deep": "Trapped",
    "handles": "Trapped",
}


@pytest.mark.parametrize("wrong", OUTCOMES)
def test_what_a_guest_does_wrong_ends_its_own_connection_alone(server: Server, wrong: str) -> None:
    with server.connect() as other, other.makefile("rb") as replies:
        other.sendall(b"before\n")
        assert [replies.readline(), replies.readline()] == [b"before\n", b"before\n"]
        line = f"{WRONGS.index(wrong)}\n".encode()
        error = (
            f"!error: the cipher failed on this line ({OUTCOMES[wrong]}); closing the connection"
        )
        assert server.answer(line).decode() == f"{line.decode()}{error}\n"
        other.sendall(b"after\n")
        assert [replies.readline(), replies.readline()] == [b"after\n", b"after\n"]
    assert server.process.poll() is None


def test_a_failure_is_in_the_log_once_with_its_cause(server: Server) -> None:
    server.answer(f"{WRONGS.index('spin')}\n".encode())
    assert "the module took more than the 10000000 instructions that it may" in server.log
    assert "error while executing at wasm backtrace:" in server.log


def test_lines_before_a_failure_are_answered(server: Server) -> None:
    with server.connect() as client, client.makefile("rb") as replies:
        client.sendall(b"a\n")
        assert [replies.readline(), replies.readline()] == [b"a\n", b"a\n"]
        client.sendall(f"{WRONGS.index('trap')}\n".encode())
        assert replies.readlines()[1].startswith(b"!error: the cipher failed")


def test_a_reason_for_a_rejection_can_t_make_lines_of_its_own(server: Server) -> None:
    with server.connect() as client, client.makefile("rb") as replies:
        client.sendall(f"{WRONGS.index('error')}\n".encode())
        replies.readline()
        assert replies.readline() == (
            rb"!error: got 8, expected\nless\x00; this line is skipped, the connection goes on"
            b"\n"
        )
        client.sendall(b"next\n")
        assert [replies.readline(), replies.readline()] == [b"next\n", b"next\n"]


def test_guests_that_spin_delay_nobody_else(tmp_path: Path) -> None:
    module = tmp_path / "hostile.wat"
    module.write_text(hostile())
    log = tmp_path / "log"
    with serving(f"wasm:module={module},fuel=1000000000000,time=1", log) as server:
        line = f"{WRONGS.index('spin')}\n".encode()
        answers: list[bytes] = []
        spinners = [
            threading.Thread(target=lambda: answers.append(server.answer(line))) for _ in range(4)
        ]
        with server.connect() as other, other.makefile("rb") as replies:
            other.sendall(b"first\n")
            assert replies.readline() == replies.readline() == b"first\n"
            for spinner in spinners:
                spinner.start()
            answered = 0
            while any(spinner.is_alive() for spinner in spinners):
                other.sendall(b"next\n")
                assert replies.readline() == replies.readline() == b"next\n"
                answered += 1
        for spinner in spinners:
            spinner.join()
        assert all(b"(OutOfTime)" in answer for answer in answers)
        # If each waited until one of those is stopped, there would be four.
        assert answered > 10


def test_a_guest_of_one_connection_knows_nothing_of_another(module: Write, tmp_path: Path) -> None:
    # Returns the number of earlier calls, from this instance's memory.
    counting = """
        (local $to i32)
        (i32.store8 (i32.const 512) (i32.add (i32.const 1) (i32.load8_u (i32.const 512))))
        (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))
        (i32.store (i32.const 64) (i32.const 0))
        (i32.store (i32.const 68) (i32.const 512)) (i32.store (i32.const 72) (i32.const 1))
        (i32.const 16)"""
    path = module(guest(code=counting, data='(data (i32.const 512) "0")'))
    with serving(f"wasm:module={path}", tmp_path / "log") as server:
        for _ in range(2):
            with server.connect() as client, client.makefile("rb") as replies:
                for count in (b"1\n", b"2\n"):
                    client.sendall(b"line\n")
                    assert [replies.readline(), replies.readline()] == [b"line\n", count]


def refusal(path: Path, **options: object) -> str:
    """Return why the server refuses to start with a module."""
    with pytest.raises(OptionError) as caught:
        wasm(path, **options)()  # type: ignore[arg-type]
    return str(caught.value)


SOCKETS = '(component (import "wasi:sockets/tcp@0.2.0" (instance (export "f" (func)))))'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (SOCKETS, "this one imports wasi:sockets/tcp@0.2.0, but a cipher can't import anything"),
        (
            guest(name="cipherecho:plugin/cipher@2.0.0"),
            "it must export cipherecho:plugin/cipher@1.0.0, and this one has "
            "cipherecho:plugin/cipher@2.0.0; build it against",
        ),
        ("(component)", "and this one does not; build it against the output of python -m"),
        ("(module)", "this is a core module; turn it into a component"),
        (b"\0asm\x0d\0\x01\0and then nothing that makes sense", "a WebAssembly component: "),
        (b"\x7fELF\xff\xfe", "a WebAssembly component: "),
        ("", "a WebAssembly component: "),
        (guest(describe="(loop $l (br $l)) unreachable"), "more than the 1000000000 instructions"),
        (guest(start="(loop $l (br $l)) unreachable"), "this one fails with these options: "),
        (
            guest(pages=2048),
            "fails to describe itself: the module needs more than the 64 MiB",
        ),
    ],
)
def test_a_module_that_can_t_be_used_is_refused_before_anything_is_served(
    module: Write, content: str | bytes, reason: str
) -> None:
    assert reason in refusal(module(content))


def test_a_file_that_was_cut_is_refused(module: Write) -> None:
    from wasmtime import wat2wasm

    whole = bytes(wat2wasm(guest()))
    for size in (3, 8, len(whole) // 2, len(whole) - 1):
        assert "expected a WebAssembly component: " in refusal(module(whole[:size]))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "a file to read (No such file or directory)" in refusal(tmp_path / "none.wasm")
    assert "a file to read (Is a directory)" in refusal(tmp_path)


def test_the_digest_is_looked_at_before_the_module_is(module: Write) -> None:
    path = module("no module at all")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"which is {digest}" in refusal(path, sha256="0" * 64)
    for no_digest in ("", "abc", "0" * 63 + "g"):
        assert "64 hexadecimal digits" in refusal(path, sha256=no_digest)
    assert "WebAssembly component" in refusal(path, sha256=digest.upper())


def test_the_command_says_what_is_wrong_in_one_line(module: Write) -> None:
    done = run("--cipher", f"wasm:module={module(SOCKETS)}")
    assert done.returncode == 2
    assert b"wasi:sockets/tcp@0.2.0" in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_thread_is_left_when_a_module_is_loaded(module: Write) -> None:
    threads = set(Path("/proc/self/task").iterdir())
    wasm(module(guest()))()
    assert set(Path("/proc/self/task").iterdir()) <= threads
