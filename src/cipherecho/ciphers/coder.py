"""Coding one line: every shape of cipher made into a transform, and its rules kept.

Stands directly on the contract.  What a plugin does wrong is found here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from io import BytesIO
from typing import cast

from cipherecho.cipher import BlockTransform, Cipher, InputError, Transform
from cipherecho.ciphers.lines import ending_of, endings_of
from cipherecho.ciphers.shapes import (
    codes_stretches,
    is_stateful,
    new_transform,
    table_of,
    type_name,
)

__all__ = ["Coder", "CodingError", "as_line", "restored", "snapshot"]


# LF and CR as they are, and everything else the same: what of a text has to stay.
_ENDINGS = bytes(byte if byte in b"\r\n" else 0 for byte in range(256))

# From here on a bytearray is translated faster, its copy included: 0.30 ns a byte instead
# of 0.44 to 0.54.  Bytes are compared too, to be returned themselves if nothing changes.
_LONG_TEXT = 1024


class CodingError(Exception):
    """A cipher broke the contract while it coded a line: the fault of its author."""


def snapshot(transform: Transform) -> Transform | None:
    """Return a copy of a transform with its state, or None if it can't be copied.

    Functions are their own copies, so state that is kept in a closure is not copied,
    and None says so.
    """
    try:
        copied = copy.deepcopy(transform)
    except Exception:  # whatever a plugin's attributes raise: it is not copyable
        return None
    return None if copied is transform else copied


def restored(before: Transform | None, rejection: InputError) -> Transform:
    """Return the snapshot `before`, with which a rejected line leaves no trace.

    Raises:
      CodingError: there is none, so the connection can't go on in step.
    """
    if before is None:
        raise CodingError(
            "a line was rejected after the cipher's state had moved on, and the state "
            "can't be copied; keep it in attributes of the transform, not in a closure"
        ) from rejection
    return before


def as_line(body: bytes, coded: object) -> bytes:
    """Return `coded`, which is known to be one line that may answer `body` now.

    Raises:
      CodingError: it is not bytes, or holds a LF or a CR that `body` did not hold.
    """
    if type(coded) is not bytes:  # nor a subclass, whose methods are the plugin's
        raise CodingError(f"the cipher returned {type_name(coded)}, expected bytes")
    if b"\n" in coded and b"\n" not in body:  # which only a stretch of lines has
        raise CodingError("the cipher returned a LF, expected one line without its ending")
    if b"\r" in coded and coded.count(b"\r") > body.count(b"\r"):
        raise CodingError("the cipher returned a CR that the line did not hold")
    return coded


class Coder:
    """Codes the lines of one connection, in order, and keeps the cipher's state.

    Args:
      cipher: whatever :func:`as_cipher` accepts.
      longest: how many bytes a coded line may have, its ending not counted.
      each_line_afresh: start every line at the start of the state.
    """

    __slots__ = (
        "_cipher",
        "_keeps_state",
        "_longest",
        "_starts_afresh",
        "_transform",
        "in_stretches",
        "table",
    )

    def __init__(self, cipher: Cipher, longest: float, *, each_line_afresh: bool = False) -> None:
        stateful = is_stateful(cipher)
        self._cipher = cipher
        self._longest = longest
        self.table = table_of(cipher)
        """The whole of the cipher, if it is a substitution."""
        self.in_stretches = codes_stretches(cipher) and not each_line_afresh
        """Whether :meth:`code_stretch` may be worth a call."""
        self._keeps_state = stateful and not each_line_afresh
        self._starts_afresh = stateful and each_line_afresh
        self._transform: Transform | None = None

    def fresh(self) -> Coder:
        """Return a coder for another connection, at the start of its state.

        Much cheaper than a new one: what the cipher is was found out once.
        """
        if self.table is not None:
            return self  # which keeps no state
        other = object.__new__(Coder)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other._transform = None
        return other

    def code_stretch(self, text: bytes) -> bytes | bytearray | None:
        """Return the code of text with its line endings, all at once.

        Returns None if the cipher has to be given one line after the other, be it that it
        says so or that it fails at the whole; the state is as it was before then.
        """
        if self.table is not None:
            if len(text) < _LONG_TEXT:
                return text.translate(self.table)
            return bytearray(text).translate(self.table)
        if not self.in_stretches:
            return None
        before: Transform | None = None
        try:
            if self._transform is None:
                self._transform = new_transform(self._cipher)
            before = snapshot(self._transform)
            if before is None:
                return None
            coded = self._transform(text)
            if type(coded) is bytes and coded.translate(_ENDINGS) == text.translate(_ENDINGS):
                return coded
        except BaseException:  # noqa: S110 (the line that it is about will raise it again)
            pass
        self._transform = before
        return None

    def takes_blocks(self) -> bool:
        """Return whether :meth:`code_block` may be called: the transform can take blocks."""
        if not self._keeps_state:
            return False
        try:
            if self._transform is None:
                self._transform = new_transform(self._cipher)
            return callable(getattr(self._transform, "block", None))
        except BaseException:  # the first line will raise it again
            return False

    def code_block(
        self, text: bytes, lines: list[bytes], endings: bytes
    ) -> tuple[bytes, list[bytes], dict[int, InputError]]:
        """Return the code of whole lines with their endings, and why lines were rejected.

        To be called when :meth:`takes_blocks` has said so, with a text that has no CR in a
        body, and what :func:`lines_of` says of it.

        The code is returned likewise, in one and line by line.  A rejected line's is its
        ending alone; its reason has its number, from 0, and they are in order.

        Raises:
          CodingError: the cipher broke the contract; the state is lost.
          Exception: whatever else a faulty cipher raises; the state is lost.
        """
        result = cast(BlockTransform, self._transform).block(text)
        if type(result) is not tuple or len(result) != 2:
            raise CodingError(f"the cipher returned {type_name(result)}, expected a pair")
        coded, rejected = result
        if type(coded) is not bytes:
            raise CodingError(f"the cipher returned {type_name(coded)}, expected bytes")
        if b"\r" in endings:
            coded_lines = coded.splitlines(keepends=True)  # a CR that is no ending makes one more
            has_endings = endings_of(coded) == endings
        else:
            coded_lines = BytesIO(coded).readlines()
            has_endings = coded.endswith(b"\n") and b"\r" not in coded
        if (
            not has_endings
            or len(coded_lines) != len(lines)
            or (len(coded) > self._longest and max(map(len, coded_lines)) > self._longest)
        ):
            self._check_lines(lines, BytesIO(coded).readlines())
        return coded, coded_lines, _reasons(rejected, coded_lines)

    def code(self, body: bytes, ending: bytes) -> bytes:
        """Return the code of one body, without the ending.

        Raises:
          InputError: the line can't be coded; the state is as it was before it.
          CodingError: the cipher broke the contract; the state is lost.
          Exception: whatever else a faulty cipher raises; the state is lost.
        """
        if self._transform is None or self._starts_afresh:
            self._transform = new_transform(self._cipher)
        # Only a CR in the body can end up before the LF, so only then is a way
        # back worth its time.
        may_misend = b"\r" in body and ending == b"\n"
        before = snapshot(self._transform) if may_misend and self._keeps_state else None
        coded = self._transform(body)
        # Nearly always there is nothing to check any further, which costs a call.
        if type(coded) is not bytes or b"\n" in coded or b"\r" in coded:
            coded = as_line(body, coded)
        if len(coded) > self._longest:
            raise self._too_long(body, coded)
        if may_misend and coded.endswith(b"\r"):
            rejection = InputError(
                "the coded line would end in a CR, which the LF after it would make a CRLF"
            )
            if self._keeps_state:
                self._transform = restored(before, rejection)
            raise rejection
        return coded

    def _too_long(self, body: bytes, coded: bytes) -> CodingError:
        return CodingError(
            f"the cipher returned {len(coded)} bytes for a line of {len(body)}, "
            f"expected at most {self._longest}"
        )

    def _check_lines(self, lines: list[bytes], coded_lines: list[bytes]) -> None:
        """Find which line's code is not as it may be, if one's is not."""
        if len(coded_lines) != len(lines):
            raise CodingError(
                f"the cipher returned {len(coded_lines)} lines, expected {len(lines)}"
            )
        for line, coded in zip(lines, coded_lines, strict=True):
            ending = ending_of(line)
            if not coded.endswith(ending):
                raise CodingError(f"the cipher did not keep the ending {ending!r} of a line")
            body, code = line.removesuffix(ending), coded.removesuffix(ending)
            if len(as_line(body, code)) > self._longest:
                raise self._too_long(body, code)


def _reasons(rejected: object, coded_lines: list[bytes]) -> dict[int, InputError]:
    if not isinstance(rejected, Mapping):
        raise CodingError(
            f"the cipher returned {type_name(rejected)} for what it rejected, expected a mapping"
        )
    reasons = {}
    for number in sorted(rejected):
        if type(number) is not int or not 0 <= number < len(coded_lines):
            raise CodingError(
                f"the cipher rejected the line {number!r}, expected one of {len(coded_lines)}"
            )
        if coded_lines[number] not in (b"\n", b"\r\n"):
            raise CodingError("the cipher returned a code for a line that it rejected")
        reason = rejected[number]
        if not isinstance(reason, str | InputError):
            raise CodingError(
                f"the cipher gave {type_name(reason)} for a reason, expected a text or InputError"
            )
        reasons[number] = InputError(reason) if isinstance(reason, str) else reason
    return reasons
