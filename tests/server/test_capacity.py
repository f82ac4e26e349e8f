"""How many connections the process's descriptors allow."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cipherecho.server import capacity
from cipherecho.server.capacity import MOST_REFUSALS, Capacity


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Have so many be left for connections, and allow more if the limit is raised."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = capacity._open_now() + capacity._SPARE
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + left, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_each_server_has_what_it_wants_if_there_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    with descriptors(left=30 + 2 * MOST_REFUSALS):
        shared = Capacity([10, 20])
    assert [shared.share(10), shared.share(20)] == [10, 20]
    assert not caplog.messages


def test_a_server_by_itself_has_all_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    with descriptors(left=1000 + MOST_REFUSALS):
        assert Capacity([5000]).share(5000) == 1000
    assert caplog.messages == [
        "serving 1000 connections at once, not 5000: the limit of open files (ulimit -n) leaves "
        "no more"
    ]


def test_servers_have_the_same_share_of_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    with descriptors(left=(1000 + 2000) // 2):
        shared = Capacity([1000 - MOST_REFUSALS, 2000 - MOST_REFUSALS])
    first, second = shared.share(1000 - MOST_REFUSALS), shared.share(2000 - MOST_REFUSALS)
    assert (first, second) == (500 - MOST_REFUSALS, 1000 - MOST_REFUSALS)
    assert caplog.messages == [
        f"serving {first + second} connections at once, not {3000 - 2 * MOST_REFUSALS}: the limit "
        "of open files (ulimit -n) leaves no more"
    ]


def test_each_server_can_serve_one_client_at_least() -> None:
    with descriptors(left=0):
        assert Capacity([100]).share(100) == 1


def test_the_limit_is_raised_if_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with descriptors(left=0):
        before, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert Capacity([100], raise_limit=True).share(100) == 100
        after, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert after == before + 100 + MOST_REFUSALS
    assert not caplog.messages
