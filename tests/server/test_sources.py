"""How many connections one source may have, and how often it may begin one."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from math import inf

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from cipherecho.network.sockets import peer_name
from cipherecho.server.sources import MOST_RECENT_SOURCES, Sources
from cipherecho.settings.addresses import source_named
from cipherecho.settings.limits import Limits

HERE = ("192.0.2.1", 4711)
THERE = ("192.0.2.2", 4711)


def rated(rate: float, burst: int) -> Sources:
    return Sources(Limits(accept_rate=rate, accept_burst=burst))


def admitted(sources: Sources, address: object, tries: int) -> int:
    """Return how many of so many connections at once are admitted."""
    return sum(sources.admit(address) is None for _ in range(tries))


# Whether there is anything to ask.


@pytest.mark.parametrize(
    ("limits", "limited"),
    [
        (Limits(), False),
        (Limits(accept_burst=1), False),
        (Limits(max_connections_per_source=10_000), True),
        (Limits(accept_rate=10_000), True),
    ],
)
def test_it_is_true_if_something_is_limited(limits: Limits, limited: bool) -> None:
    assert bool(Sources(limits)) is limited


async def test_nobody_is_refused_if_nothing_is_limited() -> None:
    assert admitted(Sources(Limits()), HERE, 1000) == 1000


# How many connections.


async def test_a_source_has_so_many_connections_and_no_more() -> None:
    sources = Sources(Limits(max_connections_per_source=2))
    assert sources.admit(HERE) is None
    assert sources.admit(HERE) is None
    assert sources.admit(HERE) == "source full"
    assert sources.admit(THERE) is None


async def test_a_connection_that_ends_makes_room_for_one() -> None:
    sources = Sources(Limits(max_connections_per_source=2))
    assert admitted(sources, HERE, 5) == 2  # the refused ones do not count
    sources.give_back(HERE)
    assert admitted(sources, HERE, 5) == 1
    sources.give_back(HERE)
    sources.give_back(HERE)
    assert admitted(sources, HERE, 5) == 2


# How often.


async def test_a_source_begins_a_burst_and_then_so_many_a_second(mock_clock: MockClock) -> None:
    sources = rated(rate=4, burst=3)
    assert admitted(sources, HERE, 10) == 3
    assert sources.admit(HERE) == "source rate"
    assert admitted(sources, THERE, 10) == 3
    for seconds, tokens in [(0.25, 1), (0.125, 0), (0.125, 1), (0.5, 2), (0.75, 3), (1000, 3)]:
        mock_clock.jump(seconds)
        assert admitted(sources, HERE, 10) == tokens


async def test_who_keeps_trying_gets_what_the_rate_gives(mock_clock: MockClock) -> None:
    sources = rated(rate=2, burst=1)
    began = 0
    for _ in range(64):  # 8 tries a second for 8 seconds, after the first
        began += sources.admit(HERE) is None
        mock_clock.jump(0.125)
    assert began == 16


@pytest.mark.parametrize("rate", [0.1, 0.3, 7, 1e6])
async def test_a_burst_is_whole_at_any_rate(rate: float, mock_clock: MockClock) -> None:
    mock_clock.jump(123_456.789)
    sources = rated(rate, burst=20)
    assert admitted(sources, HERE, 30) == 20


async def test_the_end_of_a_connection_gives_no_token_back(mock_clock: MockClock) -> None:
    sources = rated(rate=1, burst=1)
    assert sources.admit(HERE) is None
    sources.give_back(HERE)
    assert sources.admit(HERE) == "source rate"


async def test_a_source_that_is_full_loses_no_token(mock_clock: MockClock) -> None:
    sources = Sources(Limits(max_connections_per_source=1, accept_rate=1, accept_burst=2))
    assert [sources.admit(HERE) for _ in range(3)] == [None, "source full", "source full"]
    sources.give_back(HERE)
    assert sources.admit(HERE) is None
    sources.give_back(HERE)
    # Neither does one that is refused for its rate count as a connection.
    assert [sources.admit(HERE) for _ in range(2)] == ["source rate", "source rate"]
    mock_clock.jump(1)
    assert sources.admit(HERE) is None


# What a source is, by an address and by a name in the log.


def name_of(address: object) -> object:
    return source_named(peer_name(address))


@pytest.mark.parametrize(
    ("address", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2)),
        (("192.0.2.1", 1), ("::ffff:192.0.2.1", 2, 0, 0)),
        (("192.0.2.1", 1), ("::ffff:c000:201", 2)),
        (("2001:db8::1", 1), ("2001:db8::ffff:0:0:1", 2, 0, 0)),
        (("fe80::1", 1, 0, 2), ("fe80::2", 1, 0, 2)),
        ((3, 1), (3, 2)),
    ],
)
async def test_two_addresses_of_one_source(address: object, same: object) -> None:
    sources = Sources(Limits(max_connections_per_source=1))
    assert sources.admit(address) is None
    assert sources.admit(same) == "source full"
    sources.give_back(same)
    assert sources.admit(address) is None
    assert name_of(address) == name_of(same)


@pytest.mark.parametrize(
    ("address", "other"),
    [
        (("192.0.2.1", 1), ("192.0.2.2", 1)),
        (("2001:db8::1", 1), ("2001:db8:0:1::1", 1)),
        (("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 1, 0, 0)),
        (("::ffff:192.0.2.1", 1, 0, 0), ("::1", 1, 0, 0)),
        (("fe80::1", 1, 0, 2), ("fe80::1", 1, 0, 3)),
        ((3, 1), (4, 1)),
    ],
)
async def test_addresses_of_two_sources(address: object, other: object) -> None:
    sources = Sources(Limits(max_connections_per_source=1))
    assert sources.admit(address) is None
    assert sources.admit(other) is None
    assert name_of(address) != name_of(other)


@pytest.mark.parametrize("address", ["", "/run/client", b"\0abstract", "unix", None])
async def test_a_client_without_an_address_has_no_source(address: object) -> None:
    sources = Sources(Limits(max_connections_per_source=1, accept_rate=1, accept_burst=1))
    assert admitted(sources, address, 100) == 100
    for _ in range(100):
        sources.give_back(address)
    assert name_of(address) is None


# A flood from many addresses.


def address_of(number: int) -> tuple[str, int]:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 4711


async def test_a_flood_is_remembered_as_long_as_it_fits(mock_clock: MockClock) -> None:
    """A rate of a connection in three hours, so that nothing comes back in between."""
    sources = rated(rate=1e-4, burst=1)
    assert sources.admit(HERE) is None
    for number in range(MOST_RECENT_SOURCES - 1):
        assert sources.admit(address_of(number)) is None
    assert sources.admit(HERE) == "source rate"
    assert sources.admit(THERE) is None
    assert sources.admit(HERE) is None  # who came first of all was forgotten


async def test_a_flood_leaves_nothing_behind(mock_clock: MockClock) -> None:
    """Sources whose buckets are full again, and that have no connection, take no memory."""
    sources = Sources(Limits(max_connections_per_source=9, accept_rate=1, accept_burst=5))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            address = address_of(number)
            assert sources.admit(address) is None
            sources.give_back(address)
            mock_clock.jump(0.125)  # 8 sources in the second that a token takes
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000


# Against a model that remembers everything.


class Model:
    """Admits what keeps the rule for every time span up to now, of which it knows each."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: Counter[object] = Counter()
        self.began: dict[object, list[float]] = {}

    def admit(self, address: object, now: float) -> str | None:
        limits = self.limits
        began = self.began.setdefault(address, [])
        if self.open[address] >= limits.max_connections_per_source:
            return "source full"
        if limits.accept_rate < inf:
            for place, start in enumerate(began):
                number = len(began[place:]) + 1
                if number > limits.accept_burst + limits.accept_rate * (now - start):
                    return "source rate"
        began.append(now)
        self.open[address] += 1
        return None


@given(
    limits=st.builds(
        Limits,
        max_connections_per_source=st.integers(1, 4) | st.just(inf),
        accept_rate=st.sampled_from([0.125, 0.5, 2, inf]),
        accept_burst=st.integers(1, 4),
    ),
    acts=st.lists(
        st.tuples(st.sampled_from(["admit", "admit", "leave", "wait"]), st.integers(0, 3)),
        max_size=60,
    ),
)
def test_whatever_happens_the_rule_holds_for_every_time_span(
    limits: Limits, acts: list[tuple[str, int]]
) -> None:
    async def act() -> None:
        sources, model = Sources(limits), Model(limits)
        for what, number in acts:
            address = address_of(number)
            if what == "admit":
                assert sources.admit(address) == model.admit(address, trio.current_time())
            elif what == "wait":
                clock.jump(number / 4)
            elif model.open[address]:
                sources.give_back(address)
                model.open[address] -= 1

    clock = MockClock()
    trio.run(act, clock=clock)
