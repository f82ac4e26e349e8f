"""Turns the counters into metrics for Prometheus.

This counts nothing itself: it reads the counters when a client asks for metrics, so metrics cost
nothing per line.  Names and units follow the conventions of Prometheus
(https://prometheus.io/docs/practices/naming/).  No label distinguishes clients: otherwise strangers
could create any number of series.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cipherecho import __version__
from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters, Ended, Refused, Traffic

__all__ = ["Metrics", "Watched"]

_OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain"


@dataclass(frozen=True)
class Watched:
    """What the metrics need to know of a listener."""

    counters: Counters
    certificate_expires: Callable[[], float | None] | None = None
    """Returns when the certificate for new connections expires, in seconds since 1970; None
    without TLS."""


class Metrics:
    """The metrics of the listeners and of the process.

    Args:
      listeners: the listeners, by their names in the label ``listener``.
      ready: returns whether the server accepts new clients.
      failed: called with the exception when a number can't be read or written.
      records_lost: returns how many log records were lost.
      buffers: counts the memory that connections hold; without it, those metrics are left out.
    """

    def __init__(
        self,
        listeners: Mapping[str, Watched],
        ready: Callable[[], bool],
        failed: Callable[[Exception], None],
        records_lost: Callable[[], int] = lambda: 0,
        buffers: Buffers | None = None,
    ) -> None:
        self._failed = failed
        # Not in a registry of prometheus_client: one failing collector would fail all others there.
        self._collectors = [
            _Listeners(listeners, ready, failed, records_lost, buffers),
            ProcessCollector(registry=None),  # yields metrics only on Linux
        ]

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text of all metrics as they are now, and its media type.

        A metric that can't be read is left out.  Call this in the event loop's thread, which
        changes the counters: they are not thread-safe.

        Args:
          accept: the HTTP field ``Accept``.  A client that prefers OpenMetrics gets that; all
            others get the text format of Prometheus.
        """
        # Don't pass on `accept` itself: the media type would repeat its other parameters, and a
        # version that isn't a number would fail.
        known = f"{_OPENMETRICS}; version=1.0.0" if _prefers_openmetrics(accept) else ""
        encode, media_type = choose_encoder(known)
        end = encode(_One(None))
        texts = [self._written(encode, metric).removesuffix(end) for metric in self._collected()]
        return b"".join(texts) + end, media_type

    def _collected(self) -> Iterator[Metric]:
        for collector in self._collectors:
            try:
                yield from collector.collect()
            except Exception as failure:
                self._failed(failure)

    def _written(self, encode: Callable[[Collector], bytes], metric: Metric) -> bytes:
        try:
            return encode(_One(metric))
        except Exception as failure:
            self._failed(failure)
            return b""


class _One(Collector):
    """Collects one metric, or none."""

    def __init__(self, metric: Metric | None) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        if self._metric is not None:
            yield self._metric


# Quoted strings may contain commas and semicolons (RFC 9110, 5.6.4).  An unfinished one extends to
# the end of the field, so that matching takes linear time.
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"?', flags=re.DOTALL)


def _prefers_openmetrics(accept: str) -> bool:
    """Return whether a client prefers OpenMetrics to text (RFC 9110, 12.5.1).

    If both have the same weight, the more exactly named one wins, then the one named first.  A
    client that accepts neither gets text, which is more useful than an error.
    """
    ranges = [_range(text) for text in _QUOTED.sub("", accept).lower().split(",")]
    return _weight(_OPENMETRICS, ranges) > _weight(_TEXT, ranges)


def _range(text: str) -> tuple[str, float]:
    """Return a media range and its weight, which is 1 by default."""
    name, *parameters = [part.strip() for part in text.split(";")]
    weights = [part.partition("=")[2] for part in parameters if part.partition("=")[0] == "q"]
    if not weights:
        return name, 1
    # From 0 to 1, with at most three digits; a malformed weight counts as 0.
    return name, float(weights[0]) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", weights[0]) else 0


def _weight(form: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int, int]:
    """Return the weight of a media type, how exactly it is named, and how early."""
    exactness = {form: 3, form.partition("/")[0] + "/*": 2, "*/*": 1}
    # Only the most exact range counts: `text/*, text/plain;q=0` excludes plain text.
    exact, weight, place = max(
        (
            (exactness[name], weight, -place)
            for place, (name, weight) in enumerate(ranges)
            if name in exactness
        ),
        default=(0, 0.0, 0),
    )
    return (weight, exact, place) if weight else (0.0, 0, 0)


class _Listeners(Collector):
    """Collects metrics from counters; a number that can't be read is left out."""

    def __init__(
        self,
        listeners: Mapping[str, Watched],
        ready: Callable[[], bool],
        failed: Callable[[Exception], None],
        records_lost: Callable[[], int],
        buffers: Buffers | None,
    ) -> None:
        self._listeners = listeners
        self._ready = ready
        self._failed = failed
        self._records_lost = records_lost
        self._buffers = buffers

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "cipherecho_build_info",
            "The versions of cipherecho and of Python; the value is always 1.",
            labels=["version", "python_version"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        ready = GaugeMetricFamily(
            "cipherecho_ready",
            "1 if the server accepts new clients, 0 if it is draining or can't serve them.",
            labels=[],
        )
        lost = CounterMetricFamily(
            "cipherecho_log_records_lost", "Records that are missing from the log.", labels=[]
        )
        for family, value in ((ready, self._ready), (lost, self._records_lost)):
            try:
                family.add_metric([], value())
            except Exception as failure:
                self._failed(failure)
            yield family
        if self._buffers is not None:
            yield GaugeMetricFamily(
                "cipherecho_buffered_bytes",
                "Memory held by unfinished lines and unread replies, without connections that hold "
                "1 KiB or less.",
                self._buffers.bytes,
            )
            yield GaugeMetricFamily(
                "cipherecho_buffered_bytes_limit",
                "Limit of cipherecho_buffered_bytes; beyond it, the server closes the connections "
                "that hold most.",
                self._buffers.most,
            )
        states = {name: _State(watched) for name, watched in self._listeners.items()}
        for kind in _KINDS:
            yield self._family(kind, states)

    def _family(self, kind: _Kind, states: Mapping[str, _State]) -> Metric:
        labels = ["listener"] if kind.label is None else ["listener", kind.label]
        family = kind.family(f"cipherecho_{kind.name}", kind.what, labels=labels)
        for listener, state in states.items():
            try:
                value = kind.read(state)
            except Exception as failure:
                self._failed(failure)
                continue
            if isinstance(value, Mapping):
                for label, number in value.items():
                    family.add_metric([listener, str(label)], number)
            elif value is not None:
                family.add_metric([listener], value)
        return family


class _State:
    """A listener's state during one collection."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.counters = watched.counters

    @cached_property
    def traffic(self) -> Traffic:
        """The traffic of all connections; computing it asks every open connection."""
        return self.counters.traffic()

    def expires(self) -> float | None:
        """Return when its certificate expires, in seconds since 1970; None without TLS."""
        return self.watched.certificate_expires and self.watched.certificate_expires()


@dataclass(frozen=True)
class _Kind:
    """The description of a metric of a listener."""

    family: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    """The name after "cipherecho_"; the exposition adds "_total" to a counter's name."""
    what: str
    read: Callable[[_State], float | Mapping[Ended, int] | Mapping[Refused, int] | None]
    """Returns the value, or a value for each value of `label`; None if the listener has none."""
    label: str | None = None


_KINDS = (
    _Kind(
        GaugeMetricFamily,
        "connections_open",
        "Connections served now.",
        lambda of: of.counters.serving,
    ),
    _Kind(
        GaugeMetricFamily,
        "connections_limit",
        "The most connections served at once.",
        lambda of: of.counters.most,
    ),
    _Kind(
        CounterMetricFamily,
        "connections_accepted",
        "Accepted connections, including those refused later.",
        lambda of: of.counters.accepted,
    ),
    _Kind(
        CounterMetricFamily,
        "connections_refused",
        "Refused connections, by reason.",
        lambda of: of.counters.refused,
        "reason",
    ),
    _Kind(
        CounterMetricFamily,
        "connections_closed",
        "Served connections that have ended, by reason.",
        lambda of: of.counters.closed,
        "reason",
    ),
    _Kind(
        CounterMetricFamily,
        "connections_empty",
        "Served connections that have ended without a byte in either direction.",
        lambda of: of.counters.empty,
    ),
    _Kind(
        GaugeMetricFamily,
        "workers_written_off",
        "Worker threads that still code a line after its timeout.",
        lambda of: of.counters.workers_written_off,
    ),
    _Kind(
        CounterMetricFamily,
        "connection_seconds",
        "Total time that ended connections were open, in seconds.",
        lambda of: of.counters.seconds,
    ),
    _Kind(
        CounterMetricFamily,
        "lines",
        "Answered lines, including rejected ones.",
        lambda of: of.traffic.lines,
    ),
    _Kind(
        CounterMetricFamily,
        "lines_rejected",
        "Lines that the cipher rejected.",
        lambda of: of.traffic.rejected,
    ),
    _Kind(
        CounterMetricFamily,
        "received_bytes",
        "Bytes received from clients, without TLS's own.",
        lambda of: of.traffic.received,
    ),
    _Kind(
        CounterMetricFamily,
        "sent_bytes",
        "Bytes sent to clients, without TLS's own.",
        lambda of: of.traffic.sent,
    ),
    _Kind(
        GaugeMetricFamily,
        "tls_certificate_expiration_timestamp_seconds",
        "When the certificate for new connections expires, in seconds since 1970.",
        _State.expires,
    ),
)
