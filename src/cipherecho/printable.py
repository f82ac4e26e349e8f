"""Text from strangers, made fit for an error line, a log record or a terminal."""

__all__ = ["printable"]

# Long enough for a sentence with a path in it, short enough that a client can't
# fill a log or a screen.
_LONGEST = 300


def printable(text: str, longest: int = _LONGEST) -> str:
    r"""Return `text` as one line of printable characters, at most `longest` of them.

    Line ends, terminal escapes, invisible and undecodable characters become
    backslash escapes; a text that is cut ends in an ellipsis.

    >>> printable("red \x1b[31m\nforged record")
    'red \\x1b[31m\\nforged record'
    >>> printable("abcdef", 4)
    'abc…'
    """
    # Cut first: what is to be thrown away needs no escaping.
    escaped = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: longest + 1]
    )
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"
