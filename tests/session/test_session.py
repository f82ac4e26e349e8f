"""The wire contract, as far as it concerns one client's bytes in and out.

"WIRE, lines 3" is rule 3 under «Lines and replies» of the wire contract, and "WIRE,
state" and "WIRE, wrong" are its sections on state and on what can go wrong.
"""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cipherecho.cipher import Cipher, InputError
from cipherecho.ciphers.coder import CodingError
from cipherecho.ciphers.composition import chain, inverse
from cipherecho.ciphers.shapes import NotACipherError
from cipherecho.rot13 import Rot13
from cipherecho.session import (
    LINE_WEIGHT,
    MAX_LINE,
    Closed,
    ReplyMode,
    Session,
    StateScope,
    error_line,
)
from tests.helpers.ciphers import (
    FAULTY,
    RAISING,
    RETURNING,
    Caesar,
    Faulty,
    FaultyInBlocks,
    NoTransform,
    Numbered,
    NumberedByGenerator,
    NumberedInBlocks,
    NumberedInClosure,
    NumberedPicky,
    NumberedReverse,
    Padded,
    Panic,
    Picky,
    PickyInStretches,
    Progressive,
    ProgressiveInStretches,
    Reverse,
    StatelessCaesar,
)
from tests.helpers.conversation import (
    CIPHERS,
    answers,
    byte_by_byte,
    check_conversation,
    conversation,
    masked,
)

# What a line is, and what it is answered with.


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"Hello\n", b"Hello\nUryyb\n"),
        (b"Hello\r\n", b"Hello\r\nUryyb\r\n"),
        (b"\n", b"\n\n"),
        (b"\r\n", b"\r\n\r\n"),
        (b"car\riage\n", b"car\riage\npne\rvntr\n"),
        (b"\rHello\n", b"\rHello\n\rUryyb\n"),
        (b"Hello\r\r\n", b"Hello\r\r\nUryyb\r\r\n"),
        (b"\r\r\n", b"\r\r\n\r\r\n"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("cipher", [Rot13(), chain([Rot13(), Picky()])], ids=["table", "chain"])
def test_a_line_is_answered_with_its_echo_and_its_code_and_its_own_ending(
    cipher: Cipher, line: bytes, reply: bytes
) -> None:
    """WIRE, lines 1 and 2: LF and CRLF end a line, a CR anywhere else is data."""
    assert answers(Session(cipher), [line]) == reply


def test_lines_with_both_endings_are_answered_in_order() -> None:
    """WIRE, lines 1 and 6."""
    assert (
        answers(Session(Rot13()), [b"one\r\ntwo\nthree\r\n"])
        == b"one\r\nbar\r\ntwo\ngjb\nthree\r\nguerr\r\n"
    )


def test_a_filter_client_gets_the_coded_lines_alone() -> None:
    """WIRE, lines 2: `--reply cipher`."""
    session = Session(Rot13(), reply=ReplyMode.CIPHER)
    assert conversation(session, b"one\r\ntwo\n\nrest") == b"bar\r\ngjb\n\nerfg\n"


def test_letters_of_other_alphabets_pass_through() -> None:
    """WIRE, lines 3."""
    sent = answers(Session(Rot13()), ["Größe 7!\n".encode()])
    assert sent.decode() == "Größe 7!\nTeößr 7!\n"


def test_invalid_utf_8_comes_back_as_it_went_in() -> None:
    """WIRE, lines 3."""
    line = bytes(byte for byte in range(256) if byte != 0x0A and not chr(byte).isalpha()) + b"\xff"
    assert answers(Session(Rot13()), [line + b"\n"]) == (line + b"\n") * 2


def test_a_code_that_would_turn_the_ending_into_crlf_is_rejected() -> None:
    """WIRE, lines 3: backwards, the CR would stand before the LF."""
    sent = answers(Session(Reverse()), [b"\rabc\ndef\n"])
    assert masked(sent) == b"\rabc\n!error: ?\ndef\nfed\n"


def test_a_code_that_ends_in_cr_before_crlf_is_allowed() -> None:
    """WIRE, lines 3: a CRLF stays one, whatever stands before it."""
    assert answers(Session(Reverse()), [b"\rabc\r\n"]) == b"\rabc\r\ncba\r\r\n"


def test_the_line_that_is_rejected_for_its_cr_leaves_no_trace_in_the_state() -> None:
    """WIRE, lines 3, and wrong 1."""
    sent = answers(Session(NumberedReverse()), [b"abc\n\rabc\ndef\n"])
    assert masked(sent) == b"abc\n1 cba\n\rabc\n!error: ?\ndef\n2 fed\n"


# The end of the input.


@pytest.mark.parametrize(
    ("rest", "reply"),
    [
        (b"Hello", b"Hello\nUryyb\n"),
        (b"Hello\r", b"Hello\r\nUryyb\r\n"),
        (b"\r", b"\r\n\r\n"),
        (b"", b""),
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [b"", b"x\n", b"x\r\n"], ids=repr)
def test_a_last_line_without_ending_is_answered_as_if_it_ended_in_lf(
    before: bytes, rest: bytes, reply: bytes
) -> None:
    """WIRE, lines 5: and nothing is sent for an empty rest."""
    session = Session(Rot13())
    answers(session, [before + rest])
    assert session.end() == reply
    assert session.closed is Closed.END_OF_INPUT


def test_a_last_line_that_the_cipher_rejects_gets_an_error_line() -> None:
    """WIRE, lines 5, and wrong 1."""
    session = Session(Picky())
    assert masked(conversation(session, b"x")) == b"x\n!error: ?\n"
    assert session.closed is Closed.END_OF_INPUT


def test_a_last_line_of_a_client_that_sent_nothing_else_is_not_answered_before_the_end() -> None:
    session = Session(Rot13())
    assert session.receive(b"Hello") == b""
    assert session.has_begun_line
    assert session.end() == b"Hello\nUryyb\n"
    assert not session.has_begun_line


@pytest.mark.parametrize("cipher", [Rot13(), Caesar(), StatelessCaesar()])
def test_what_is_held_is_known(cipher: Cipher) -> None:
    """As a rule nothing; a line that has begun, or lines that are not answered yet."""
    session = Session(cipher)
    session.receive(b"Hello\nWor")
    assert 3 < session.held < 100
    session.receive(b"a" * 10_000)
    assert 10_003 < session.held < 15_000
    session.receive(b"\n")
    while session.has_more:
        session.resume()
    assert session.held == 0
    session.receive(b"Hello\n")
    assert session.held == 0


def test_lines_that_are_not_answered_yet_take_more_than_their_bytes() -> None:
    session = Session(StatelessCaesar())
    tracemalloc.start()
    try:
        session.receive(b"ab\n" * 20_000)
        assert session.has_more
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.8 * taken < session.held < 1.5 * taken


def test_after_the_end_nothing_is_answered() -> None:
    session = Session(Rot13())
    session.end()
    assert session.receive(b"Hello\n") == session.end() == session.resume() == b""
    assert session.close("too late") == b""
    assert session.closed is Closed.END_OF_INPUT


# A pipeline's filter.


@pytest.mark.parametrize("max_line", [MAX_LINE, None])
@pytest.mark.parametrize("cipher", [Caesar(), StatelessCaesar()], ids=["table", "stateless"])
def test_in_a_pipeline_the_output_ends_as_the_input_does(
    cipher: Cipher, max_line: int | None
) -> None:
    for data in (b"abc\nd", b"abc\nd\r", b"abc\nd\r\n", b"\n", b""):
        session = Session(cipher, reply=ReplyMode.FILTER, max_line=max_line)
        assert conversation(session, data) == data.translate(Caesar.table)


def test_in_a_pipeline_errors_are_for_the_caller_alone() -> None:
    reasons = []
    session = Session(
        Picky(),
        reply=ReplyMode.FILTER,
        on_rejected=lambda line, why: reasons.append((line, str(why))),
    )
    assert conversation(session, b"a\nx1\r\nb\nx2") == b"a\nb\n"
    assert reasons == [
        (2, "got b'x1', expected a line without x"),
        (4, "got b'x2', expected a line without x"),
    ]


def test_in_a_pipeline_a_failure_ends_the_output() -> None:
    session = Session(RETURNING["None"], reply=ReplyMode.FILTER)
    assert conversation(session, b"a\n!\nb\n") == b"a\n"
    assert session.closed is Closed.CIPHER_FAILED


def test_in_a_pipeline_nothing_of_a_line_is_sent_that_is_rejected_later() -> None:
    session = Session(PickyInStretches(), reply=ReplyMode.FILTER, max_line=None)
    assert conversation(session, b"a", b"x\nb", b"c\n", b"d") == b"bc\nd"
    assert session.rejected == 1


def test_in_a_pipeline_a_table_waits_for_no_line_if_there_is_no_limit() -> None:
    session = Session(Caesar(), reply=ReplyMode.FILTER, max_line=None)
    assert session.receive(b"ab") == b"de"


# State.


def test_state_runs_from_line_to_line() -> None:
    """WIRE, state."""
    assert answers(Session(Numbered()), [b"a\nb\n", b"c\n"]) == b"a\n1 a\nb\n2 b\nc\n3 c\n"


def test_two_connections_never_see_each_others_state() -> None:
    """WIRE, state: one cipher, shared, and the lines of two clients in turn."""
    cipher = Numbered()
    first, second = Session(cipher), Session(cipher)
    assert [answers(first, [b"a\n"]), answers(second, [b"b\n"])] == [b"a\n1 a\n", b"b\n1 b\n"]
    assert [answers(first, [b"c\n"]), answers(second, [b"d\n"])] == [b"c\n2 c\n", b"d\n2 d\n"]


def test_two_directions_never_see_each_others_state() -> None:
    """WIRE, state."""
    cipher = Progressive()
    there = Session(cipher, reply=ReplyMode.CIPHER)
    back = Session(inverse(cipher), reply=ReplyMode.CIPHER)
    for line in (b"hello\n", b"\n", b"world\n"):
        assert answers(back, [answers(there, [line])]) == line


def test_with_reset_line_every_line_starts_afresh() -> None:
    """WIRE, state: `--reset line`."""
    session = Session(Numbered(), reset=StateScope.LINE)
    assert answers(session, [b"a\nb\n", b"c\n"]) == b"a\n1 a\nb\n1 b\nc\n1 c\n"


# A line that the cipher rejects.


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=repr)
def test_a_rejected_line_gets_its_echo_and_an_error_line_and_the_connection_goes_on(
    ending: bytes,
) -> None:
    """WIRE, wrong 1: with the line's own ending."""
    session = Session(Picky())
    assert answers(session, [b"ax%sbc%s" % (ending, ending)]) == (
        b"ax%s!error: got b'ax', expected a line without x; "
        b"this line is skipped, the connection goes on%sbc%sbc%s" % ((ending,) * 4)
    )
    assert session.closed is None
    assert session.failure is None
    assert (session.lines, session.rejected) == (2, 1)


def test_a_rejected_line_leaves_the_state_as_it_was() -> None:
    """WIRE, wrong 1: what the stages before had moved on is taken back."""
    session = Session(chain([Numbered(), Picky(), Progressive()]))
    assert masked(answers(session, [b"a\nx\n", b"x\r\nb\n"])) == (
        b"a\n1 a\nx\n!error: ?\nx\r\n!error: ?\r\nb\n2 c\n"
    )


def test_a_rejected_line_leaves_the_state_of_the_cipher_that_rejects_it() -> None:
    """WIRE, wrong 1: a line out of turn is skipped, the one that was due is still due."""
    session = Session(inverse(Numbered()), reply=ReplyMode.CIPHER)
    assert masked(answers(session, [b"1 a\n3 c\n2 b\n3 c\n"])) == b"a\n!error: ?\nb\nc\n"


def test_a_filter_client_gets_error_lines_alone() -> None:
    """WIRE, wrong: with `--reply cipher` there is no echo before an error line."""
    session = Session(Picky(), reply=ReplyMode.CIPHER)
    assert masked(answers(session, [b"a\nx\r\nb\n"])) == b"a\n!error: ?\r\nb\n"


def test_state_that_cannot_be_taken_back_ends_the_connection() -> None:
    """WIRE, wrong 1 and 2: rather that than silently out of step."""
    for numbered in (NumberedInClosure(), NumberedByGenerator()):
        session = Session(chain([numbered, Picky()]))
        assert masked(answers(session, [b"a\nx\nb\n"])) == b"a\n1 a\nx\n!error: ?\n"
        assert session.closed is Closed.CIPHER_FAILED
        assert isinstance(session.failure, CodingError)


def test_whoever_is_interested_learns_of_every_rejected_line() -> None:
    rejections: list[tuple[int, InputError]] = []
    session = Session(Picky(), on_rejected=lambda *rejection: rejections.append(rejection))
    conversation(session, b"x\na\n", b"b\nx")
    assert [line for line, _ in rejections] == [1, 4]
    assert all(isinstance(reason, InputError) for _, reason in rejections)


# A cipher that fails.


@pytest.mark.parametrize("cipher", FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_cipher_gets_an_error_line_and_the_connection_is_closed(cipher: Cipher) -> None:
    """WIRE, wrong 2: the lines before are answered, and none after."""
    session = Session(cipher)
    sent = answers(session, [b"one\r\n!\r\nthree\r\n", b"four\n"])
    assert masked(sent) == b"one\r\none\r\n!\r\n!error: ?\r\n"
    assert session.closed is Closed.CIPHER_FAILED
    assert session.failure is not None
    assert type(session.failure).__name__.encode() in sent
    assert sent.endswith(b"; closing the connection\r\n")
    assert session.end() == session.resume() == session.close("too late") == b""
    assert (session.lines, session.rejected) == (2, 0)


@pytest.mark.parametrize("cipher", FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_cipher_ends_its_own_connection_alone(cipher: Cipher) -> None:
    """WIRE, wrong 2."""
    other = Session(cipher)
    conversation(Session(cipher), b"!\n")
    assert answers(other, [b"a\n"]) == b"a\na\n"


def test_what_a_cipher_raised_is_kept_for_the_log_with_its_traceback() -> None:
    """WIRE, wrong 2."""
    session = Session(RAISING["an error of the standard library"])
    answers(session, [b"!\n"])
    assert isinstance(session.failure, KeyError)
    traceback = session.failure.__traceback__
    files = set()
    while traceback is not None:
        files.add(traceback.tb_frame.f_code.co_filename.rpartition("/")[2])
        traceback = traceback.tb_next
    assert "ciphers.py" in files


def test_what_a_cipher_returned_is_no_secret_for_the_log() -> None:
    session = Session(RETURNING["a str"])
    answers(session, [b"!\n"])
    assert str(session.failure) == "the cipher returned an object of type str, expected bytes"


def test_a_coded_line_has_at_most_16_times_the_limit_and_4_kib() -> None:
    longest = 16 * 10 + 4096
    session = Session(Padded(longest - 1), reply=ReplyMode.CIPHER, max_line=10)
    assert len(answers(session, [b"a\n"])) == longest + 1
    assert masked(answers(session, [b"ab\n"])) == b"!error: ?\n"
    assert str(session.failure) == (
        f"the cipher returned {longest + 1} bytes for a line of 2, expected at most {longest}"
    )


def test_a_cipher_that_fails_before_its_first_line_fails_on_it() -> None:
    """WIRE, wrong 2."""
    session = Session(NoTransform())
    assert masked(answers(session, [b"a\nb\n"])) == b"a\n!error: ?\n"
    assert session.closed is Closed.CIPHER_FAILED
    assert isinstance(session.failure, OSError)


def test_an_interrupt_in_a_cipher_is_left_to_whoever_drives_the_session() -> None:
    def interrupted(_: bytes) -> bytes:
        raise KeyboardInterrupt

    session = Session(Faulty(interrupted))
    session.receive(b"!\n")
    assert isinstance(session.failure, KeyboardInterrupt)


def test_what_is_no_cipher_is_refused_before_the_first_line() -> None:
    with pytest.raises(NotACipherError):
        Session(object())  # type: ignore[arg-type]


# The limit.


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=repr)
@pytest.mark.parametrize("max_line", [0, 1, 7, MAX_LINE])
@pytest.mark.parametrize("cipher", [Caesar(), StatelessCaesar()], ids=["table", "stateless"])
def test_a_body_of_exactly_the_limit_is_allowed(
    cipher: Cipher, max_line: int, ending: bytes
) -> None:
    """WIRE, wrong 3."""
    session = Session(cipher, max_line=max_line)
    line = b"a" * max_line + ending
    assert answers(session, [line, line * 2]) == (line + b"d" * max_line + ending) * 3
    assert session.end() == b""


def test_the_limit_is_65_536_bytes_unless_told() -> None:
    """WIRE, wrong 3."""
    assert MAX_LINE == 65_536
    session = Session(Rot13(), reply=ReplyMode.CIPHER)
    assert answers(session, [b"a" * 65_536, b"\r\n"]) == b"n" * 65_536 + b"\r\n"
    assert session.receive(b"a" * 65_537) != b""


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b"\r", b"aaaa", b"a\nshort\n"], ids=repr)
@pytest.mark.parametrize("cut", [byte_by_byte, lambda data: [data]], ids=["bytes", "whole"])
@pytest.mark.parametrize("cipher", [Caesar(), StatelessCaesar()], ids=["table", "stateless"])
def test_a_body_over_the_limit_gets_one_error_line_after_the_answers_before_it(
    cipher: Cipher, cut: Callable[[bytes], list[bytes]], tail: bytes
) -> None:
    """WIRE, wrong 3: every complete line before it answered, one error line, then close."""
    session = Session(cipher, max_line=4)
    assert answers(session, cut(b"ab\n\r\n" + b"aaaaa" + tail)) == (
        b"ab\nde\n\r\n\r\n"
        b"!error: got a line of more than 4 bytes, expected at most that; closing the connection\n"
    )
    assert session.closed is Closed.LINE_TOO_LONG
    assert session.failure is None
    assert session.lines == 2
    assert session.receive(b"ab\n") == session.end() == b""


def test_a_line_over_the_limit_is_detected_with_its_first_byte_too_many() -> None:
    """WIRE, wrong 3: "detected at the limit + 1"."""
    session = Session(Rot13(), max_line=1000)
    assert answers(session, byte_by_byte(b"a" * 1000)) == b""
    assert session.closed is None
    assert masked(session.receive(b"a")) == b"!error: ?\n"
    assert session.closed is Closed.LINE_TOO_LONG


def test_a_cr_after_the_limit_may_be_half_of_the_ending_and_so_has_to_be_waited_for() -> None:
    """WIRE, lines 1, and wrong 3."""
    for following, reply in (
        (b"\n", b"abcd\r\n"),
        (b"\r", b"!error: ?\n"),
        (b"e", b"!error: ?\n"),
    ):
        session = Session(Picky(), reply=ReplyMode.CIPHER, max_line=4)
        assert session.receive(b"abcd\r") == b""
        assert session.closed is None
        assert masked(session.receive(following)) == reply
    session = Session(Picky(), reply=ReplyMode.CIPHER, max_line=4)
    assert conversation(session, b"abcd\r") == b"abcd\r\n"


def test_one_gigabyte_without_lf_takes_less_than_a_megabyte() -> None:
    """WIRE, wrong 3: "no more is buffered"."""
    chunk = b"a" * 65_536
    session = Session(Rot13())
    tracemalloc.start()
    try:
        sent = [session.receive(chunk) for _ in range(1 << 14)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [masked(reply) for reply in sent if reply] == [b"!error: ?\n"]
    assert masked(sent[1]) == b"!error: ?\n"
    # 128 KiB for the 2 chunks before it is detected, and 128 KiB for the list of replies.
    assert peak < 1 << 20


def test_a_line_a_byte_at_a_time_is_not_copied_for_every_byte() -> None:
    """Bytes allocated are counted: copying 20,000 bytes for every byte would take 200 MB."""
    line = byte_by_byte(b"a" * 20_000)
    session = Session(Rot13())
    allocated = 0
    tracemalloc.start()
    try:
        for byte in line:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            session.receive(byte)
            _, peak = tracemalloc.get_traced_memory()
            allocated += peak - before
    finally:
        tracemalloc.stop()
    # A buffer that grows by an eighth is moved about 8 times its final size in all.
    assert allocated < 100 * len(line)
    assert session.receive(b"\n") == b"a" * 20_000 + b"\n" + b"n" * 20_000 + b"\n"


# Blocks: many lines at once.


def test_the_lines_of_one_receive_are_answered_at_one_go() -> None:
    assert Session(Rot13()).receive(b"a\nb\n" * 1000) == b"a\nn\nb\no\n" * 1000
    assert Session(Picky()).receive(b"a\nb\n" * 1000) == b"a\na\nb\nb\n" * 1000


def test_a_table_codes_a_block_by_one_translation() -> None:
    """The fast path: `bytes.translate` of all lines, not a call for every line."""
    translated = []

    class Block(bytes):
        def translate(self, table: Any, /, *rest: Any) -> bytes:
            translated.append(bytes(self))
            return super().translate(table, *rest)

    block = Block(b"one\r\ntwo\n" * 100)
    for session in (Session(Rot13()), Session(Rot13(), max_line=4)):
        assert session.receive(block) == b"one\r\nbar\r\ntwo\ngjb\n" * 100
        assert session.lines == 200
    assert translated == [block, block]


LINES = st.lists(
    st.sampled_from([b"a", b"b", b"x", b"!", b"1 ", b"\r", b"\n", b"\r\n", b"\xff", b"\xc3\xb6"]),
    max_size=40,
).map(b"".join)
DATA = st.one_of(LINES, LINES, st.binary(max_size=40))
LIMITS = st.one_of(st.integers(0, 20), st.just(MAX_LINE), st.none())


@given(DATA, st.sampled_from(ReplyMode), LIMITS)
def test_a_table_and_the_same_cipher_without_one_answer_alike(
    data: bytes, reply: ReplyMode, max_line: int | None
) -> None:
    table, lines = (
        Session(cipher, reply=reply, max_line=max_line) for cipher in (Caesar(), StatelessCaesar())
    )
    assert conversation(table, data) == conversation(lines, data)
    assert table.closed == lines.closed


@given(DATA, st.sampled_from(ReplyMode), LIMITS)
def test_long_blocks_are_answered_like_short_ones(
    data: bytes, reply: ReplyMode, max_line: int | None
) -> None:
    """A long text is translated another way than a short one, and found to be in bounds."""
    block = data * 200
    table, lines = (
        Session(cipher, reply=reply, max_line=max_line) for cipher in (Caesar(), StatelessCaesar())
    )
    assert conversation(table, block) == conversation(lines, block)
    assert table.lines == lines.lines or reply is ReplyMode.FILTER
    assert table.closed == lines.closed


@pytest.mark.parametrize("cipher", [Rot13(), Picky(), Numbered()], ids=["table", "pure", "state"])
def test_a_fresh_session_is_like_the_first_was_at_its_start(cipher: Cipher) -> None:
    first = Session(cipher, reply=ReplyMode.CIPHER, max_line=5)
    expected = first.receive(b"a\nb\n")
    first.receive(b"begun")
    fresh = first.fresh()
    assert not fresh.has_begun_line
    assert fresh.receive(b"a\nb\n") == expected
    assert fresh.lines == 2
    assert fresh.receive(b"123456").startswith(b"!error: got a line of more than 5 bytes")
    assert (fresh.closed, first.closed) == (Closed.LINE_TOO_LONG, None)


def test_a_fresh_session_starts_lines_afresh_if_the_first_does() -> None:
    session = Session(Numbered(), reply=ReplyMode.CIPHER, reset=StateScope.LINE).fresh()
    assert session.receive(b"a\na\n") == b"1 a\n1 a\n"


def test_very_many_short_lines_are_answered_in_bounded_pieces() -> None:
    """WIRE, lines 6: "bounded memory", also for lines of one byte that become 4 KB."""
    session = Session(Padded(4000), reply=ReplyMode.CIPHER)
    pieces = [session.receive(b"a\n" * 3000)]
    while session.has_more:
        assert session.closed is None
        pieces.append(session.resume())
    assert b"".join(pieces) == (b"a" + b"." * 4000 + b"\n") * 3000
    assert max(map(len, pieces)) <= (1 << 20) + 4002  # a mebibyte and the line that passes it
    assert session.lines == 3000


def test_empty_lines_are_answered_in_pieces_of_bounded_time() -> None:
    session = Session(Picky())
    pieces = [session.receive(b"\n" * 10_000)]
    while session.has_more:
        pieces.append(session.resume())
    assert [len(piece) // 2 for piece in pieces] == [2048] * 4 + [10_000 - 4 * 2048]
    assert session.lines == 10_000


def test_what_waits_behind_a_piece_is_answered_before_the_end() -> None:
    """WIRE, lines 5: "every outstanding reply is sent"."""
    session = Session(Picky(), reply=ReplyMode.CIPHER)
    sent = answers(session, [b"a\n" * 3000 + b"rest"])
    assert (sent, session.closed) == (b"a\n" * 3000, None)
    assert session.end() == b"rest\n"
    assert session.closed is Closed.END_OF_INPUT


def test_a_line_that_is_too_long_waits_for_the_answers_before_it() -> None:
    """WIRE, wrong 3."""
    session = Session(Picky(), reply=ReplyMode.CIPHER, max_line=4)
    first = session.receive(b"a\n" * 3000 + b"aaaaa")
    assert first == b"a\n" * 2048
    assert session.has_more
    assert session.closed is None
    assert masked(session.resume()) == b"a\n" * (3000 - 2048) + b"!error: ?\n"
    assert session.closed is Closed.LINE_TOO_LONG
    assert not session.has_more


@pytest.mark.parametrize("take_in", [lambda session: session.receive(b"b\n"), Session.end])
def test_input_while_there_is_more_to_send_says_what_to_call(
    take_in: Callable[[Session], bytes],
) -> None:
    session = Session(Picky(), reply=ReplyMode.CIPHER)
    first = session.receive(b"a\n" * 3000)
    with pytest.raises(RuntimeError, match=r"call resume\(\) until has_more is False"):
        take_in(session)
    assert first + session.resume() == b"a\n" * 3000
    assert not session.has_more
    take_in(session)


def test_a_failure_drops_what_waits_behind_it() -> None:
    """WIRE, wrong 2."""
    session = Session(RETURNING["None"])
    session.receive(b"!\n" + b"a\n" * 3000)
    assert not session.has_more
    assert session.resume() == b""


# No more at a go than is asked for.


def test_lines_are_answered_up_to_a_weight() -> None:
    session = Session(Picky(), reply=ReplyMode.CIPHER)
    weight = LINE_WEIGHT + 3
    assert session.receive(b"abc\r\n" + b"abc\n" * 9, 2 * weight + 1) == b"abc\r\nabc\n"
    assert session.weight == 2 * weight + 1  # the CR too
    assert session.due == weight
    assert session.resume(weight - 1) == b""
    assert session.has_more
    assert session.resume(3 * weight) == b"abc\n" * 3
    assert session.resume() == b"abc\n" * 5
    assert (session.has_more, session.due) == (False, 0)


@pytest.mark.parametrize("data", [b"abc\n", b"abc\ndef\n"])
@pytest.mark.parametrize("cipher", [Picky(), PickyInStretches(), NumberedInBlocks(), NoTransform()])
def test_a_cipher_is_not_called_for_a_line_that_weighs_too_much(
    cipher: Cipher, data: bytes
) -> None:
    session = Session(cipher)
    assert session.receive(data, LINE_WEIGHT + 2) == b""
    assert session.has_more
    assert session.due == LINE_WEIGHT + 3
    assert session.weight == session.lines == 0
    assert session.resume() != b""


def test_a_last_line_waits_too_if_it_weighs_too_much() -> None:
    session = Session(Picky())
    session.receive(b"abc")
    assert session.end(LINE_WEIGHT) == b""
    assert (session.has_more, session.closed) == (True, None)
    assert session.resume() == b"abc\nabc\n"
    assert session.closed is Closed.END_OF_INPUT


def test_a_table_answers_everything_at_once() -> None:
    assert Session(Caesar()).receive(b"abc\nabc\n", 0) == b"abc\ndef\n" * 2


def test_what_is_coded_in_one_is_cut_to_a_weight() -> None:
    cipher = NumberedInBlocks()
    session = Session(cipher)
    most = 3 * (LINE_WEIGHT + 3)
    session.receive(b"abc\n" * 8, most)
    while session.has_more:
        session.resume(most)
    assert cipher.blocks == [b"abc\n" * 3, b"abc\n" * 3, b"abc\n" * 2]


def test_lines_are_answered_until_the_time_is_over() -> None:
    asked = iter([False])
    session = Session(Picky(), reply=ReplyMode.CIPHER)
    first = session.receive(b"\n" * 100, is_over=lambda: next(asked, True))
    assert 0 < len(first) < 50
    assert first + session.resume() == b"\n" * 100


ANY_SHAPE = st.sampled_from(
    [Picky(), PickyInStretches(), ProgressiveInStretches(), NumberedPicky(), NumberedInBlocks()]
)


@given(DATA, ANY_SHAPE, st.sampled_from(ReplyMode), LIMITS, st.lists(st.integers(0, 2000)))
@example(b"\n\n", PickyInStretches(), ReplyMode.BOTH, MAX_LINE, [0, 0])
def test_how_much_is_answered_at_a_go_makes_no_difference(
    data: bytes, cipher: Cipher, reply: ReplyMode, max_line: int | None, weights: list[int]
) -> None:
    expected = Session(cipher, reply=reply, max_line=max_line)
    session = expected.fresh()
    threaded = expected.fresh()
    answer = conversation(expected, data)
    most = iter(weights)
    sent = [session.receive(data, next(most, 500))]
    in_thread = [threaded.receive(data, 0)]
    for end in (False, True):
        if end:
            sent.append(session.end(next(most, 500)))
            in_thread.append(threaded.end(0))
        while session.has_more:
            sent.append(session.resume(max(session.due, next(most, 500))))
        while threaded.has_more:
            in_thread.append(threaded.answer_next(next(most, 500)))
    assert b"".join(sent) == b"".join(in_thread) == answer
    assert session.weight == threaded.weight
    for one in (session, threaded):
        assert (one.lines, one.rejected) == (expected.lines, expected.rejected)
        assert one.closed == expected.closed


# In a thread, one line after the other.


def test_the_next_line_is_answered_alone_whatever_it_weighs() -> None:
    session = Session(Numbered(), reply=ReplyMode.CIPHER)
    session.receive(b"a\nb\r\nc\n", 0)
    assert [session.answer_next(10_000) for _ in range(3)] == [b"1 a\n", b"2 b\r\n", b"3 c\n"]
    assert not session.has_more


def test_what_is_coded_in_one_is_one_line_under_way() -> None:
    session = Session(NumberedInBlocks(), reply=ReplyMode.CIPHER)
    session.receive(b"a\nb\nc\n", 0)
    assert session.answer_next(10_000) == b"1 a\n2 b\n3 c\n"
    session.receive(b"a\nb\nc\n", 0)
    assert session.answer_next(0) == b"4 a\n"


@pytest.mark.parametrize(
    ("reply", "echo"), [(ReplyMode.BOTH, b"b\r\n"), (ReplyMode.CIPHER, b"")], ids=["both", "cipher"]
)
def test_a_session_in_a_thread_can_be_given_up(reply: ReplyMode, echo: bytes) -> None:
    """WIRE, wrong: "a line takes longer to code than the coding time"."""

    class GivenUp:
        """Is given up while it codes the second line."""

        def encrypt(self, body: bytes) -> bytes:
            if body == b"b":
                given_up.append(session.given_up("takes too long"))
            return body

    given_up: list[tuple[Session, bytes]] = []
    session = Session(GivenUp(), reply=reply)
    session.receive(b"a\nb\r\nc\n", 0)
    session.answer_next(0)
    session.answer_next(0)
    [(other, sent)] = given_up
    assert sent == echo + b"!error: this line takes too long; closing the connection\r\n"
    assert (other.closed, other.lines, other.has_more) == (Closed.CODING_TIMEOUT, 2, False)
    assert other.receive(b"d\n") == b""
    # What the thread does then is of the first one alone.
    assert session.answer_next(0).endswith(b"c\n")
    assert other.lines == 2


# Transforms that take blocks.


def test_a_transform_that_takes_blocks_is_given_many_lines_at_once() -> None:
    cipher = NumberedInBlocks()
    session = Session(cipher)
    assert session.receive(b"a\r\nb\nc") == b"a\r\n1 a\r\nb\n2 b\n"
    assert session.receive(b"d\n\r\n") == b"cd\n3 cd\n\r\n4 \r\n"
    assert cipher.blocks == [b"a\r\nb\n", b"cd\n\r\n"]


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        (b"a\n", StateScope.CONNECTION),
        (b"a\r\nb\rc\n", StateScope.CONNECTION),
        (b"a\nb\n", StateScope.LINE),
    ],
    ids=["one line", "a CR in a body", "each line afresh"],
)
def test_a_transform_that_takes_blocks_is_given_one_line_after_the_other(
    data: bytes, reset: StateScope
) -> None:
    cipher = NumberedInBlocks()
    conversation(Session(cipher, reset=reset), data)
    assert cipher.blocks == []


def test_lines_that_are_rejected_in_a_block_are_answered_in_their_places() -> None:
    """WIRE, wrong 1: with the line's own ending, and with its number for who is interested."""
    rejections: list[tuple[int, str]] = []
    session = Session(
        NumberedInBlocks(), on_rejected=lambda line, why: rejections.append((line, str(why)))
    )
    session.receive(b"a\n")
    error = b"!error: got b'%b', expected a line without x; this line is skipped, %b"
    goes_on = b"the connection goes on"
    assert session.receive(b"x1\nb\nx2\r\nx3\nc\n") == (
        b"x1\n%b\nb\n2 b\nx2\r\n%b\r\nx3\n%b\nc\n3 c\n"
        % tuple(error % (line, goes_on) for line in (b"x1", b"x2", b"x3"))
    )
    assert rejections == [
        (number, f"got b'{line}', expected a line without x")
        for number, line in ((2, "x1"), (4, "x2"), (5, "x3"))
    ]
    assert (session.lines, session.rejected, session.closed) == (6, 3, None)


def test_blocks_are_cut_into_pieces_where_lines_end() -> None:
    long = b"a" * 20_000 + b"\n"
    text = b"b" * 99 + b"\n"
    cipher = NumberedInBlocks()
    sent = answers(Session(cipher, reply=ReplyMode.CIPHER), [text * 200 + long + text * 3 + long])
    assert len(sent.splitlines()) == 205
    # 163 lines of 100 bytes are just below 16 KiB, and a line above them comes alone.
    assert cipher.blocks == [text * 163, text * 37, text * 3]


def test_blocks_are_answered_in_turns_like_lines() -> None:
    """WIRE, lines 6: "bounded memory", and bounded time."""
    session = Session(NumberedInBlocks())
    pieces = [session.receive(b"\n" * 5000)]
    while session.has_more:
        pieces.append(session.resume())
    assert [piece.count(b"\n") // 2 for piece in pieces] == [2048, 2048, 5000 - 4096]
    assert b"".join(pieces) == b"".join(b"\n%d \n" % number for number in range(1, 5001))


def test_long_codes_of_blocks_are_answered_in_bounded_pieces() -> None:
    """WIRE, lines 6: "bounded memory", also for lines of one byte that become 4 KB."""
    session = Session(FaultyInBlocks(lambda text: (text.replace(b"!", b"." * 4000), {})))
    pieces = [session.receive((b"!" + b"a" * 98 + b"\n") * 600)]
    while session.has_more:
        pieces.append(session.resume())
    assert b"".join(pieces).count(b"\n") == 1200
    # 163 lines are a piece, and two pieces are more than a mebibyte.
    assert [piece.count(b"\n") // 2 for piece in pieces] == [326, 274]


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        (ReplyMode.BOTH, b"a\r\n!error: %b\r\n"),
        (ReplyMode.CIPHER, b"!error: %b\r\n"),
        (ReplyMode.FILTER, b""),
    ],
)
def test_a_failure_at_a_block_is_told_after_the_echo_of_its_first_line(
    reply: ReplyMode, sent: bytes
) -> None:
    """WIRE, wrong 2: which of the lines it was, nobody knows."""

    def panicking(_: bytes) -> Any:
        raise Panic("unreachable")

    session = Session(FaultyInBlocks(panicking), reply=reply)
    answers(session, [b"one\n"])
    message = b"the cipher failed on one of these 3 lines (Panic); closing the connection"
    assert answers(session, [b"a\r\nb\n!\n", b"c\nd\n"]) == sent.replace(b"%b", message)
    assert session.closed is Closed.CIPHER_FAILED
    assert isinstance(session.failure, Panic)
    assert (session.lines, session.rejected) == (2, 0)
    assert not session.has_more


def test_a_failure_at_one_line_is_that_line_s() -> None:
    session = Session(FaultyInBlocks(lambda _: None))
    assert answers(session, [b"!\n"]) == (
        b"!\n!error: the cipher failed on this line (TypeError); closing the connection\n"
    )


def test_pieces_before_one_that_fails_are_answered() -> None:
    """WIRE, wrong 2."""
    line = b"a" * 99 + b"\n"
    session = Session(FaultyInBlocks(lambda _: (b"", {})))
    sent = session.receive(line * 164 + b"!\n")
    assert masked(sent) == line * 327 + b"!error: ?\n"
    assert isinstance(session.failure, CodingError)


@given(
    DATA, st.integers(1, 300), st.sampled_from(ReplyMode), LIMITS, st.sampled_from([1000, 65_536])
)
def test_many_lines_in_blocks_are_answered_like_one_by_one(
    data: bytes, times: int, reply: ReplyMode, max_line: int | None, cut: int
) -> None:
    """More lines and more bytes than there are in a piece, with rejections and every ending."""
    text = data * times
    chunks = [text[i : i + cut] for i in range(0, len(text), cut)]

    def outcome(cipher: Any) -> object:
        heard = []
        session = Session(
            cipher,
            reply=reply,
            max_line=max_line,
            on_rejected=lambda line, why: heard.append((line, str(why))),
        )
        sent = conversation(session, *chunks)
        return sent, heard, session.closed, session.lines, session.rejected

    assert outcome(NumberedInBlocks()) == outcome(NumberedPicky())


class FaultyInStretches(Faulty):
    """Fails at whatever holds a `!`, be it a line or many at once."""

    stretches = True


@given(DATA, st.integers(1, 300), st.sampled_from(ReplyMode), LIMITS, st.integers(1, 70_000))
@example(b"a\nb\r\n!\nc\n", 1, ReplyMode.BOTH, MAX_LINE, 100)
def test_a_stretch_that_fails_in_the_middle_is_answered_up_to_the_line_that_it_is_about(
    data: bytes, times: int, reply: ReplyMode, max_line: int | None, cut: int
) -> None:
    """WIRE, wrong 2: as if the lines had come one by one."""
    text = (b"a\n" * 50 + data) * times
    chunks = [text[i : i + cut] for i in range(0, len(text), cut)]
    failing = RAISING["what is no Exception"].fault
    one_by_one = Session(Faulty(failing), reply=reply, max_line=max_line)
    session = Session(FaultyInStretches(failing), reply=reply, max_line=max_line)
    assert conversation(session, *chunks) == conversation(one_by_one, *chunks)
    assert session.closed is one_by_one.closed
    assert (session.lines, session.rejected) == (one_by_one.lines, one_by_one.rejected)


@given(DATA, st.integers(1, 300), LIMITS, st.integers(1, 70_000))
@example(b"a\nb\r\n!\nc\n", 1, MAX_LINE, 100)
def test_a_block_that_fails_in_the_middle_is_the_end_of_its_answers(
    data: bytes, times: int, max_line: int | None, cut: int
) -> None:
    """WIRE, wrong: what comes before it is answered, of it the first line alone, and none after."""
    text = (b"a\n" * 50 + data) * times
    chunks = [text[i : i + cut] for i in range(0, len(text), cut)]

    def fault(_: bytes) -> Any:
        raise Panic("unreachable")

    one_by_one = Session(Faulty(fault), max_line=max_line)
    session = Session(FaultyInBlocks(fault), max_line=max_line)
    expected, sent = conversation(one_by_one, *chunks), conversation(session, *chunks)
    assert session.closed is one_by_one.closed
    if session.closed is not Closed.CIPHER_FAILED:
        assert sent == expected
        return
    answered = 2 * (session.lines - 1)
    lines = io.BytesIO(sent).readlines()
    assert lines[:answered] == io.BytesIO(expected).readlines()[:answered]
    echo, error = lines[answered:]
    assert echo == io.BytesIO(text + b"\n").readlines()[session.lines - 1]
    assert re.fullmatch(
        rb"!error: the cipher failed on (this line|one of these \d+ lines) \(Panic\); "
        rb"closing the connection\r?\n",
        error,
    )


# Closed by the server.


def test_the_server_closes_with_one_error_line() -> None:
    """WIRE, wrong 5: the idle time, for one."""
    session = Session(Rot13())
    session.receive(b"begun")
    assert session.close("got nothing for 60 s, expected a line within that time") == (
        b"!error: got nothing for 60 s, expected a line within that time; closing the connection\n"
    )
    assert session.closed is Closed.BY_SERVER
    assert not session.has_begun_line
    assert session.close("again") == session.receive(b"a\n") == session.end() == b""


def test_the_server_closes_without_the_lines_that_wait() -> None:
    session = Session(Picky())
    session.receive(b"\n" * 3000)
    assert session.has_more
    session.close("got a signal, expected none")
    assert not session.has_more
    assert session.resume() == b""


# Error lines.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("got a\nforged line", r"got a\nforged line"),
        ("got a\r\nb", r"got a\r\nb"),
        ("got \x1b[31mred", r"got \x1b[31mred"),
        ("got \x00, \x07 and \x7f", r"got \x00, \x07 and \x7f"),
        ("got \x9b31m", r"got \x9b31m"),
        ("got \u202eright to left", r"got \u202eright to left"),
        ("got \u2028 and \u2029", r"got \u2028 and \u2029"),
        ("got \udcff", r"got \udcff"),
        ("got Größe", "got Größe"),
    ],
)
def test_an_error_line_is_one_printable_line(text: str, shown: str) -> None:
    """WIRE, wrong: whatever the cipher's message holds."""

    def rejected(_: bytes) -> bytes:
        raise InputError(text)

    session = Session(Faulty(rejected), reply=ReplyMode.CIPHER)
    assert answers(session, [b"!\n"]).decode() == (
        f"!error: {shown}; this line is skipped, the connection goes on\n"
    )


def test_a_long_message_is_cut_and_still_says_what_happens_next() -> None:
    """WIRE, wrong: "what was given, what was expected, and what happens next"."""

    def rejected(body: bytes) -> bytes:
        raise InputError("a\x1b" * 3000)

    (sent,) = answers(Session(Faulty(rejected), reply=ReplyMode.CIPHER), [b"!\n"]).splitlines(True)
    assert sent.startswith(rb"!error: a\x1ba\x1b")
    assert sent.endswith("…; this line is skipped, the connection goes on\n".encode())
    assert len(sent) < 400

    sent = Session(Rot13()).close("a" * 10_000)
    assert sent.endswith("…; closing the connection\n".encode())
    assert len(sent) < 400


def test_an_error_line_has_the_ending_that_it_is_given() -> None:
    assert error_line("the server is full", b"\r\n") == b"!error: the server is full\r\n"


# Chunking never matters, and the whole contract again, slowly.


@st.composite
def cut_data(draw: st.DrawFn) -> list[bytes]:
    data = draw(DATA)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("name", CIPHERS)
@given(
    chunks=cut_data(),
    reply=st.sampled_from(ReplyMode),
    reset=st.sampled_from(StateScope),
    max_line=LIMITS,
)
def test_any_bytes_cut_anywhere_are_answered_as_the_contract_says(
    name: str, chunks: list[bytes], reply: ReplyMode, reset: StateScope, max_line: int | None
) -> None:
    """WIRE, all of it; lines 4: whole, byte by byte, or split, also between CR and LF."""
    check_conversation(CIPHERS[name], chunks, reply, reset, max_line)


@given(chunks=cut_data(), name=st.sampled_from(sorted(CIPHERS)), max_line=LIMITS)
@settings(max_examples=3 * settings().max_examples)
def test_every_line_is_answered_by_two_with_its_own_ending(
    chunks: list[bytes], name: str, max_line: int | None
) -> None:
    """WIRE, lines 2 and 3: no cipher can add a line, or turn its LF into a CRLF."""
    session = Session(chain(CIPHERS[name]), max_line=max_line)
    data = b"".join(chunks)
    sent = io.BytesIO(conversation(session, *chunks)).readlines()
    if session.closed is Closed.LINE_TOO_LONG:
        assert sent.pop().startswith(b"!error: ")
    assert len(sent) == 2 * session.lines
    came = io.BytesIO(data if data.endswith(b"\n") else data + b"\n").readlines()
    for line, echo, coded in zip(came, sent[::2], sent[1::2], strict=False):
        assert echo == line
        assert coded.endswith(b"\r\n") == line.endswith(b"\r\n")
        assert coded.startswith(b"!error: ") or coded.count(b"\r") <= line.count(b"\r")
