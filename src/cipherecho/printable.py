"""Text from strangers, made fit for an error line, a log record or a terminal."""

from collections.abc import Callable

__all__ = ["printable", "safe_text"]

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
    if len(text) <= longest and text.isprintable():
        return text
    # Cut first: what is to be thrown away needs no escaping.
    escaped = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: longest + 1]
    )
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"


def safe_text(thing: object, how: Callable[[object], str] = str) -> str:
    """Return what `thing` says of itself, or that it fails at it.

    What a plugin raises is an object of the plugin's, and may fail once more when it is
    asked what it has to say.
    """
    try:
        return how(thing)
    except BaseException:  # an exit, and a panic in Rust, are no Exception
        return "an object that can't be shown"
