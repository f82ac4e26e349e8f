"""Machine code: compiled within bounds, and used again only if nobody else could write it."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guest_text import costly, guest
from starting import do_without, run, serving

from cipherecho.cipher import OptionError
from cipherecho.host.sandbox import landlock
from cipherecho.host.sandbox.companion import Companion, companion, companions
from cipherecho_wasm import cache, compiled
from cipherecho_wasm.compiled import COMPILER
from cipherecho_wasm.family import wasm
from cipherecho_wasm.machine import Target
from cipherecho_wasm.messages import Outcome, Request, receive, send

Write = Callable[[str | bytes], Path]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a cache of its own, and a compiler that has it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with companions([COMPILER]):
        yield tmp_path / "cache" / "cipherecho" / "cipherecho-wasm"


def test_a_module_is_compiled_once(
    module: Write, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = module(guest())
    assert wasm(path)().encryptor()(b"a") == b"a"
    monkeypatch.delattr(compiled, "companion")  # from now on, nothing can be compiled
    assert wasm(path)().encryptor()(b"a") == b"a"
    [file] = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700


def test_whatever_code_depends_on_is_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {cache.key_of(*one) for one in ((b"a", "native"), (b"b", "native"), (b"a", "pulley"))}
    monkeypatch.setattr(cache, "version", lambda package: "51.0.0")
    names.add(cache.key_of(b"a", "native"))
    monkeypatch.setattr(cache, "_adapter_digest", lambda: "another")
    names.add(cache.key_of(b"a", "native"))
    assert len(names) == 5


@pytest.mark.parametrize(
    "damage", ["flipped", "cut", "emptied", "of others", "a link", "of another processor"]
)
def test_code_that_can_t_be_trusted_is_made_again(module: Write, kept: Path, damage: str) -> None:
    path = module(guest())
    wasm(path)
    [file] = kept.iterdir()
    whole = file.read_bytes()
    content = bytearray(whole)
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "of others":
        file.chmod(0o666)
    elif damage == "of another processor":
        cache.keep(kept, file.stem, b"what Wasmtime does not take")
    else:
        elsewhere = path.parent / "elsewhere"
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    assert wasm(path)().encryptor()(b"a") == b"a"
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.is_symlink()


def test_a_directory_that_others_can_write_is_not_used(
    module: Write, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept.mkdir(0o700, parents=True, exist_ok=True)
    kept.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        wasm(module(guest()))
    assert list(kept.iterdir()) == []
    assert "is writable by others, expected a directory of this user's alone" in caplog.text


def test_a_directory_that_can_t_be_made_costs_no_more_than_the_time(
    module: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("a file stands there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with companions([COMPILER]):
        assert wasm(module(guest()))().encryptor()(b"a") == b"a"
    assert "compiled code can't be kept" in caplog.text


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


# Compiling a stranger's module.


@pytest.mark.parametrize("command", ["ciphers", "apply --cipher"])
def test_a_module_that_takes_too_much_memory_is_refused_by_each_command(
    module: Write, command: str
) -> None:
    path = module(costly())
    done = run(*command.split(), f"wasm:module={path},compile-memory=96", stdin=b"a\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a module that compiles within 96 MiB of memory; compile-memory=192" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_module_that_takes_too_much_time_is_refused(module: Write, kept: Path) -> None:
    path = module(costly())
    with pytest.raises(OptionError, match=r"within 1 s of processor time; compile-time=2 would"):
        wasm(path, compile_time=1, compile_memory=4096)
    assert list(kept.iterdir()) == []
    # The compiler still works.
    assert wasm(module(guest()))().encryptor()(b"a") == b"a"


def test_a_compiler_that_is_gone_is_told(module: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Companion(io.BytesIO(), io.BytesIO())
    monkeypatch.setattr(compiled, "companion", lambda *_: _Context(gone))
    with pytest.raises(OptionError, match="the compiler failed: it ended"):
        wasm(module(guest(pages=3)))


class _Context:
    def __init__(self, value: Companion) -> None:
        self._value = value

    def __enter__(self) -> Companion:
        return self._value

    def __exit__(self, *_: object) -> None:
        pass


def test_what_is_compiled_for_nobody_is_given_up(tmp_path: Path) -> None:
    """So an interrupted command leaves nothing running."""
    program = f"""
import sys, time
from cipherecho.companion import companion
from cipherecho_wasm.messages import *
from cipherecho_wasm.machine import Target
with companion(*{COMPILER!r}) as compiler:
    module = open({str(tmp_path / "costly")!r}, "rb").read()
    send(compiler.requests, *Request(True, Target.NATIVE, 3600, 2**40, module).parts())
    print("asked", flush=True)
    time.sleep(3600)
"""
    (tmp_path / "costly").write_text(costly())
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program], stdout=subprocess.PIPE
    ) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        [compiler] = children(asking.pid)
        wait_until(lambda: bool(children(compiler)))
        [compiling] = children(compiler)
        asking.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{compiling}").exists())
    wait_until(lambda: not Path(f"/proc/{compiler}").exists())


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for a change that this process gets no news of."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(process: int) -> list[int]:
    """Return the process IDs of a process's children."""
    file = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in file.read_text().split()]


def test_nobody_can_have_code_kept_under_another_name(kept: Path) -> None:
    """A plugin in the server might, to replace a module that `sha256` names."""
    module = guest().encode()
    request = Request(True, Target.NATIVE, 10, 2**30, module)
    with companion(*COMPILER) as compiler:
        send(compiler.requests, *request.parts())
        outcome, code, problem = receive(compiler.answers)
    assert (outcome, problem) == (Outcome.CODE, b"")
    [file] = kept.iterdir()
    assert file.stem == cache.key_of(module, Target.NATIVE)
    assert code in file.read_bytes()


def test_a_module_is_compiled_and_served_in_the_sandbox(
    module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache belongs to the compiler; the server can't even read it then."""
    if landlock.version() < 6:
        do_without("Landlock of version 6 (Linux 6.12)")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = module(guest())
    for _ in range(2):
        with serving(f"wasm:module={path}", tmp_path / "log", "--sandbox=require") as server:
            assert server.answer(b"a\n") == b"a\na\n"
        assert "not kept" not in server.log
        [file] = (tmp_path / "cache" / "cipherecho" / "cipherecho-wasm").iterdir()
        assert file.suffix == ".compiled"


# Where memory that was writable can't be executed, as under MemoryDenyWriteExecute=.


DENIED = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, *map(ctypes.c_ulong, (1, 0, 0, 0))):  # PR_SET_MDWE
    sys.exit("no such thing")
os.execv(sys.executable, [sys.executable, "-m", "cipherecho", *sys.argv[1:]])
"""


def test_a_module_is_interpreted_where_new_code_can_t_be_executed(
    module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = module(guest())
    words = ["apply", "--cipher", f"wasm:module={path}"]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", DENIED, *words], input=b"a\n", capture_output=True, check=False
    )
    if done.stderr == b"no such thing\n":
        do_without("PR_SET_MDWE (Linux 6.3)")
    assert (done.returncode, done.stdout) == (0, b"a\n")
    assert done.stderr.startswith(
        b"modules are interpreted, which takes about 30 times as long, since "
    )
    # Elsewhere it is machine code again, and the cache keeps both.
    done = run(*words, stdin=b"b\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"b\n", b"")
    assert len(list((tmp_path / "cache" / "cipherecho" / "cipherecho-wasm").iterdir())) == 2
