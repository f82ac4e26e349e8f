"""Over HTTP, for whoever watches a server: its metrics, whether it lives, and whether it is ready.

A request is answered by the event loop that serves the clients too, which is the point of
``/livez``: if the loop is stuck, there is no answer, and that is what a probe acts on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import h11
import trio

from cipherecho.connection_task import close_gently
from cipherecho.endpoint import Endpoint
from cipherecho.listeners import Listener, endpoint_of, transport_of
from cipherecho.metrics import Metrics, Watched
from cipherecho.printable import printable

__all__ = ["answer", "serve_metrics"]

log = logging.getLogger("cipherecho")

# So many clients are answered at once; those after them wait in the backlog. A server has
# few that watch it, and they don't come often: every 15 s or so.
_MOST_CLIENTS = 32

# A client is given so long for all of it. (Prometheus gives us 10 s too, and a Kubernetes
# probe 1 s.)
_SECONDS = 10.0

# The longest request, up to its body, which nobody reads. (Prometheus sends half a KiB.)
_MOST_BYTES = 8192

# When the system lets us accept nothing, that is tried again after so long.
_RETRY_SECONDS = 0.25


async def serve_metrics(
    listeners: Sequence[Listener],
    services: Mapping[str, Watched],
    *,
    ready: Callable[[], bool],
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ``/metrics``, ``/livez`` and ``/readyz`` until cancelled.

    Everybody who can connect is answered, and metrics take the event loop for 0.2 ms, or 2
    with 10,000 connections: listen where only those can connect who watch the server.

    Args:
      listeners: where they connect; whoever opened them closes them.  TLS is not spoken here.
      services: what is watched, by the name that it has in metrics; asked anew each time.
      ready: returns whether new clients are welcome, so that a load balancer sends some.
      task_status: started with the endpoints of `listeners`, in their order, with the
        ports that the system picked.

    Raises:
      ExceptionGroup: a listener broke, of the error that says so.  What happens to a
        connection is never raised.
    """
    metrics = Metrics(services, ready)
    places = trio.Semaphore(_MOST_CLIENTS)

    async def serve_one(stream: trio.SocketStream) -> None:
        try:
            await answer(stream, metrics, ready)
        finally:
            await trio.aclose_forcefully(stream)
            places.release()

    async def accept(listener: trio.SocketListener) -> None:
        while True:
            await places.acquire()
            nursery.start_soon(serve_one, await _accepted(listener))

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept, transport_of(listener))
        task_status.started([endpoint_of(listener) for listener in listeners])


async def _accepted(listener: trio.SocketListener) -> trio.SocketStream:
    while True:
        try:
            return await listener.accept()
        except OSError:
            # As a rule the system has run out of descriptors; but whatever it is, what only
            # watches a server must not end it.
            await trio.sleep(_RETRY_SECONDS)


async def answer(
    stream: trio.abc.HalfCloseableStream, metrics: Metrics, ready: Callable[[], bool]
) -> None:
    """Answer one request; what the client does is never raised.

    Returns within ten seconds, and the stream is still to be closed then.
    """
    with trio.move_on_after(_SECONDS):
        try:
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_BYTES)
            if response := await _response(stream, connection, metrics, ready):
                await stream.send_all(response)
                await close_gently(stream)
        except trio.BrokenResourceError:
            pass
        except Exception:
            log.exception("internal error on a request for metrics")


async def _response(
    stream: trio.abc.ReceiveStream,
    connection: h11.Connection,
    metrics: Metrics,
    ready: Callable[[], bool],
) -> bytes:
    """Return the response to the one request of a connection; none if that does not come."""
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_MOST_BYTES)))
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        return _encoded(connection, _Reply(f"{printable(str(error))}\n", status))
    if not isinstance(event, h11.Request):
        return b""
    reply = _reply(event, metrics, ready)
    return _encoded(connection, reply, without_body=event.method == b"HEAD")


@dataclass(frozen=True)
class _Reply:
    body: str | bytes
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = "text/plain; charset=utf-8"


def _reply(request: h11.Request, metrics: Metrics, ready: Callable[[], bool]) -> _Reply:
    """Return what is said to a request of any method for any path."""
    path = request.target.partition(b"?")[0]
    if path not in (b"/metrics", b"/livez", b"/readyz"):
        return _Reply("expected /metrics, /livez or /readyz\n", HTTPStatus.NOT_FOUND)
    if request.method not in (b"GET", b"HEAD"):
        return _Reply("expected GET or HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED)
    if path == b"/livez":
        return _Reply("alive\n")
    if path == b"/readyz":
        if ready():
            return _Reply("ready\n")
        return _Reply("draining\n", HTTPStatus.SERVICE_UNAVAILABLE)
    accept = b",".join(value for name, value in request.headers if name == b"accept")
    body, media_type = metrics.exposition(accept.decode("latin-1"))
    return _Reply(body, media_type=media_type)


def _encoded(connection: h11.Connection, reply: _Reply, *, without_body: bool = False) -> bytes:
    body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
    headers = [
        ("Content-Type", reply.media_type),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    head = connection.send(
        h11.Response(status_code=reply.status, reason=reply.status.phrase, headers=headers)
    )
    return (head or b"") + (b"" if without_body else body)
