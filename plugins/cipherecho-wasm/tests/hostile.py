"""A guest whose first line's first character says what it does wrong."""

from guest_text import EACH_AS_IT_IS, guest

# The result for one line: no error, its place, and its length.
_ONE_RESULT = """
    (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (i32.const {where})) (i32.store (i32.const 72) (i32.const {size}))
    (return (i32.const 16))
"""
_GB = 1 << 30

_WRONGS = {
    "spin": "(loop $for-ever (br $for-ever))",
    "grow": """
        (loop $more
          (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        unreachable""",
    "trap": "unreachable",
    "lf": _ONE_RESULT.format(where=512, size=3),
    "1 GB": _ONE_RESULT.format(where=0, size=_GB),
    "all it has": """
        (drop (memory.grow (i32.const 600)))
        (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))
        (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 0))
        (i32.store (i32.const 72) (i32.shl (memory.size) (i32.const 16)))
        (return (i32.const 16))""",
    "nothing": "(i32.store (i32.const 20) (i32.const 0)) (return (i32.const 16))",
    "deep": "(call $deep)",
    "handles": "(loop $more (drop (call $new (i32.const 0))) (br $more))",
    "error": """
        (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const 1))
        (i32.store (i32.const 64) (i32.const 1))
        (i32.store (i32.const 68) (i32.const 528)) (i32.store (i32.const 72) (i32.const 21))
        (return (i32.const 16))""",
}

WRONGS = tuple(_WRONGS)


def hostile() -> str:
    """Return a guest that returns lines as they are, unless they begin with a digit.

    The digit is the number of what it does wrong, in the order of :data:`WRONGS`.
    """
    cases = "".join(
        f"(if (i32.eq (local.get $wrong) (i32.const {48 + number})) (then {wrong}))"
        for number, wrong in enumerate(_WRONGS.values())
    )
    first = """
        (local $to i32) (local $wrong i32)
        (if (i32.load offset=4 (local.get $lines))
          (then (local.set $wrong (i32.load8_u (i32.load (local.get $lines))))))
    """
    return guest(
        data=r'(data (i32.const 512) "a\0ab") (data (i32.const 528) "got 8, expected\nless\00")',
        code=first + cases + EACH_AS_IT_IS,
    )
