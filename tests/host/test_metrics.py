"""What Prometheus reads of a server."""

from __future__ import annotations

import platform
import subprocess
import time
from dataclasses import dataclass

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from cipherecho import __version__
from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters, Ended, Refused, Traffic
from cipherecho.host.metrics import Metrics, Watched
from tests.helpers.running import PATIENCE, tool

# What Prometheus 3 asks for.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=1.0.0;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@dataclass
class Connection:
    """One that is open."""

    lines: int

    def add_to(self, traffic: Traffic) -> None:
        traffic.add(self.lines, 1, 26 * self.lines, 52 * self.lines)


def counters() -> Counters:
    """Return counters, each with another number."""
    made = Counters()
    made.serving = 2
    made.most = 1000
    made.accepted = 11
    made.refused = {Refused.FULL: 3, Refused.SOURCE_RATE: 4, Refused.SOURCE_FULL: 0}
    made.closed = {Ended.END_OF_INPUT: 5, Ended.IDLE: 1}
    made.empty = 4
    made.workers_written_off = 2
    made.seconds = 12.5
    made.ended.add(lines=100, rejected=7, received=2600, sent=5200)
    made.open = lambda: [Connection(10), Connection(20)]
    return made


def never(failure: Exception) -> None:
    """Report what is not expected to fail."""
    raise failure


def samples(metrics: Metrics) -> dict[str, float]:
    """Return all numbers of ours, by name and labels, as they are written."""
    text, _ = metrics.exposition()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.decode().splitlines())
        if name.startswith("cipherecho_")
    }


def test_every_counter_is_told() -> None:
    buffers = Buffers(2000)
    buffers.bytes = 1500
    watched = {"main": Watched(counters(), lambda: 1.8e9)}
    metrics = Metrics(watched, lambda: True, never, lambda: 3, buffers)
    python = platform.python_version()
    assert samples(metrics) == {
        f'cipherecho_build_info{{python_version="{python}",version="{__version__}"}}': 1,
        "cipherecho_ready": 1,
        "cipherecho_log_records_lost_total": 3,
        "cipherecho_buffered_bytes": 1500,
        "cipherecho_buffered_bytes_limit": 2000,
        'cipherecho_connections_open{listener="main"}': 2,
        'cipherecho_connections_limit{listener="main"}': 1000,
        'cipherecho_connections_accepted_total{listener="main"}': 11,
        'cipherecho_connections_refused_total{listener="main",reason="full"}': 3,
        'cipherecho_connections_refused_total{listener="main",reason="source rate"}': 4,
        # Nothing yet, and told: a rate needs a number to rise from.
        'cipherecho_connections_refused_total{listener="main",reason="source full"}': 0,
        'cipherecho_connections_closed_total{listener="main",reason="end of input"}': 5,
        'cipherecho_connections_closed_total{listener="main",reason="idle"}': 1,
        'cipherecho_connections_empty_total{listener="main"}': 4,
        'cipherecho_workers_written_off{listener="main"}': 2,
        'cipherecho_connection_seconds_total{listener="main"}': 12.5,
        # 100 of those that ended; 10 and 20 of those that are open, 1 rejected of each.
        'cipherecho_lines_total{listener="main"}': 130,
        'cipherecho_lines_rejected_total{listener="main"}': 9,
        'cipherecho_received_bytes_total{listener="main"}': 2600 + 26 * 30,
        'cipherecho_sent_bytes_total{listener="main"}': 5200 + 52 * 30,
        'cipherecho_tls_certificate_expiration_timestamp_seconds{listener="main"}': 1.8e9,
    }


def test_numbers_are_as_of_now() -> None:
    watched, ready = Watched(counters()), True
    metrics = Metrics({"main": watched}, lambda: ready, never)
    before = samples(metrics)
    watched.counters.accepted += 1
    watched.counters.closed[Ended.IDLE] += 1
    ready = False
    after = samples(metrics)
    assert dict(after.items() - before.items()) == {
        "cipherecho_ready": 0,
        'cipherecho_connections_accepted_total{listener="main"}': 12,
        'cipherecho_connections_closed_total{listener="main",reason="idle"}': 2,
    }


def test_listeners_are_told_apart_and_names_are_escaped() -> None:
    names = ["tcp://127.0.0.1:8013", 'quotes " and\nlines \\']
    metrics = Metrics({name: Watched(Counters()) for name in names}, lambda: True, never)
    text, _ = metrics.exposition()
    [lines] = [one for one in parse_text(text.decode()) if one.name == "cipherecho_lines"]
    assert [sample.labels for sample in lines.samples] == [{"listener": name} for name in names]


def test_no_bound_is_infinite_and_without_tls_nothing_expires() -> None:
    told = samples(Metrics({"main": Watched(Counters())}, lambda: True, never))
    assert told['cipherecho_connections_limit{listener="main"}'] == float("inf")
    assert not [name for name in told if "certificate" in name]


def test_the_process_is_told_of_too() -> None:
    content = "/proc/self/stat"
    text = Metrics({}, lambda: True, never).exposition()[0].decode()
    expected = {"cpu_seconds_total", "open_fds", "max_fds", "resident_memory_bytes"}
    try:
        open(content).close()  # noqa: PTH123
    except FileNotFoundError:
        pytest.skip(f"this machine does not have {content}, which this test needs")
    assert not {name for name in expected if f"\nprocess_{name} " not in text}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (ACCEPT, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=x\x00é", "application/openmetrics-text; version=1"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        # What a browser asks for.
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
        # Weights (RFC 9110, 12.4.2), of which 0 is "not acceptable".
        ("text/plain, application/openmetrics-text;q=0", "text/plain"),
        ("application/openmetrics-text;version=1.0.0;q=0.000,*/*", "text/plain"),
        ("application/openmetrics-text; q=0, application/*", "text/plain"),
        ("application/openmetrics-text;Q=0", "text/plain"),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.2", "text/plain"),
        ("text/plain;q=0.1,Application/OpenMetrics-Text;q=0.2", "application/openmetrics-text"),
        ("text/plain;q=0, */*;q=0.1", "application/openmetrics-text"),
        ("application/*", "application/openmetrics-text"),
        # As good as each other: the one that is named more exactly, then the one named first.
        ("*/*,application/openmetrics-text", "application/openmetrics-text"),
        ("text/plain,application/openmetrics-text", "text/plain"),
        ("application/openmetrics-text,text/plain", "application/openmetrics-text"),
        # Neither; that has its use for a person.
        ("text/html", "text/plain"),
        ("*/*;q=0", "text/plain"),
        # What is no weight, and what is only quoted.
        ("application/openmetrics-text;q=yes", "text/plain"),
        ("application/openmetrics-text;q=2", "text/plain"),
        ('text/x;a=";q=1,application/openmetrics-text"', "text/plain"),
        ('application/openmetrics-text;a="\\";q=0"', "application/openmetrics-text"),
        (",;,=,application/openmetrics-text;,", "application/openmetrics-text"),
    ],
)
def test_the_reader_has_the_form_that_it_asks_for(accept: str, media_type: str) -> None:
    metrics = Metrics({"main": Watched(counters(), lambda: 1.8e9)}, lambda: True, never)
    text, given = metrics.exposition(accept)
    assert given.startswith(media_type)
    assert given.isascii()
    openmetrics = given.startswith("application/openmetrics-text")
    families = (parse_openmetrics if openmetrics else parse_text)(text.decode())
    ours = {one.name: one.type for one in families if one.name.startswith("cipherecho_")}
    assert ours["cipherecho_connections_open"] == "gauge"
    assert ours["cipherecho_lines"] == "counter"
    assert len(ours) == 16


def test_a_long_field_takes_no_long_time() -> None:
    metrics = Metrics({}, lambda: True, never)
    begin = time.process_time()
    for hostile in (r"\"" * 4000, '"' * 8001, ";q=" * 2700, ",;" * 4000):
        metrics.exposition(hostile)
    assert time.process_time() - begin < 1


def test_a_number_that_can_not_be_had_is_left_out() -> None:
    def broken() -> float:
        raise ZeroDivisionError

    failures: list[Exception] = []
    all_counters = counters(), counters(), counters()
    all_counters[1].traffic = broken  # type: ignore[method-assign, assignment]
    all_counters[2].most = "many"  # type: ignore[assignment]
    listeners = {
        name: Watched(one, lambda: 1.8e9) for name, one in zip("abc", all_counters, strict=True)
    }
    whole = samples(Metrics({"a": listeners["a"]}, lambda: True, never))
    listeners["c"] = Watched(all_counters[2], broken)

    told = samples(Metrics(listeners, lambda: bool(broken()), failures.append))
    # The limits are one metric, which can't be written with such a number in it.
    lost = {"cipherecho_ready", 'cipherecho_connections_limit{listener="a"}'}
    assert whole.items() - told.items() == {(name, whole[name]) for name in lost}
    assert 'cipherecho_connections_open{listener="b"}' in told
    assert 'cipherecho_lines_total{listener="b"}' not in told
    assert 'cipherecho_sent_bytes_total{listener="c"}' in told
    # Readiness, "many", the four of traffic, and the certificate's.
    assert [type(failure) for failure in failures].count(ZeroDivisionError) == 6
    assert len(failures) == 7


def test_promtool_finds_nothing_to_complain_of() -> None:
    text, _ = Metrics(
        {"main": Watched(counters(), lambda: 1.8e9)}, lambda: True, never
    ).exposition()
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
