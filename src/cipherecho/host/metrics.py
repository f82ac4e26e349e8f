"""The counters, as Prometheus reads them.

Nothing is counted here: the numbers are taken from the counters when somebody asks for them,
so that they cost nothing per line.  Names and units are by the conventions of Prometheus
(https://prometheus.io/docs/practices/naming/), and no label tells one client from another:
each would be a series that a stranger can make at will.
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
    """A listener, as far as its metrics go."""

    counters: Counters
    certificate_expires: Callable[[], float | None] | None = None
    """Returns when the certificate that new connections get expires, in seconds since 1970;
    None without TLS."""


class Metrics:
    """The numbers of some listeners and of the process.

    Args:
      listeners: what is watched, by the name that it has in the label ``listener``.
      ready: returns whether new clients are welcome.
      failed: called with what was raised when a number was asked for, or written.
      records_lost: returns how many records did not get into the log.
      buffers: what connections hold in memory; not told if None.
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
        # To no registry of theirs: one collector that raises would take all others with it.
        self._collectors = [
            _Listeners(listeners, ready, failed, records_lost, buffers),
            ProcessCollector(registry=None),  # it has nothing to say but on Linux
        ]

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all numbers as they are now, and the media type of that text.

        A number that can't be had is left out.  To be called where the counters are changed:
        they are not protected from threads.

        Args:
          accept: the forms that the reader takes, as in the HTTP field ``Accept``: it gets
            OpenMetrics if it likes that better, and else the text format of Prometheus.
        """
        # Not as it came: what it has beside that would be repeated in the media type, and a
        # version that is no number is not understood.
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
    """A metric by itself, or none."""

    def __init__(self, metric: Metric | None) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        if self._metric is not None:
            yield self._metric


# What may have a comma or a semicolon in it (RFC 9110, 5.6.4). One that does not end goes to the
# end of the field, so that this takes time linear in its length.
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"?', flags=re.DOTALL)


def _prefers_openmetrics(accept: str) -> bool:
    """Return whether a reader would rather have OpenMetrics than text (RFC 9110, 12.5.1).

    Where it likes both as well, it gets what it names more exactly, and then what it names
    first.  What is in neither of the two forms gets text, since that is of more use than an error.
    """
    ranges = [_range(text) for text in _QUOTED.sub("", accept).lower().split(",")]
    return _weight(_OPENMETRICS, ranges) > _weight(_TEXT, ranges)


def _range(text: str) -> tuple[str, float]:
    """Return a media range and its weight, which is 1 if nothing is said of it."""
    name, *parameters = [part.strip() for part in text.split(";")]
    weights = [part.partition("=")[2] for part in parameters if part.partition("=")[0] == "q"]
    if not weights:
        return name, 1
    # 0 to 1, with three digits at most; what is no number is not liked.
    return name, float(weights[0]) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", weights[0]) else 0


def _weight(form: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int, int]:
    """Return how much a form is liked, how exactly it is named, and how early."""
    exactness = {form: 3, form.partition("/")[0] + "/*": 2, "*/*": 1}
    # The most exact range counts alone: `text/*, text/plain;q=0` takes no plain text.
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
    """Makes metrics of counters; a number that can't be had is left out."""

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
            "The version of cipherecho and of Python; the value is always 1.",
            labels=["version", "python_version"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        ready = GaugeMetricFamily(
            "cipherecho_ready",
            "1 if new clients are welcome, 0 if the server drains or can't serve them.",
            labels=[],
        )
        lost = CounterMetricFamily(
            "cipherecho_log_records_lost", "Records that did not get into the log.", labels=[]
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
                "What the connections of the process hold in memory now, where one holds more than "
                "a KiB: lines without an end, replies that are not taken.",
                self._buffers.bytes,
            )
            yield GaugeMetricFamily(
                "cipherecho_buffered_bytes_limit",
                "What they may hold; beyond it, those are closed that hold most.",
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
    """A listener as it is when somebody asks."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.counters = watched.counters

    @cached_property
    def traffic(self) -> Traffic:
        """What went through all connections, for which each that is open is asked."""
        return self.counters.traffic()

    def expires(self) -> float | None:
        """Return when its certificate expires; None if it has none."""
        return self.watched.certificate_expires and self.watched.certificate_expires()


@dataclass(frozen=True)
class _Kind:
    """A metric that each listener has."""

    family: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    """What stands after "cipherecho" and a "_"; a counter's has "_total" at its end when read."""
    what: str
    read: Callable[[_State], float | Mapping[Ended, int] | Mapping[Refused, int] | None]
    """Returns its value, or one for each value of `label`; None if the listener has none."""
    label: str | None = None


_KINDS = (
    _Kind(
        GaugeMetricFamily,
        "connections_open",
        "Connections that are served now.",
        lambda of: of.counters.serving,
    ),
    _Kind(
        GaugeMetricFamily,
        "connections_limit",
        "Connections that are served at once, at the most.",
        lambda of: of.counters.most,
    ),
    _Kind(
        CounterMetricFamily,
        "connections_accepted",
        "Connections that were accepted, those refused included.",
        lambda of: of.counters.accepted,
    ),
    _Kind(
        CounterMetricFamily,
        "connections_refused",
        "Connections that were refused, by why.",
        lambda of: of.counters.refused,
        "reason",
    ),
    _Kind(
        CounterMetricFamily,
        "connections_closed",
        "Connections that were served and have ended, by why.",
        lambda of: of.counters.closed,
        "reason",
    ),
    _Kind(
        CounterMetricFamily,
        "connections_empty",
        "Connections that were served and have ended without a byte either way.",
        lambda of: of.counters.empty,
    ),
    _Kind(
        GaugeMetricFamily,
        "workers_written_off",
        "Worker threads that still code a line whose time was up.",
        lambda of: of.counters.workers_written_off,
    ),
    _Kind(
        CounterMetricFamily,
        "connection_seconds",
        "How long those that have ended were open, in seconds.",
        lambda of: of.counters.seconds,
    ),
    _Kind(
        CounterMetricFamily,
        "lines",
        "Lines that were answered, those rejected included.",
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
        "Bytes from clients, without those of TLS.",
        lambda of: of.traffic.received,
    ),
    _Kind(
        CounterMetricFamily,
        "sent_bytes",
        "Bytes to clients, without those of TLS.",
        lambda of: of.traffic.sent,
    ),
    _Kind(
        GaugeMetricFamily,
        "tls_certificate_expiration_timestamp_seconds",
        "When the certificate that new clients get expires, in seconds since 1970.",
        _State.expires,
    ),
)
