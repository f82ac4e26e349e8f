"""One client's conversation, without a socket, a clock or an event loop.

A session takes the bytes that came in and gives the bytes to send back.  Whatever
drives it (a task on a socket, a pipe, a test) does just this::

    session = Session(cipher)
    while not session.closed:
        data = receive()
        reply = session.receive(data) if data else session.end()
        send(reply)
        while session.has_more:
            send(session.resume())

The contract with clients is kept here: what a line is, what it is answered with, what
happens to one that is too long or that the cipher rejects.  Above this layer stands the
server, below it the ciphers, which it knows by the contract alone.

It knows no clock either.  Whoever has one, and must not hold up others, says how much may be
answered at a go: a **weight**, which is a line's bytes and :data:`LINE_WEIGHT` for itself.  It
is asked after every few lines whether the time is over.
What is left waits for :meth:`Session.resume`, or for a thread in :meth:`Session.answer_next`.

How many lines a cipher is given at a time makes no difference to the client but for this: of
lines that a :class:`~cipherecho.cipher.BlockTransform` fails at, nobody knows which one it was.
The lines before them are answered; of them the first alone is, with an error line that says
how many they are.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import inf
from sys import getsizeof

from cipherecho.cipher import Cipher, InputError
from cipherecho.ciphers.coder import Coder
from cipherecho.ciphers.lines import (
    LINE_WEIGHT,
    end_of_allowed,
    end_within,
    ending_of,
    interleaved,
    is_overlong,
    lines_of,
)
from cipherecho.ciphers.shapes import as_cipher
from cipherecho.printable import printable, safe_text

__all__ = [
    "LINE_WEIGHT",
    "MAX_LINE",
    "Closed",
    "ReplyMode",
    "Session",
    "StateScope",
    "error_line",
    "longest_coded",
]

# Generous for text, and small enough for a thousand clients that all send lines
# without an end. (asyncio.StreamReader: 64 KiB; HAProxy: 16 KiB; Postfix: 2 KiB.)
MAX_LINE = 65_536

# One call answers this much at the most, beside what is coded together with the line that
# passes it, so that a block of many short lines neither costs unbounded memory with a cipher
# that makes them long, nor holds up everyone else. A receive of 64 KiB with lines of 32
# bytes is still answered at one go, and so is every block of a table, which is done at once.
_MOST_LINES = 2048
_MOST_BYTES = 1 << 20

# What a line takes beside its bytes while it waits: an object of Python, and its place in a list.
_LINE_BYTES = 41
# After the first line, and then after so many, it is asked whether the time is over. Where a clock
# is asked, that takes up to a microsecond.
_LINES_AT_ONCE = 8

# Otherwise the lines that are not answered yet would be lost.
_MORE_TO_SEND = (
    "got input while has_more is True, expected none before everything is sent for what came "
    "before; call resume() until has_more is False"
)

# A reason is cut before what happens next is added to it, or that would be cut off.
_LONGEST_REASON = 240


class ReplyMode(StrEnum):
    """What a line is answered with."""

    BOTH = "both"
    """The line, then its code."""

    CIPHER = "cipher"
    """Its code alone."""

    FILTER = "filter"
    """Its code alone, as in a pipeline: there are no error lines, a rejected line leaves
    nothing, and a last line without an ending stays without one."""


class StateScope(StrEnum):
    """Where a cipher's state starts afresh."""

    CONNECTION = "connection"
    LINE = "line"


class Closed(StrEnum):
    """Why a session answers no more."""

    END_OF_INPUT = "end of input"
    LINE_TOO_LONG = "line too long"
    CIPHER_FAILED = "cipher failed"
    CODING_TIMEOUT = "coding timeout"
    NO_WORKER = "no worker left"
    SOURCE_STUCK = "source stuck"
    BY_SERVER = "closed by the server"


class Session:
    r"""Answers the lines of one client with one cipher.

    Args:
      cipher: a cipher of any shape that the contract has, shared with other sessions.
      reply: what a line is answered with.
      reset: where the cipher's state starts afresh.
      max_line: the longest body in bytes, its ending not counted; exactly this many are
        allowed.  None for no limit, and then memory is bounded by the longest line.
      on_rejected: called with the number of a line (from 1) and the cipher's reason.

    Raises:
      NotACipherError: `cipher` has none of the contract's shapes.

    >>> from cipherecho.rot13 import Rot13
    >>> session = Session(Rot13())
    >>> session.receive(b"Hello\r\nWor")
    b'Hello\r\nUryyb\r\n'
    >>> session.end()
    b'Wor\nJbe\n'
    """

    __slots__ = (
        "_coder",
        "_echo_table",
        "_echoes",
        "_ended",
        "_in_hand",
        "_is_filter",
        "_longest",
        "_on_rejected",
        "_overlong",
        "_pending",
        "_pending_bytes",
        "_rest",
        "_together",
        "_whole",
        "closed",
        "failure",
        "has_more",
        "lines",
        "rejected",
        "weight",
    )

    has_more: bool
    """Whether :meth:`resume` has more to send for what was received."""
    closed: Closed | None
    """Why nothing more is answered; None while lines are."""
    failure: BaseException | None
    """What a faulty cipher raised, for the log, with its traceback."""
    lines: int
    """How many lines were answered, the rejected ones included. A filter that needs no lines
    counts none."""
    rejected: int
    """How many lines the cipher rejected."""
    weight: int
    """The weight of all lines that were answered, except those of a table."""

    def __init__(
        self,
        cipher: Cipher,
        *,
        reply: ReplyMode = ReplyMode.BOTH,
        reset: StateScope = StateScope.CONNECTION,
        max_line: int | None = MAX_LINE,
        on_rejected: Callable[[int, InputError], None] | None = None,
    ) -> None:
        self._longest: float = inf if max_line is None else max_line
        self._coder = Coder(
            as_cipher(cipher),
            longest_coded(max_line),
            each_line_afresh=reset is StateScope.LINE,
        )
        self._is_filter = reply is ReplyMode.FILTER
        self._echoes = reply is ReplyMode.BOTH
        self._echo_table = self._coder.table if self._echoes else None
        self._on_rejected = on_rejected
        self._begin()

    def fresh(self) -> Session:
        """Return a session for another client, with the same arguments.

        Much cheaper than a new one: what the cipher is was found out once.
        """
        other = object.__new__(Session)
        other._longest = self._longest
        other._coder = self._coder.fresh()
        other._is_filter = self._is_filter
        other._echoes = self._echoes
        other._echo_table = self._echo_table
        other._on_rejected = self._on_rejected
        other._begin()
        return other

    def _begin(self) -> None:
        # Objects for these two are made when they are needed: thousands of clients are idle.
        self._rest: bytes | bytearray = b""  # of a line that has begun
        self._pending: list[bytes] | None = None  # lines without LF; the next one last
        self._pending_bytes = 0  # of all of them when the first was not answered yet
        self._whole = b""  # and, after those, whole lines with it
        self._in_hand = (b"", 0)  # what answer_next began with, and the lines before it
        self._together = 1  # how many lines are coded in one
        self._overlong = False  # the line after those is too long
        self._ended = False  # the last of those had no ending, and nothing comes after it
        self.has_more = False
        self.closed = None
        self.failure = None
        self.lines = 0
        self.rejected = 0
        self.weight = 0

    @property
    def has_begun_line(self) -> bool:
        """Whether part of a line was received, and its end was not."""
        return bool(self._rest)

    @property
    def held(self) -> int:
        """How much memory is taken by what was received and is not answered, in bytes.

        That of a line that has begun, and of those that :meth:`resume` has more to send for.
        This may be asked while a thread is in :meth:`answer_next`.
        """
        held = getsizeof(self._rest) if self._rest else 0
        if pending := self._pending:
            held += self._pending_bytes + _LINE_BYTES * len(pending)
        return held + len(self._whole)

    @property
    def due(self) -> int:
        """The weight of the next line that waits to be answered; 0 if none does."""
        if self._pending:
            return LINE_WEIGHT + len(self._pending[-1])
        return LINE_WEIGHT + self._whole.find(b"\n") if self._whole else 0

    def receive(
        self, data: bytes, most: float = inf, is_over: Callable[[], bool] | None = None
    ) -> bytes:
        """Return what to send for `data`, however it was cut on its way.

        What comes after the session is closed is discarded.

        Args:
          data: what came.
          most: the most weight to be answered now.  The cipher is not called for more, nor at
            all if the next line alone weighs more.  A table always answers everything.
          is_over: asked after the first line and every few more; when it says so, no other one is
            answered.

        Raises:
          RuntimeError: :attr:`has_more` is True: call :meth:`resume` first.
        """
        if self.closed:
            return b""
        if not self._rest:
            # One whole line and a table, as nearly always: nothing can go wrong.
            size = len(data)
            if self._echo_table is not None and 0 <= data.find(b"\n") == size - 1 < self._longest:
                self.lines += 1
                return data + data.translate(self._echo_table)
            if self._is_filter and self._longest == inf and self._coder.table is not None:
                # No line can be too long or rejected, so no line's end has to be waited for.
                return bytes(self._coder.translated(data))
        if self.has_more:
            raise RuntimeError(_MORE_TO_SEND)
        text = self._cut(data)
        weight = len(text) + LINE_WEIGHT - 1
        is_one = 0 <= text.find(b"\n") == len(text) - 1
        if is_one and not self._overlong and (weight <= most or self._coder.table is not None):
            self.weight += weight
            return self._answer_line(text[:-1])
        return self._answer(text, most, is_over)

    def end(self, most: float = inf, is_over: Callable[[], bool] | None = None) -> bytes:
        """Return what to send when the client will send no more.

        A rest without an ending is answered as though it had ended in LF.  `most` and
        `is_over` are as in :meth:`receive`, and so is what is raised.
        """
        if self.closed:
            return b""
        if self.has_more:
            raise RuntimeError(_MORE_TO_SEND)
        self._ended = True
        text = bytes(self._rest) + b"\n" if self._rest else b""
        self._rest = b""
        return self._answer(text, most, is_over)

    def resume(self, most: float = inf, is_over: Callable[[], bool] | None = None) -> bytes:
        """Return more of what to send, as long as :attr:`has_more`.

        `most` and `is_over` are as in :meth:`receive`; if `most` is less than :attr:`due`,
        nothing is answered.
        """
        return self._answer_waiting(most, _MOST_LINES, is_over)

    def answer_next(self, most: float) -> bytes:
        """Answer the next line whatever it weighs, and return what to send for it.

        What a cipher codes in one is answered in one, up to the weight `most`.

        This may be called in a thread.  Until it has returned, nothing else of the session may
        be, but for :meth:`given_up`.
        """
        self._together = 1
        if self._pending:
            first = self._pending[-1] + b"\n"
        else:
            first = self._whole[: self._whole.find(b"\n") + 1]
        self._in_hand = first, self.lines
        return self._answer_waiting(max(most, self.due), 1)

    def given_up(self, message: str) -> tuple[Session, bytes]:
        """Return a closed session instead of this one, and what to send last.

        For when :meth:`answer_next` does not return: whatever comes of it is lost with this
        session.  The line that it was called for gets its echo and an error line.  The message
        says what is wrong with the line; what happens next is added to it.
        """
        line, lines = self._in_hand
        other = self.fresh()
        other.lines, other.rejected = lines + 1, self.rejected
        together = self._together
        which = "this line" if together == 1 else f"one of these {together} lines"
        return other, other._close_at(line, Closed.CODING_TIMEOUT, f"{which} {message}")

    # What comes, cut into lines.

    def _cut(self, data: bytes) -> bytes:
        """Return the lines that have ended with `data`, and keep what has begun.

        What comes from a line on that is too long is discarded.
        """
        complete = data.rfind(b"\n") + 1
        if not complete:
            self._begin_line(data)
            return b""
        text = data if complete == len(data) else data[:complete]
        if self._rest:
            text = b"".join((self._rest, text))
            self._rest = b""
        if complete < len(data):
            self._begin_line(data[complete:])
        if len(text) > self._longest:
            end = end_of_allowed(text, self._longest)
            if end < len(text):
                text = text[:end]
                self._rest = b""
                self._overlong = True
        return text

    def _begin_line(self, data: bytes) -> None:
        if not self._rest:
            self._rest = bytearray()
        self._rest += data
        if is_overlong(self._rest, self._longest):
            self._rest = b""
            self._overlong = True

    # Whole lines, answered many at once or one by one.

    def _answer(self, text: bytes, most: float, is_over: Callable[[], bool] | None) -> bytes:
        """Answer whole lines, as many as may be answered now; the others wait."""
        if text and self._coder.table is not None:
            coded = self._coder.translated(text)
            reply = self._reply_to(text, lines_of(text), coded)
            return self._concluded(reply) if self._overlong or self._ended else reply
        self._whole = text
        return self._answer_waiting(most, _MOST_LINES, is_over)

    def _answer_waiting(
        self, most: float, most_lines: int, is_over: Callable[[], bool] | None = None
    ) -> bytes:
        """Answer lines that wait: up to a weight, and so many, or as many as are coded in one."""
        replies: list[bytes] = []
        size = 0
        last = self.lines + most_lines
        heaviest = self.weight + most
        while self.lines < last and size < _MOST_BYTES and 0 < self.due <= heaviest - self.weight:
            if self._pending:
                lines = last - self.lines
                size += self._answer_lines(replies, heaviest, lines, _MOST_BYTES - size, is_over)
            else:
                replies.append(self._answer_whole(heaviest - self.weight))
                size += len(replies[-1])
            if is_over is not None and is_over():
                break
        self.has_more = bool(self._pending or self._whole)
        return self._concluded(b"".join(replies))

    def _concluded(self, reply: bytes) -> bytes:
        """Return a reply, and what is said after it if it is the last."""
        if self.has_more or self.closed:
            return reply
        self._pending = None
        if self._overlong:
            message = f"got a line of more than {self._longest} bytes, expected at most that"
            return reply + self._close(Closed.LINE_TOO_LONG, message)
        if self._ended:
            self.closed = Closed.END_OF_INPUT
            if self._is_filter:
                return reply.removesuffix(b"\n")
        return reply

    def _answer_whole(self, most: float) -> bytes:
        """Answer the first of the whole lines at once, if the cipher can do that.

        If not, nothing is answered, and they are pending one by one.
        """
        text = self._whole
        bounds = None if _is_one_line(text) else self._coder.batch_bounds()
        end = len(text) if bounds is None else end_within(text, most, *bounds)
        text, self._whole = text[:end], text[end:]
        if bounds is not None and not _is_one_line(text):
            reply = self._answer_batch(text)
            if reply is not None:
                return reply
        self._pending_bytes = len(text)
        self._pending = text.split(b"\n")
        self._pending.pop()  # nothing, after the last LF
        self._pending.reverse()
        return b""

    def _answer_batch(self, text: bytes) -> bytes | None:
        """Answer whole lines at once; None if the cipher has to be given one by one."""
        lines = lines_of(text)
        self._together = len(lines)
        try:
            batch = self._coder.code_batch(text, lines)
        except BaseException as failure:
            self.lines += 1
            return self._fail(lines[0], len(lines), failure)
        if batch is None:
            self._together = 1
            return None
        coded, coded_lines = batch.coded, batch.lines
        if batch.rejected:
            coded_lines = coded_lines or lines_of(coded)
            for number, reason in batch.rejected.items():
                line, ending = self.lines + 1 + number, ending_of(lines[number])
                coded_lines[number] = self._rejection_of(line, reason, ending)
            coded = b"".join(coded_lines)
        return self._reply_to(text, lines, coded, coded_lines)

    def _reply_to(
        self,
        text: bytes,
        lines: list[bytes],
        coded: bytes | bytearray,
        coded_lines: list[bytes] | None = None,
    ) -> bytes:
        """Count lines that were coded at once, and return the reply to them."""
        self.lines += len(lines)
        self.weight += len(text) + (LINE_WEIGHT - 1) * len(lines)
        if not self._echoes:
            return bytes(coded)
        return interleaved(lines, coded_lines or lines_of(coded))

    def _answer_lines(
        self,
        replies: list[bytes],
        heaviest: float,
        most_lines: int,
        most_bytes: int,
        is_over: Callable[[], bool] | None,
    ) -> int:
        """Answer lines one by one, as many as each of these bounds allows.

        Adds to `replies`, and returns how many bytes those are.
        """
        pending, answer = self._pending, self._answer_line
        assert pending is not None
        left, weight, size = heaviest - self.weight, 0, 0
        for number in range(min(most_lines, len(pending))):
            line = pending[-1]
            heavier = weight + len(line) + LINE_WEIGHT
            if heavier > left or (is_over and number % _LINES_AT_ONCE == 1 and is_over()):
                break
            weight = heavier
            pending.pop()
            reply = answer(line)
            replies.append(reply)
            size += len(reply)
            if size >= most_bytes or self.closed:
                break
        self.weight += weight
        return size

    def _answer_line(self, line: bytes) -> bytes:
        """Answer one line, which is given without its LF."""
        self.lines += 1
        body, ending = (line[:-1], b"\r\n") if line.endswith(b"\r") else (line, b"\n")
        try:
            coded = self._coder.code(body, ending) + ending
        except InputError as rejection:
            coded = self._rejection_of(self.lines, rejection, ending)
        except BaseException as failure:  # an exit, and a panic in Rust, are no Exception
            return self._fail(line + b"\n", 1, failure)
        return body + ending + coded if self._echoes else coded

    # What is said when something is wrong.

    def close(self, message: str, why: Closed = Closed.BY_SERVER) -> bytes:
        """Return an error line to send last; empty if the session is closed already.

        The message says what was given and what was expected; what happens next is
        added to it.  Lines that were received and not answered are dropped.
        """
        return b"" if self.closed else self._close(why, message)

    def drop(self, why: Closed = Closed.BY_SERVER) -> None:
        """Close the session without a word; lines that are not answered are dropped."""
        self.closed = why
        self.has_more = False
        self._pending = None
        self._whole = b""
        self._rest = b""

    def _fail(self, line: bytes, together: int, failure: BaseException) -> bytes:
        """Close the session, as the cipher failed at lines of which this is the first."""
        self.failure = failure
        error = type(failure).__name__
        if together == 1:
            message = f"the cipher failed on this line ({error})"
        else:
            message = f"the cipher failed on one of these {together} lines ({error})"
        return self._close_at(line, Closed.CIPHER_FAILED, message)

    def _close_at(self, line: bytes, why: Closed, message: str) -> bytes:
        """Close the session, with a line's echo and an error line."""
        error = self._close(why, message, ending_of(line))
        return line + error if self._echoes else error

    def _rejection_of(self, line: int, reason: InputError, ending: bytes) -> bytes:
        self.rejected += 1
        if self._on_rejected is not None:
            self._on_rejected(line, reason)
        then = "this line is skipped, the connection goes on"
        return self._error_line(safe_text(reason), then, ending)

    def _close(self, why: Closed, message: str, ending: bytes = b"\n") -> bytes:
        self.drop(why)
        return self._error_line(message, "closing the connection", ending)

    def _error_line(self, message: str, then: str, ending: bytes) -> bytes:
        if self._is_filter:
            return b""
        return error_line(f"{printable(message, _LONGEST_REASON)}; {then}", ending)


def _is_one_line(text: bytes) -> bool:
    return text.find(b"\n") == len(text) - 1


def longest_coded(max_line: int | None) -> float:
    """Return how many bytes the code of a line may have, if a line may have `max_line`.

    Morse makes about six characters of one, and base64 of a short authenticated text
    needs some dozens.
    """
    return inf if max_line is None else 16 * max_line + 4096


def error_line(message: str, ending: bytes = b"\n") -> bytes:
    r"""Return the line that tells a client of an error, its ending included.

    >>> error_line("the server is full")
    b'!error: the server is full\n'
    """
    return b"!error: " + printable(message).encode() + ending
