"""Records of what can happen over and over."""

from __future__ import annotations

import pytest
import trio

from cipherecho.connections.log_throttle import FailureLog, LogThrottle


def _raise(error: BaseException) -> None:
    raise error


async def test_what_recurs_is_told_once_a_second_with_its_fields(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.abc.Clock
) -> None:
    seldom = LogThrottle()
    for _ in range(3):
        seldom.warn("full: %(most)d are served, 100%%", {"most": 5})
    await trio.sleep(1)
    seldom.warn("full: %(most)d are served, 100%%", {"most": 6})
    assert caplog.messages == [
        "full: 5 are served, 100%",
        "full: 6 are served, 100% (2 times more since the last such record)",
    ]
    assert [record.args for record in caplog.records] == [
        {"most": 5, "untold": 0},
        {"most": 6, "untold": 2},
    ]


async def test_a_cipher_that_fails_again_is_told_in_short(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = FailureLog("a cipher failed", "it failed again").report
    for _ in range(2):
        try:
            _raise(ValueError("100%s"))
        except ValueError as failure:
            report(failure)
            line = _raise.__code__.co_firstlineno + 1
    assert caplog.messages == [
        "a cipher failed",
        f"it failed again, as above: ValueError at {__file__}:{line}",
    ]
    first, again = caplog.records
    assert first.exc_info
    assert again.exc_info is None
    assert again.args == {"error": "ValueError", "file": __file__, "line": line, "untold": 0}
