"""Coding one line: every shape of cipher made into a transform, and its rules kept.

Stands directly on the contract.  What a plugin does wrong is found here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import inf
from types import MappingProxyType
from typing import NamedTuple, cast

from cipherecho.cipher import BlockTransform, Cipher, InputError, Transform
from cipherecho.ciphers.lines import end_alike, ending_of, has_cr_in_body, lines_of
from cipherecho.ciphers.shapes import (
    codes_stretches,
    is_stateful,
    new_transform,
    table_of,
    type_name,
)

__all__ = ["Batch", "Coder", "CodingError", "as_line", "restored", "snapshot"]


# LF and CR as they are, and everything else the same: what of a text has to stay.
_ENDINGS = bytes(byte if byte in b"\r\n" else 0 for byte in range(256))

# From here on a bytearray is translated faster, its copy included: 0.30 ns a byte instead
# of 0.44 to 0.54.  Bytes are compared too, to be returned themselves if nothing changes.
_LONG_TEXT = 1024


# How many bytes and lines a transform that takes blocks is given at a time: enough text to share
# the cost of a call, and few enough lines that no turn answers many more than it may, and that not
# many go without an answer where it fails. The contract's bounds are wider.
_BLOCK_BOUNDS = (1 << 14, 2048)

# Whatever comes in one receive is a stretch.
_STRETCH_BOUNDS = (inf, inf)


class Batch(NamedTuple):
    """The code of many lines, each with its ending."""

    coded: bytes | bytearray
    lines: list[bytes] | None = None
    """The same one by one, if that had to be looked at."""
    rejected: Mapping[int, InputError] = MappingProxyType({})
    """Why lines were rejected, by their numbers from 0, in order; their code is their ending."""


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
        "_codes_stretches",
        "_keeps_state",
        "_longest",
        "_starts_afresh",
        "_transform",
        "table",
    )

    def __init__(self, cipher: Cipher, longest: float, *, each_line_afresh: bool = False) -> None:
        stateful = is_stateful(cipher)
        self._cipher = cipher
        self._longest = longest
        self.table = table_of(cipher)
        """The whole of the cipher, if it is a substitution."""
        self._codes_stretches = codes_stretches(cipher) and not each_line_afresh
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

    def batch_bounds(self) -> tuple[float, float] | None:
        """Return how many bytes and lines :meth:`code_batch` may be given at a time.

        None if the cipher has to be given one line after the other.
        """
        if self._codes_stretches:
            return _STRETCH_BOUNDS
        return _BLOCK_BOUNDS if self._takes_blocks() else None

    def translated(self, text: bytes) -> bytes | bytearray:
        """Return the code of any text, whole lines or not, by the table, which there has to be."""
        assert self.table is not None
        if len(text) < _LONG_TEXT:
            return text.translate(self.table)
        return bytearray(text).translate(self.table)

    def code_batch(self, text: bytes, lines: list[bytes]) -> Batch | None:
        """Return the code of many whole lines, all at once; they are given one by one too.

        Returns None if they have to be coded one by one: the cipher takes them in no other
        way, or it failed at all of them together and its state is as it was before.

        Raises:
          CodingError: the cipher broke the contract; the state is lost, and nobody knows at
            which line.
          Exception: whatever else a faulty cipher raises; the state is lost likewise.
        """
        if self.table is not None:
            return Batch(self.translated(text))
        if self._codes_stretches:
            return self._code_stretch(text)
        if self._takes_blocks() and not has_cr_in_body(text):
            return self._code_block(text, lines)
        return None

    def _code_stretch(self, text: bytes) -> Batch | None:
        """Code text with its line endings, which stay where they are."""
        before: Transform | None = None
        try:
            if self._transform is None:
                self._transform = new_transform(self._cipher)
            before = snapshot(self._transform)
            if before is None:
                return None
            coded = self._transform(text)
            if type(coded) is bytes and coded.translate(_ENDINGS) == text.translate(_ENDINGS):
                return Batch(coded)
        except BaseException:  # noqa: S110 (the line that it is about will raise it again)
            pass
        self._transform = before
        return None

    def _takes_blocks(self) -> bool:
        if not self._keeps_state:
            return False
        try:
            if self._transform is None:
                self._transform = new_transform(self._cipher)
            return callable(getattr(self._transform, "block", None))
        except BaseException:  # the first line will raise it again
            return False

    # What fails at a block is not asked again, line by line: its author was told that the state
    # is lost then. A copy may be no better, as that of a WebAssembly guest, which is as dead as
    # the guest that trapped, and would have to be made for each block, which costs half as much
    # as coding it.
    def _code_block(self, text: bytes, lines: list[bytes]) -> Batch:
        """Code lines by the transform's own method for many; no body has a CR."""
        result = cast(BlockTransform, self._transform).block(text)
        if type(result) is not tuple or len(result) != 2:
            raise CodingError(f"the cipher returned {type_name(result)}, expected a pair")
        coded, rejected = result
        if type(coded) is not bytes:
            raise CodingError(f"the cipher returned {type_name(coded)}, expected bytes")
        coded_lines = lines_of(coded)
        if (
            len(coded_lines) != len(lines)
            or not end_alike(text, coded, len(lines))
            or (len(coded) > self._longest and max(map(len, coded_lines)) > self._longest)
        ):
            self._check_lines(lines, coded_lines)
        return Batch(coded, coded_lines, _reasons(rejected, coded_lines))

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
