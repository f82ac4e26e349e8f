"""Whole conversations of a session, and what the wire contract says of each: slowly, and simply."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cipherecho.cipher import InputError
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.rot13 import Rot13
from cipherecho.session import Closed, ReplyMode, Session, StateScope
from tests.helpers.ciphers import (
    RAISING,
    RETURNING,
    Caesar,
    Doubled,
    Numbered,
    NumberedInBlocks,
    NumberedInClosure,
    NumberedReverse,
    Panic,
    Picky,
    PickyInStretches,
    Progressive,
    ProgressiveInStretches,
    Reverse,
    StatelessCaesar,
)

__all__ = ["CIPHERS", "answers", "byte_by_byte", "check_conversation", "conversation", "masked"]


def answers(session: Session, chunks: Iterable[bytes]) -> bytes:
    """Return all that is sent for `chunks`, which are not the end of the input."""
    sent = []
    for chunk in chunks:
        sent.append(session.receive(chunk))
        while session.has_more:
            sent.append(session.resume())
    return b"".join(sent)


def conversation(session: Session, *chunks: bytes) -> bytes:
    """Return all that is sent for `chunks` and the end of the input after them."""
    sent = [answers(session, chunks), session.end()]
    while session.has_more:
        sent.append(session.resume())
    return b"".join(sent)


def masked(sent: bytes) -> bytes:
    """Return `sent` with a question mark for the message of every error line."""
    return re.sub(rb"!error: [^\r\n]+", b"!error: ?", sent)


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# What a cipher is to the session, and the stages that it is to the model.
CIPHERS: dict[str, list[Any]] = {
    "table": [Caesar()],
    "stateless": [StatelessCaesar()],
    "longer": [Doubled()],
    "transposition": [Reverse()],
    "stateful": [Numbered()],
    "stateful, a method": [Progressive()],
    "stateful, in a closure": [NumberedInClosure()],
    "stateful transposition": [NumberedReverse()],
    "rejecting": [Picky()],
    "rejecting, with state": [inverse(Numbered())],
    "chain of tables": [Caesar(), Rot13()],
    "chain of stateful ones": [Numbered(), Progressive(), NumberedReverse()],
    "chain with a transposition last": [Progressive(), Caesar(), Reverse()],
    "chain that rejects in the middle": [Progressive(), Numbered(), Picky(), Numbered(), Caesar()],
    "chain that rejects at both ends": [Picky(), Numbered(), Reverse(), Progressive(), Picky()],
    "in stretches": [ProgressiveInStretches()],
    "in stretches, rejecting": [PickyInStretches()],
    "chain in stretches": [ProgressiveInStretches(), Caesar(), ProgressiveInStretches()],
    "chain in stretches that rejects": [
        *(ProgressiveInStretches(), PickyInStretches(), ProgressiveInStretches()),
    ],
    "in blocks, rejecting": [NumberedInBlocks()],
    "in blocks, decrypting": [inverse(NumberedInBlocks())],
    "chain with blocks": [NumberedInBlocks(), Picky(), NumberedInBlocks()],
    "faulty": [RETURNING["a LF"]],
    "chain that fails": [Numbered(), Picky(), RAISING["what is no Exception"], Caesar()],
}


@dataclass
class Outcome:
    sent: bytes
    closed: Closed
    lines: int
    rejected: int


def model(
    stages: list[Any], data: bytes, reply: ReplyMode, reset: StateScope, max_line: int | None
) -> Outcome:
    """Answer `data` as the wire contract says, a line at a time, with no thought of speed.

    The state is nothing but the lines that were accepted: they are coded again for every
    line, and so a rejected one can't leave a trace.
    """
    outcome = Outcome(b"", Closed.END_OF_INPUT, 0, 0)
    accepted: list[bytes] = []
    errors = reply is not ReplyMode.FILTER
    for line in io.BytesIO(data):
        unended = line.removesuffix(b"\n")
        body = unended.removesuffix(b"\r")
        ending = unended[len(body) :] + b"\n"
        if max_line is not None and len(body) > max_line:
            outcome.sent += b"!error: ?\n" * errors
            outcome.closed = Closed.LINE_TOO_LONG
            break
        outcome.lines += 1
        outcome.sent += (body + ending) * (reply is ReplyMode.BOTH)
        try:
            state = accepted if reset is StateScope.CONNECTION else []
            coded = coded_after(state, body, ending, stages)
        except InputError:
            outcome.rejected += 1
            outcome.sent += (b"!error: ?" + ending) * errors
        except (Exception, Panic):
            outcome.sent += (b"!error: ?" + ending) * errors
            outcome.closed = Closed.CIPHER_FAILED
            break
        else:
            accepted.append(body)
            is_as_it_came = reply is ReplyMode.FILTER and unended == line
            outcome.sent += (coded + ending).removesuffix(b"\n" * is_as_it_came)
    return outcome


def coded_after(accepted: list[bytes], body: bytes, ending: bytes, stages: list[Any]) -> bytes:
    transforms = [fresh_transform(stage) for stage in stages]
    for line in [*accepted, body]:
        coded = line
        for transform in transforms:
            before, coded = coded, transform(coded)
            if b"\n" in coded or coded.count(b"\r") > before.count(b"\r"):
                raise ValueError("a stage broke the contract")
    if ending == b"\n" and coded.endswith(b"\r"):
        raise InputError("the coded line would end in CRLF")
    return coded


def fresh_transform(stage: Any) -> Callable[[bytes], bytes]:
    if hasattr(stage, "table"):
        return lambda body: body.translate(stage.table)
    code: Callable[[bytes], bytes] = getattr(stage, "encrypt", None) or stage.encryptor()
    return code


def check_conversation(
    stages: list[Any],
    chunks: list[bytes],
    reply: ReplyMode,
    reset: StateScope,
    max_line: int | None,
) -> None:
    """Check that what is sent is what the model sends, however the input is cut."""
    data = b"".join(chunks)
    expected = model(stages, data, reply, reset, max_line)
    first = Session(chain(stages), reply=reply, reset=reset, max_line=max_line)
    for session, pieces in (
        (first, chunks),
        (first.fresh(), [data]),
        (first.fresh(), byte_by_byte(data)),
    ):
        assert masked(conversation(session, *pieces)) == masked(expected.sent)
        assert session.closed is expected.closed
        assert session.rejected == expected.rejected
        if max_line is not None or reply is not ReplyMode.FILTER:  # else lines are not looked for
            assert session.lines == expected.lines
