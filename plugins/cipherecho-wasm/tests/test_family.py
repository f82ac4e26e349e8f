"""A module as users see it: its options, its help, its answers."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from guest_text import guest
from starting import run

from cipherecho.cipher import InputError
from cipherecho.ciphers.composition import inverse
from cipherecho.testing import outcomes
from cipherecho_wasm.family import wasm
from cipherecho_wasm.guest import GuestTransform
from cipherecho_wasm.interface import INTERFACE, wit

Write = Callable[[str | bytes], Path]

ROT13 = Path(__file__).parent.parent / "guests" / "rot13.wat"

# Describes a required option `shift`, which accepts only 5.
PICKY: dict[str, Any] = {
    "data": """
        (data (i32.const 512) "shift") (data (i32.const 520) "the number 5")
        (data (i32.const 536) "places to move")
        (data (i32.const 40) (i32 560 1))
        (data (i32.const 560) (i32 512 5) (i32 520 12) (i32 0 0 0) (i32 536 14))
    """,
    "start": """
        (if (i32.ne (i32.const 53) (i32.load8_u (i32.load offset=8 (local.get $options))))
          (then
            (i32.store (i32.const 16) (i32.const 1))
            (i32.store (i32.const 20) (i32.const 512)) (i32.store (i32.const 24) (i32.const 5))
            (i32.store (i32.const 28) (i32.const 520)) (i32.store (i32.const 80) (i32.const 0))
            (i32.store (i32.const 32) (i32.const 12))
            (return (i32.const 16))))
        (i32.store (i32.const 16) (i32.const 0))
        (i32.store (i32.const 20) (call $new (i32.const 7)))
        (i32.const 16)""",
}

# Rejects lines that begin with "!".
REJECTING = """
    (local $at i32)
    (i32.store (i32.const 20) (local.get $count))
    (i32.store (i32.const 16)
      (local.tee $at (call $allocate (i32.mul (local.get $count) (i32.const 12)))))
    (loop $next
      (if (local.get $count)
        (then
          (i32.store (local.get $at) (i32.const 0))
          (i64.store offset=4 align=4 (local.get $at) (i64.load align=4 (local.get $lines)))
          (if (i32.load offset=4 (local.get $lines))
            (then
              (if (i32.eq (i32.const 33) (i32.load8_u (i32.load (local.get $lines))))
                (then
                  (i32.store (local.get $at) (i32.const 1))
                  (i32.store offset=4 (local.get $at) (i32.const 512))
                  (i32.store offset=8 (local.get $at) (i32.const 17))))))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (local.set $lines (i32.add (local.get $lines) (i32.const 8)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (i32.const 16)"""


def transform(path: Path) -> GuestTransform:
    made = wasm(path)().encryptor()
    assert isinstance(made, GuestTransform)
    return made


def test_the_interface_can_be_had_to_build_a_guest_against() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "cipherecho_wasm"], capture_output=True, check=True, text=True
    ).stdout
    assert printed == wit()
    package, _, version = INTERFACE.partition("/cipher")
    assert f"package {package}{version};" in printed


def test_a_module_as_text_is_a_cipher_like_any_other() -> None:
    assert run("apply", "--cipher", f"wasm:{ROT13}", stdin=b"Hello\r\nWorld").stdout == (
        b"Uryyb\r\nJbeyq"
    )
    assert run("apply", "--cipher", f"wasm:{ROT13}", "--decrypt", stdin=b"Uryyb\n").stdout == (
        b"Hello\n"
    )


def test_any_bytes_cross_over_as_they_are(module: Write) -> None:
    code = transform(module(guest()))
    every = bytes(byte for byte in range(256) if byte not in b"\r\n")
    for body in (every, every * 1000, b"", b"\r", b"\r\r", b"a\rb\r", "日本語 🎉".encode()):
        assert code(body) == body
    text = b"\n\r\n" + every + b"\r\n" + b"x" * 100_000 + b"\n\n"
    assert code.block(text) == (text, {})


@pytest.mark.parametrize("byte", [b"x", b"\xf6"])  # text crosses over in two forms
def test_lines_are_found_wherever_they_end(module: Write, byte: bytes) -> None:
    code = transform(module(guest()))
    # All 16 places of an ending in a step of the adapter, and in its last step.
    for size in (*range(40), 65_535, 65_536, 1_000_000):
        text = byte * size + b"\n" + b"z" * 3 + b"\r\n" + byte * size + b"\r\n"
        assert code.block(text) == (text, {})


def test_a_rejected_line_has_a_reason_and_no_code(module: Write) -> None:
    data = '(data (i32.const 512) "gr\\c3\\b6\\c3\\9fer \\e2\\82\\ac \\f0\\9f\\8e\\89")'
    code = transform(module(guest(code=REJECTING, data=data)))
    coded, rejections = code.block(b"a\n!b\r\nc\n!\n")
    assert coded == b"a\n\r\nc\n\n"
    assert {line: str(reason) for line, reason in rejections.items()} == {
        1: "größer € 🎉",
        3: "größer € 🎉",
    }
    with pytest.raises(InputError, match="größer €"):
        code(b"!")
    assert code(b"d") == b"d"


def test_copies_are_independent_and_leave_nothing_behind(module: Write) -> None:
    code = transform(module(guest()))
    copies = [copy.deepcopy(code) for _ in range(100)]
    assert {one._number for one in copies}.isdisjoint({code._number})
    del copies[:]
    code(b"a")
    # Numbers are reused, so that nothing grows.
    assert max(copy.deepcopy(code)._number for _ in range(200)) < 110


def test_a_module_with_options_says_which_and_checks_them(module: Write) -> None:
    path = module(guest(**PICKY))
    page = json.loads(run("ciphers", f"wasm:module={path}", "--json").stdout)
    [shift] = [option for option in page["options"] if option["name"] == "shift"]
    assert (shift["takes"], shift["help"], shift["required"]) == (
        "the number 5",
        "places to move",
        True,
    )
    done = run("apply", "--cipher", f"wasm:module={path},shift=5", stdin=b"a\n")
    assert done.stdout == b"a\n", done.stderr
    for options, reason in (
        (",shift=6", b"option shift: got '6', expected the number 5"),
        ("", b"option shift is missing, expected the number 5 (places to move)"),
        (",shft=5", b"got unknown option shft; did you mean shift?"),
    ):
        done = run("--cipher", f"wasm:module={path}{options}")
        assert done.returncode == 2
        assert reason in done.stderr
        assert b"Traceback" not in done.stderr


def test_the_page_of_a_module_has_its_help_and_an_example() -> None:
    page = run("ciphers", f"wasm:module={ROT13}").stdout.decode()
    assert "Moves every letter 13 places" in page
    assert f"apply --cipher wasm:module={ROT13}" in page
    assert "Jul qvq gur puvpxra pebff gur ebnq?" in page
    assert "memory" in page


def test_a_module_conforms_to_the_contract() -> None:
    assert [one for one in outcomes(wasm(ROT13)) if one.problem] == []
    assert run("check", f"wasm:module={ROT13}").returncode == 0


def test_a_module_that_only_encrypts_is_not_asked_to_decrypt(module: Write) -> None:
    path = module(guest(data="(data (i32.const 56) (i32 2))"))
    with pytest.raises(ValueError, match="can only encrypt"):
        inverse(wasm(path)())
    assert b"can only encrypt" in run("--cipher", f"wasm:{path}", "--decrypt").stderr
