"""Guests of a few lines, in core WAT, that do what a test wants."""

from __future__ import annotations

import re

_NAME = "cipherecho:plugin/cipher@1.0.0"

EACH_AS_IT_IS = """
        (i32.store (i32.const 20) (local.get $count))
        (local.set $to (call $allocate (i32.mul (local.get $count) (i32.const 12))))
        (i32.store (i32.const 16) (local.get $to))
        (loop $next
          (if (local.get $count)
            (then
              (i32.store (local.get $to) (i32.const 0))
              (i64.store offset=4 align=4 (local.get $to) (i64.load align=4 (local.get $lines)))
              (local.set $to (i32.add (local.get $to) (i32.const 12)))
              (local.set $lines (i32.add (local.get $lines) (i32.const 8)))
              (local.set $count (i32.sub (local.get $count) (i32.const 1)))
              (br $next))))
        (i32.const 16)"""
"""Returns each line as it is, by way of ``$to``."""

# What each function does unless a test has another body for it.
_BODIES = {
    "describe": "(i32.const 32)",
    "start": """
        (i32.store (i32.const 16) (i32.const 0))
        (i32.store (i32.const 20) (call $new (i32.const 7)))
        (i32.const 16)""",
    "code": "(local $to i32)" + EACH_AS_IT_IS,
    "copy": "(call $new (local.get $transform))",
}

_GUEST = """
(component
  (component $guest
    (type $a-transform (resource (rep i32)))
    (core func $new (canon resource.new $a-transform))
    (core module $code
      (import "transform" "new" (func $new (param i32) (result i32)))
      (memory (export "memory") {pages})
      (global $top (mut i32) (i32.const 4096))
      (data (i32.const 32) (i32 256 21))  ;; help
      (data (i32.const 256) "Passes every line on.")
      {data}
      (func $allocate (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
        (global.set $top (i32.add (local.get $at) (local.get $size)))
        (loop $grow
          (if (i32.gt_u (global.get $top) (i32.shl (memory.size) (i32.const 16)))
            (then
              (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
              (br $grow))))
        (local.get $at))
      (func $deep (call $deep))
      (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
        (call $allocate (local.get $size)))
      (func (export "free") (param i32) (global.set $top (i32.const 4096)))
      (func (export "describe") (result i32) {describe})
      (func (export "start") (param $options i32) (param $count i32) (param $decrypt i32)
                             (result i32) {start})
      (func (export "code") (param $transform i32) (param $lines i32) (param $count i32)
                            (result i32) {code})
      (func (export "copy") (param $transform i32) (result i32) {copy}))
    (core instance $code
      (instantiate $code (with "transform" (instance (export "new" (func $new))))))
    (alias core export $code "memory" (core memory $memory))
    (alias core export $code "realloc" (core func $realloc))
    (alias core export $code "free" (core func $free))

    (export $transform "transform" (type $a-transform))
    (type $a-cipher-option (record
      (field "name" string) (field "takes" string)
      (field "default" (option string)) (field "help" string)))
    (export $cipher-option "cipher-option" (type $a-cipher-option))
    (type $a-vector (record
      (field "plaintext" string) (field "ciphertext" string)
      (field "source" string) (field "options" string)))
    (export $vector "vector" (type $a-vector))
    (type $a-inverse (enum "exact" "lossy" "none"))
    (export $inverse "inverse" (type $a-inverse))
    (type $a-description (record
      (field "help" string) (field "options" (list $cipher-option))
      (field "vectors" (list $vector)) (field "inverse" $inverse)))
    (export $description "description" (type $a-description))
    (type $a-direction (enum "encrypt" "decrypt"))
    (export $direction "direction" (type $a-direction))
    (type $a-bad-option (record (field "name" string) (field "expected" string)))
    (export $bad-option "bad-option" (type $a-bad-option))
    (func (export "describe") (result $description)
      (canon lift (core func $code "describe") (memory $memory)))
    (func (export "[static]transform.start")
      (param "options" (list (tuple string string))) (param "direction" $direction)
      (result (result (own $transform) (error $bad-option)))
      (canon lift (core func $code "start") (memory $memory) (realloc $realloc)
        (post-return $free)))
    (func (export "[method]transform.code")
      (param "self" (borrow $transform)) (param "lines" (list (list u8)))
      (result (list (result (list u8) (error string))))
      (canon lift (core func $code "code") (memory $memory) (realloc $realloc)
        (post-return $free)))
    (func (export "[method]transform.copy")
      (param "self" (borrow $transform)) (result (own $transform))
      (canon lift (core func $code "copy"))))
  (instance $cipher (instantiate $guest))
  (export "{name}" (instance $cipher)))
"""


def guest(*, data: str = "", pages: int = 1, name: str = _NAME, **bodies: str) -> str:
    """Return a guest in text that returns every line as it is, unless `bodies` has other functions.

    Args:
      data: segments of its memory; 512 to 4095 is free.
      pages: of 64 KiB, that it begins with.
      name: what it exports.
      bodies: in core WAT, of ``describe``, ``start``, ``code`` or ``copy``.
    """
    parts = _BODIES | bodies | {"data": data, "pages": str(pages), "name": name}
    return re.sub(r"\{([a-z]+)\}", lambda found: parts[found[1]], _GUEST)


def costly(variables: int = 1000, loops: int = 400) -> str:
    """Return a guest that is small, and takes gigabytes and minutes to compile.

    So many nested loops change so many variables: each may have two values in each loop.
    """
    changes = "".join(
        f"(local.set {one} (i64.add (local.get {one}) (local.get 0)))"
        for one in range(1, variables + 1)
    )
    ends = "(br_if 0 (i32.wrap_i64 (local.get 1))))" * loops
    local = f"(local {'i64 ' * variables})"
    return guest(data=f"(func (param i64) {local} {'(loop ' * loops} {changes} {ends})")
