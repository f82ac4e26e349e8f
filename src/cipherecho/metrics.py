"""What a tally says, as Prometheus reads it.

Nothing is counted here: the numbers are taken from the tallies when somebody asks for them,
so that they cost nothing per line.  Names and units are by the conventions of Prometheus
(https://prometheus.io/docs/practices/naming/), and no label tells one client from another:
each would be a series that a stranger can make at will.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cipherecho import __version__
from cipherecho.tally import Tally

__all__ = ["Metrics", "Watched"]

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True)
class Watched:
    """A service, as far as its metrics go."""

    tally: Tally
    certificate_expires: Callable[[], float] | None = None
    """Returns when the certificate that new connections get expires, in seconds since 1970;
    None without TLS."""


class Metrics:
    """The numbers of some services and of the process.

    Args:
      services: what is watched, by the name that it has in the label ``service``.
      ready: returns whether new clients are welcome.
    """

    def __init__(self, services: Mapping[str, Watched], ready: Callable[[], bool]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Services(services, ready))
        ProcessCollector(registry=self._registry)  # it has nothing to say but on Linux

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all numbers as they are now, and the media type of that text.

        To be called where the tallies are counted: they are not protected from threads.

        Args:
          accept: the forms that the reader knows, as in the HTTP field ``Accept``:
            OpenMetrics if it is among them, and else the text format of Prometheus.
        """
        # Not as it came: what it has beside that would be repeated in the media type, and a
        # version that is no number is not understood.
        known = f"{_OPENMETRICS}; version=1.0.0" if _OPENMETRICS in accept else ""
        encode, media_type = choose_encoder(known)
        return encode(self._registry), media_type


class _Services(Collector):
    """Makes metrics of tallies."""

    def __init__(self, services: Mapping[str, Watched], ready: Callable[[], bool]) -> None:
        self._services = services
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "cipherecho_build_info",
            "The version of cipherecho and of Python; the value is always 1.",
            labels=["version", "python_version"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily(
            "cipherecho_ready",
            "1 if new clients are welcome, 0 if the server drains.",
            value=self._ready(),
        )
        families = _Families()
        for name, watched in self._services.items():
            families.add(name, watched)
        yield from vars(families).values()


class _Families:
    """The metrics of services, one attribute each."""

    def __init__(self) -> None:
        self.open = _gauge("connections_open", "Connections that are served now.")
        self.limit = _gauge(
            "connections_limit", "Connections that are served at once, at the most."
        )
        self.accepted = _counter(
            "connections_accepted", "Connections that were accepted, those refused included."
        )
        self.refused = _counter(
            "connections_refused", "Connections that were refused, by why.", "reason"
        )
        self.closed = _counter(
            "connections_closed", "Connections that were served and have ended, by why.", "reason"
        )
        self.seconds = _counter(
            "connection_seconds", "How long those that have ended were open, in seconds."
        )
        self.lines = _counter("lines", "Lines that were answered, those rejected included.")
        self.rejected = _counter("lines_rejected", "Lines that the cipher rejected.")
        self.received = _counter("received_bytes", "Bytes from clients, without those of TLS.")
        self.sent = _counter("sent_bytes", "Bytes to clients, without those of TLS.")
        self.expires = _gauge(
            "tls_certificate_expiration_timestamp_seconds",
            "When the certificate that new clients get expires, in seconds since 1970.",
        )

    def add(self, service: str, watched: Watched) -> None:
        """Add what is known of one service."""
        tally, traffic, label = watched.tally, watched.tally.traffic(), [service]
        self.open.add_metric(label, tally.serving)
        self.limit.add_metric(label, tally.most)
        self.accepted.add_metric(label, tally.accepted)
        for reason, number in tally.refused.items():
            self.refused.add_metric([service, reason], number)
        for reason, number in tally.closed.items():
            self.closed.add_metric([service, reason], number)
        self.seconds.add_metric(label, tally.seconds)
        self.lines.add_metric(label, traffic.lines)
        self.rejected.add_metric(label, traffic.rejected)
        self.received.add_metric(label, traffic.received)
        self.sent.add_metric(label, traffic.sent)
        if watched.certificate_expires is not None:
            self.expires.add_metric(label, watched.certificate_expires())


def _gauge(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cipherecho_{name}", what, labels=["service"])


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    # The text that is read has "_total" after the name.
    return CounterMetricFamily(f"cipherecho_{name}", what, labels=["service", *labels])
