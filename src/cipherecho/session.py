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
from io import BytesIO
from math import inf
from sys import getsizeof

from cipherecho.cipher import Cipher, InputError
from cipherecho.ciphers.coder import Coder
from cipherecho.ciphers.lines import LINE_WEIGHT, end_within, ending_of, interleaved, lines_of
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

# What a transform that takes blocks is given at a time: enough lines of text to share the cost
# of a call, and few enough that no turn answers many more than it may, and that not many go
# without an answer where it fails.
_PIECE_BYTES = 1 << 14

# What a line takes beside its bytes while it waits: an object of Python, and its place in a list.
_LINE_BYTES = 41
# After the first line, and then after so many, it is asked whether the time is over. Where a clock
# is asked, that takes up to a microsecond.
_LINES_AT_ONCE = 8

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
        coder = self._coder
        other._coder = coder if coder.table is not None else coder.fresh()
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

        To be called when :attr:`has_more` is False, like :meth:`end`.  What comes after
        the session is closed is discarded.

        Args:
          data: what came.
          most: the most weight to be answered now.  The cipher is not called for more, nor at
            all if the next line alone weighs more.  A table always answers everything.
          is_over: asked after the first line and every few more; when it says so, no other one is
            answered.
        """
        if self.closed:
            return b""
        rest = self._rest
        if not rest:
            # One whole line and a table, as nearly always: nothing can go wrong.
            size = len(data)
            if self._echo_table is not None and 0 <= data.find(b"\n") == size - 1 < self._longest:
                self.lines += 1
                return data + data.translate(self._echo_table)
            if self._is_filter and self._longest == inf and self._coder.table is not None:
                # No line can be too long or rejected, so no line's end has to be waited for.
                coded = self._coder.code_stretch(data)
                if coded is not None:
                    return bytes(coded)
        complete = data.rfind(b"\n") + 1
        if not complete:
            self._begin_line(data)
            return self.resume() if self._overlong else b""
        # Beside the first line, which began earlier, none is longer than what came now.
        longest = max(len(data), len(rest) + data.find(b"\n"))
        block = data if complete == len(data) else data[:complete]
        if rest:
            block = b"".join((rest, block))
            self._rest = b""
        if complete < len(data):
            self._begin_line(data[complete:])
        if longest > self._longest and self._holds_overlong(block):
            lines = block.split(b"\n")
            lines.pop()  # nothing, after the last LF
            self._queue(lines)
        elif self._coder.table is None:
            weight = len(block) + LINE_WEIGHT - 1
            if weight <= most and block.find(b"\n") == len(block) - 1 and not self._overlong:
                self.weight += weight
                return self._answer(block[:-1])
            self._whole = block
        else:
            reply = self._answer_block(block, self._coder.code_stretch(block) or b"")
            return reply + self.resume() if self._overlong else reply
        return self.resume(most, is_over)

    def end(self, most: float = inf, is_over: Callable[[], bool] | None = None) -> bytes:
        """Return what to send when the client will send no more.

        A rest without an ending is answered as though it had ended in LF.  `most` and
        `is_over` are as in :meth:`receive`.
        """
        if self.closed:
            return b""
        if not self._rest:
            self.closed = Closed.END_OF_INPUT
            return b""
        self._ended = True
        self._queue([bytes(self._rest)])
        self._rest = b""
        return self.resume(most, is_over)

    def resume(self, most: float = inf, is_over: Callable[[], bool] | None = None) -> bytes:
        """Return more of what to send, as long as :attr:`has_more`.

        `most` and `is_over` are as in :meth:`receive`; if `most` is less than :attr:`due`,
        nothing is answered.
        """
        return self._answer_some(most, _MOST_LINES, _MOST_LINES, is_over)

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
        return self._answer_some(max(most, self.due), 1, _MOST_LINES)

    def given_up(self, message: str) -> tuple[Session, bytes]:
        """Return a closed session instead of this one, and what to send last.

        For when :meth:`answer_next` does not return: whatever comes of it is lost with this
        session.  The line that it was called for gets its echo and an error line.  The message
        says what is wrong with the line; what happens next is added to it.
        """
        line, lines = self._in_hand
        together = self._together
        which = "this line" if together == 1 else f"one of these {together} lines"
        other = self.fresh()
        other.lines, other.rejected = lines + 1, self.rejected
        error = other._close(Closed.CODING_TIMEOUT, f"{which} {message}", ending_of(line))
        return other, line + error if self._echoes else error

    def _answer_some(
        self,
        most: float,
        most_lines: int,
        most_in_one: int,
        is_over: Callable[[], bool] | None = None,
    ) -> bytes:
        """Answer lines of the weight `most`: so many one by one, or so many in a block."""
        replies: list[bytes] = []
        size = 0
        last = self.lines + most_lines
        heaviest = self.weight + most
        while self.lines < last and size < _MOST_BYTES:
            if self._pending:
                if self.weight + self.due > heaviest:
                    break
                lines = last - self.lines
                size += self._answer_lines(replies, heaviest, lines, _MOST_BYTES - size, is_over)
            elif self._whole and self.weight + self.due <= heaviest:
                answer = self._answer_whole(heaviest - self.weight, most_in_one)
                replies.append(answer)
                size += len(answer)
                most_in_one = last - self.lines
            else:
                break
            if is_over is not None and is_over():
                break
        self.has_more = bool(self._pending or self._whole)
        if not self.has_more and not self.closed:
            self._pending = None
            if self._overlong:
                message = f"got a line of more than {self._longest} bytes, expected at most that"
                replies.append(self._close(Closed.LINE_TOO_LONG, message))
            elif self._ended:
                self.closed = Closed.END_OF_INPUT
        return b"".join(replies)

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
        pending, answer = self._pending, self._answer
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
        if self._ended and self._is_filter and not self.closed:
            replies[-1] = replies[-1].removesuffix(b"\n")
        return size

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

    def _begin_line(self, data: bytes) -> None:
        if not self._rest:
            self._rest = bytearray()
        self._rest += data
        if self._is_overlong(self._rest):
            self._rest = b""
            self._overlong = True

    def _is_overlong(self, line: bytes | bytearray) -> bool:
        # A CR at the end may yet turn out to be half of the ending.
        return len(line) > self._longest and len(line) - line.endswith(b"\r") > self._longest

    def _holds_overlong(self, block: bytes) -> bool:
        # From one LF to the last that is near enough: a few steps, whatever the lines.
        begin = 0
        while len(block) - 1 - begin > self._longest:
            begin = block.rfind(b"\n", begin, begin + int(self._longest) + 1) + 1
            if not begin:
                return any(map(self._is_overlong, block.split(b"\n")))
        return False

    def _queue(self, lines: list[bytes]) -> None:
        if self._longest < inf:
            for number, line in enumerate(lines):
                if self._is_overlong(line):
                    del lines[number:]
                    self._rest = b""
                    self._overlong = True
                    break
        lines.reverse()
        self._pending = lines
        self._pending_bytes = sum(map(len, lines))

    def _answer_block(self, block: bytes, coded: bytes | bytearray) -> bytes:
        """Answer whole lines at once; the code has each ending in its place."""
        if block.find(b"\n") == len(block) - 1:
            self.lines += 1
            self.weight += len(block) - 1 + LINE_WEIGHT
            return block + coded if self._echoes else bytes(coded)
        # A binary file's lines end in LF alone, and are found by memchr; split and count
        # look at one byte after the other.
        lines = BytesIO(block).readlines()
        self.lines += len(lines)
        self.weight += len(block) + (LINE_WEIGHT - 1) * len(lines)
        if not self._echoes:
            return bytes(coded)
        return interleaved(lines, BytesIO(coded).readlines())

    def _answer_whole(self, most: float, most_lines: int) -> bytes:
        """Answer the first of the whole lines, in one, if the cipher can do that.

        If not, nothing is answered, and they are pending one by one.
        """
        text, end = self._whole, 0
        if text.find(b"\n") < len(text) - 1:
            if self._coder.in_stretches:
                end = end_within(text, most)
                stretch, self._whole = text[:end], text[end:]
                self._together = stretch.count(b"\n")
                coded = self._coder.code_stretch(stretch)
                if coded is not None:
                    return self._answer_block(stretch, coded)
                self._together = 1
            elif self._coder.takes_blocks():
                end = end_within(text, most, _PIECE_BYTES)
                piece = text[:end]
                lines, endings = lines_of(piece)
                if len(lines) > most_lines:
                    piece = b"".join(lines[:most_lines])
                    end = len(piece)
                    lines, endings = lines_of(piece)
                self._whole = text[end:]
                if endings is not None and len(lines) > 1:
                    self._together = len(lines)
                    return self._answer_piece(piece, lines, endings)
        if end:
            text = text[:end]
        else:
            self._whole = b""
        self._pending_bytes = len(text)
        self._pending = text.split(b"\n")
        self._pending.pop()  # nothing, after the last LF
        self._pending.reverse()
        return b""

    def _answer_piece(self, piece: bytes, lines: list[bytes], endings: bytes) -> bytes:
        """Answer whole lines by one call of the cipher."""
        self.weight += len(piece) + (LINE_WEIGHT - 1) * len(lines)
        try:
            coded, coded_lines, reasons = self._coder.code_block(piece, lines, endings)
        except BaseException as failure:
            self.failure = failure
            self.lines += 1
            message = (
                f"the cipher failed on one of these {len(lines)} lines ({type(failure).__name__})"
            )
            error = self._close(Closed.CIPHER_FAILED, message, ending_of(lines[0]))
            return lines[0] + error if self._echoes else error
        for number, reason in reasons.items():
            line = self.lines + 1 + number
            coded_lines[number] = self._rejection_of(line, reason, ending_of(lines[number]))
        self.lines += len(lines)
        if self._echoes:
            return interleaved(lines, coded_lines)
        return b"".join(coded_lines) if reasons else coded

    def _answer(self, line: bytes) -> bytes:
        self.lines += 1
        body, ending = (line[:-1], b"\r\n") if line.endswith(b"\r") else (line, b"\n")
        echo = body + ending if self._echoes else b""
        try:
            return echo + self._coder.code(body, ending) + ending
        except InputError as rejection:
            return echo + self._rejection_of(self.lines, rejection, ending)
        except BaseException as failure:  # an exit, and a panic in Rust, are no Exception
            self.failure = failure
            message = f"the cipher failed on this line ({type(failure).__name__})"
            return echo + self._close(Closed.CIPHER_FAILED, message, ending)

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
