"""Serves ``/metrics``, ``/livez`` and ``/readyz`` over HTTP.

The event loop that serves clients also answers these requests.  That is the point of ``/livez``:
while the loop is stuck, a probe gets no answer, and can act on that.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import h11
import trio

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.log_throttle import FailureLog, LogThrottle
from cipherecho.host.metrics import Metrics, Watched
from cipherecho.network.listeners import ListeningSocket
from cipherecho.network.streams import close_gently
from cipherecho.printable import printable
from cipherecho.server.accepting import Acceptor
from cipherecho.settings.addresses import Source, source_of
from cipherecho.settings.endpoint import Endpoint

__all__ = ["answer", "serve_metrics"]

# The most HTTP clients at once.  A server has few monitors, and they connect only every 15 s or so.
_MOST_CLIENTS = 32

# How long a request and its response may take together.  (Prometheus waits 10 s too, and a
# Kubernetes probe 1 s.)
_SECONDS = 10.0

# The longest request, without its body, which is not read.  (Prometheus sends half a KiB.)
_MOST_BYTES = 8192

_PATHS = (b"/metrics", b"/livez", b"/readyz")
_METHODS = (b"GET", b"HEAD", b"OPTIONS")

# Scheme and authority of a target in absolute form, as sent to proxies (RFC 9112, 3.2.2).
_BEFORE_PATH = re.compile(rb"https?://[^/?#]*", flags=re.IGNORECASE)


async def serve_metrics(
    listeners: Sequence[ListeningSocket],
    watched: Mapping[str, Watched],
    *,
    ready: Callable[[], bool],
    records_lost: Callable[[], int] = lambda: 0,
    buffers: Buffers | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ``/metrics``, ``/livez`` and ``/readyz`` until cancelled.

    Every client that can connect gets an answer, and metrics take the event loop 0.2 ms, or 2 ms
    with 10,000 connections.  So listen where only monitors can connect.  There are 32 places.  When
    all are taken, a new client replaces another: of the source with the most clients, the one that
    has been silent longest.  So silent clients keep no other out.

    Errors of clients are never raised.  If accepting fails, that is logged and tried again:
    monitoring must not end the server.

    Args:
      listeners: the sockets that monitors connect to, without TLS.  The caller closes them.
      watched: the listeners to report on, by their names in metrics; read anew for each request.
      ready: returns whether the server accepts new clients, for load balancers.
      records_lost: returns how many log records were lost.
      buffers: counts the memory that all connections hold; without it, those metrics are left out.
      task_status: started with the endpoints of `listeners`, in the same order, with the
        ports that the system picked.
    """
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            watchers = _Watchers(nursery, watched, ready, records_lost, buffers)
            for listener in listeners:
                acceptor = Acceptor(listener, watchers.greet, watchers.cannot_accept)
                nursery.start_soon(stack.enter_context(closing(acceptor)).run)
            task_status.started([listener.endpoint for listener in listeners])


class _Watchers:
    """All connected HTTP clients; each has a task of its own."""

    def __init__(
        self,
        nursery: trio.Nursery,
        watched: Mapping[str, Watched],
        ready: Callable[[], bool],
        records_lost: Callable[[], int],
        buffers: Buffers | None,
    ) -> None:
        self._nursery = nursery
        self._throttle = LogThrottle()
        self._failures = FailureLog(
            "internal error on a request for metrics",
            "internal error again on a request for metrics",
        )
        self._watched = watched
        self._ready = ready
        self._metrics = Metrics(
            watched, lambda: not self._unready(), self._failures.report, records_lost, buffers
        )
        # The source of each client, in order: the one that has been silent longest comes first.
        self._clients: dict[trio.CancelScope, Source | None] = {}

    def _unready(self) -> str:
        """Return why the server accepts no new clients; empty if it does."""
        if not self._ready():
            return "draining"
        stuck = [name for name, one in self._watched.items() if one.counters.no_worker_left]
        return f"no worker thread is left: {', '.join(stuck)}" if stuck else ""

    def greet(self, client: socket.socket, address: object) -> None:
        """Serve a client that was just accepted; if all places are taken, drop another."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._serve, trio.socket.from_stdlib_socket(client), scope)
        if len(self._clients) >= _MOST_CLIENTS:
            self._drop_one()
        self._clients[scope] = source_of(address)

    def cannot_accept(self, problem: str) -> None:
        """Warn that accepting fails, at most once a second."""
        self._throttle.warn(
            "can't accept requests for metrics for now: %(problem)s", {"problem": problem}
        )

    def _drop_one(self) -> None:
        """Drop the longest silent client of the source with the most clients; send no response."""
        numbers = Counter(self._clients.values())
        most = max(numbers.values())
        scope = next(one for one, source in self._clients.items() if numbers[source] == most)
        del self._clients[scope]  # now, since its task ends some turns of the loop later
        scope.cancel()

    async def _serve(self, client: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        """Serve one client; this is the error boundary of its connection."""
        try:
            with scope:
                stream = trio.SocketStream(client)
                await answer(stream, self._metrics, self._unready, partial(self._heard, scope))
        except (trio.Cancelled, KeyboardInterrupt):
            raise
        except BaseException as failure:
            # If memory is too short for the record, do without it.
            with suppress(Exception):
                self._failures.report(failure)
        finally:
            self._clients.pop(scope, None)
            client.close()

    def _heard(self, scope: trio.CancelScope) -> None:
        """Move a client that has sent its request behind the silent ones."""
        if scope in self._clients:
            self._clients[scope] = self._clients.pop(scope)


async def answer(
    stream: trio.abc.HalfCloseableStream,
    metrics: Metrics,
    unready: Callable[[], str],
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Answer one request; errors of the client are never raised.

    Returns within ten seconds.  The caller closes the stream.

    Args:
      stream: the client's stream.
      metrics: the metrics for ``/metrics``.
      unready: returns the answer to ``/readyz``: why the server accepts no new clients, or an
        empty text if it does.
      heard: called when the whole request has arrived.
    """
    with trio.move_on_after(_SECONDS):
        try:
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_BYTES)
            if response := await _response(stream, connection, metrics, unready, heard):
                await stream.send_all(response)
                await close_gently(stream)
        except trio.BrokenResourceError:
            pass


async def _response(
    stream: trio.abc.ReceiveStream,
    connection: h11.Connection,
    metrics: Metrics,
    unready: Callable[[], str],
    heard: Callable[[], None],
) -> bytes:
    """Return the response to a connection's only request; empty if no request arrives."""
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_MOST_BYTES)))
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        return _encoded(connection, _Response(f"{printable(str(error))}\n", status))
    if not isinstance(event, h11.Request):
        return b""
    heard()
    response = _answer_to(event, metrics, unready)
    return _encoded(connection, response, without_body=event.method == b"HEAD")


@dataclass(frozen=True)
class _Response:
    body: str | bytes
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = "text/plain; charset=utf-8"
    tells_methods: bool = False


def _answer_to(request: h11.Request, metrics: Metrics, unready: Callable[[], str]) -> _Response:
    """Return the response to a request with any method and target."""
    authority = _BEFORE_PATH.match(request.target)
    path = request.target[authority.end() if authority else 0 :].partition(b"?")[0] or b"/"
    if request.method == b"OPTIONS" and (path in _PATHS or path == b"*"):
        return _Response("", tells_methods=True)
    if request.method == b"CONNECT" or (path in _PATHS and request.method not in _METHODS):
        return _Response(
            "expected GET, HEAD or OPTIONS\n", HTTPStatus.METHOD_NOT_ALLOWED, tells_methods=True
        )
    if path not in _PATHS:
        is_path = path.startswith(b"/")
        return _Response(
            "expected /metrics, /livez or /readyz\n",
            HTTPStatus.NOT_FOUND if is_path else HTTPStatus.BAD_REQUEST,
        )
    if path == b"/livez":
        return _Response("alive\n")
    if path == b"/readyz":
        if why := unready():
            return _Response(f"{why}\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return _Response("ready\n")
    accept = b",".join(value for name, value in request.headers if name == b"accept")
    body, media_type = metrics.exposition(accept.decode("latin-1"))
    return _Response(body, media_type=media_type)


def _encoded(
    connection: h11.Connection, response: _Response, *, without_body: bool = False
) -> bytes:
    body = response.body if isinstance(response.body, bytes) else response.body.encode()
    headers = [
        ("Content-Type", response.media_type),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if response.tells_methods:
        headers.append(("Allow", b", ".join(_METHODS).decode()))
    head = connection.send(
        h11.Response(status_code=response.status, reason=response.status.phrase, headers=headers)
    )
    return (head or b"") + (b"" if without_body else body)
