"""What those get that watch a server: over real sockets, and over streams in memory."""

from __future__ import annotations

import errno
import http.client
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair

from cipherecho.connections.counters import Counters
from cipherecho.host.metrics import Metrics, Watched
from cipherecho.host.monitoring import answer, serve_metrics
from cipherecho.network.listeners import open_listeners
from cipherecho.settings.endpoint import TcpEndpoint
from tests.helpers.running import PATIENCE, tool

COUNTERS = Counters()
COUNTERS.most = 9
LISTENERS = {"main": Watched(COUNTERS)}


def never(failure: Exception) -> None:
    """Report what is not expected to fail."""
    raise failure


METRICS = Metrics(LISTENERS, lambda: True, never)


@asynccontextmanager
async def watched(
    ready: Callable[[], bool] = lambda: True, services: dict[str, Watched] = LISTENERS
) -> AsyncIterator[TcpEndpoint]:
    """Serve on a free port; cancelled at the end, and after a while."""
    with trio.fail_after(PATIENCE):
        async with (
            open_listeners([TcpEndpoint("127.0.0.1", 0)]) as listeners,
            trio.open_nursery() as nursery,
        ):
            serve = partial(serve_metrics, listeners, services, ready=ready)
            [endpoint] = await nursery.start(serve)
            yield endpoint
            nursery.cancel_scope.cancel()


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


async def ask(
    endpoint: TcpEndpoint, path: str, method: str = "GET", body: bytes | None = None
) -> Response:
    """Return what the HTTP client of Python gets."""

    def ask_and_wait() -> Response:
        client = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=PATIENCE)
        try:
            client.request(method, path, body)
            response = client.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            client.close()

    return await trio.to_thread.run_sync(ask_and_wait)


async def test_metrics_are_served() -> None:
    async with watched() as endpoint:
        response = await ask(endpoint, "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert b'\ncipherecho_connections_limit{listener="main"} 9.0\n' in response.body


async def test_metrics_are_as_of_now() -> None:
    counters = Counters()
    async with watched(services={"main": Watched(counters)}) as endpoint:
        for number in range(3):
            counters.accepted = number
            response = await ask(endpoint, "/metrics")
            assert f'_accepted_total{{listener="main"}} {number}.0\n'.encode() in response.body


async def test_the_loop_lives_as_long_as_it_answers() -> None:
    async with watched(ready=lambda: False) as endpoint:
        response = await ask(endpoint, "/livez")
    assert (response.status, response.body) == (200, b"alive\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_server_without_a_worker_is_not_ready() -> None:
    services = {"one": Watched(Counters()), "two": Watched(Counters())}
    async with watched(services=services) as endpoint:
        services["two"].counters.no_worker_left = True
        response = await ask(endpoint, "/readyz")
        assert (response.status, response.body) == (503, b"no worker thread is left: two\n")
        assert b"\ncipherecho_ready 0.0\n" in (await ask(endpoint, "/metrics")).body
        services["two"].counters.no_worker_left = False
        assert (await ask(endpoint, "/readyz")).status == 200


async def test_a_server_that_drains_is_not_ready() -> None:
    ready = True
    async with watched(ready=lambda: ready) as endpoint:
        response = await ask(endpoint, "/readyz")
        assert (response.status, response.body) == (200, b"ready\n")
        ready = False
        response = await ask(endpoint, "/readyz?verbose")
        assert (response.status, response.body) == (503, b"draining\n")


@pytest.mark.parametrize(
    "path", ["/", "/metric", "/metrics/", "/readyz/x", "http://x", "HTTP://x/"]
)
async def test_another_path_is_told_which_there_are(path: str) -> None:
    async with watched() as endpoint:
        response = await ask(endpoint, path)
    assert (response.status, response.body) == (404, b"expected /metrics, /livez or /readyz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BREW"])
async def test_another_method_is_told_which_there_are(method: str) -> None:
    # More than sockets hold: it is discarded, so that the response is not lost to a reset.
    body = bytes(10_000_000) if method == "POST" else None
    async with watched() as endpoint:
        response = await ask(endpoint, "/metrics", method, body)
    assert (response.status, response.body) == (405, b"expected GET, HEAD or OPTIONS\n")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_curl_gets_the_same() -> None:
    curl = tool("curl")
    async with watched() as endpoint:
        url = f"http://{endpoint.host}:{endpoint.port}/readyz"
        done = await trio.run_process(
            [curl, "--silent", "--fail", "--noproxy", "*", "--max-time", str(PATIENCE), url],
            capture_stdout=True,
        )
    assert done.stdout == b"ready\n"


async def test_it_starts_with_where_it_listens() -> None:
    endpoints = [TcpEndpoint("127.0.0.1", 0)] * 2
    async with open_listeners(endpoints) as listeners, trio.open_nursery() as nursery:
        serve = partial(serve_metrics, listeners, {}, ready=lambda: True)
        for endpoint in await nursery.start(serve):
            assert endpoint.port != 0
            assert (await ask(endpoint, "/livez")).status == 200
        nursery.cancel_scope.cancel()


# Requests in memory.


async def reply(*chunks: bytes) -> bytes:
    """Return what is sent to a client that sends `chunks`, each received by itself."""
    client, server = lockstep_stream_pair()
    received = bytearray()

    async def send() -> None:
        with suppress(trio.BrokenResourceError):  # it was answered before it had sent all
            for chunk in chunks:
                await client.send_all(chunk)

    async def receive() -> None:
        async for data in client:
            received.extend(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
        await answer(server, METRICS, lambda: "")
        await server.aclose()
    return bytes(received)


READY = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
    b"ready\n"
)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /readyz HTTP/1.0\r\n\r\n",
        b"GET /readyz HTTP/1.1\nHost: x\n\n",
        b"GET /readyz?a=b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX: \xff\r\n\r\n",
    ],
)
async def test_any_chunking_gives_the_same(
    request_bytes: bytes, autojump_clock: trio.abc.Clock
) -> None:
    assert await reply(request_bytes) == READY
    assert await reply(*(bytes([byte]) for byte in request_bytes)) == READY


async def test_head_gets_no_body(autojump_clock: trio.abc.Clock) -> None:
    for path, length in ((b"/readyz", 6), (b"/nothing", 37)):
        text = await reply(b"HEAD " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert f"Content-Length: {length}\r\n".encode() in text
        assert text.endswith(b"\r\n\r\n")


# The forms that a target has (RFC 9112, 3.2).
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://127.0.0.1:9113/livez", 200),
        (b"GET HTTP://user@[::1]/livez?verbose", 200),
        (b"GET https://x/livez", 200),
        (b"HEAD http:///livez", 200),
        (b"GET http://x?/livez", 404),
        (b"GET http://x/http://x/livez", 404),
        (b"GET ftp://x/livez", 400),
        (b"GET livez", 400),
        (b"GET x:9113", 400),
        (b"GET *", 400),
        (b"CONNECT x:9113", 405),
        (b"OPTIONS *", 200),
        (b"OPTIONS /livez", 200),
        (b"OPTIONS /nothing", 404),
    ],
)
async def test_a_target_in_any_form_is_answered(
    line: bytes, status: int, autojump_clock: trio.abc.Clock
) -> None:
    text = await reply(line + b" HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
    assert text.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nAllow: GET, HEAD, OPTIONS\r\n" in text) == (
        status == 405 or (line.startswith(b"OPTIONS") and status == 200)
    )


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\r\n\r\nhello?\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"GET /" + b"x" * 9000, 431),
        (b"GET / HTTP/1.1\r\n" + b"Field: x\r\n" * 900, 431),
    ],
)
async def test_what_is_no_request_is_told_so(
    garbage: bytes, status: int, autojump_clock: trio.abc.Clock
) -> None:
    text = await reply(garbage)
    assert text.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in text


@pytest.mark.parametrize("begun", [b"", b"GET", b"GET /livez HTTP/1.1\r\nHost: x\r\n"])
async def test_one_that_goes_away_is_told_nothing_more(begun: bytes) -> None:
    client, server = memory_stream_pair()
    await client.send_all(begun)
    await client.aclose()
    with trio.fail_after(PATIENCE):
        await answer(server, METRICS, lambda: "")


@pytest.mark.parametrize("seconds_between_bytes", [1, 9, 100])
async def test_a_slow_request_is_bounded_in_time(
    seconds_between_bytes: float, autojump_clock: trio.abc.Clock
) -> None:
    client, server = memory_stream_pair()

    async def dribble() -> None:
        while True:
            await client.send_all(b"G")
            await trio.sleep(seconds_between_bytes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        begin = trio.current_time()
        await answer(server, METRICS, lambda: "")
        assert trio.current_time() - begin == pytest.approx(10)
        nursery.cancel_scope.cancel()


async def test_one_that_does_not_read_is_bounded_in_time(autojump_clock: trio.abc.Clock) -> None:
    client, server = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        begin = trio.current_time()
        await answer(server, METRICS, lambda: "")
        assert trio.current_time() - begin == pytest.approx(10)


# Clients that do their worst, over real sockets.


async def test_a_reset_ends_nothing_else() -> None:
    async with watched() as endpoint:
        for begun in (b"", b"GET /", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.create_connection((endpoint.host, endpoint.port)) as client:
                client.sendall(begun)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert (await ask(endpoint, "/livez")).status == 200


async def test_of_more_than_32_the_one_silent_longest_goes() -> None:
    async with watched() as endpoint, AsyncExitStack() as stack:

        async def connect(data: bytes = b"") -> trio.SocketStream:
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
            await stream.send_all(data)
            return await stack.enter_async_context(stream)

        first = await connect()
        dribbling = await connect(b"GET /livez HTTP/1.0\r\n")
        silent = [await connect() for _ in range(30)]
        assert (await ask(endpoint, "/livez")).status == 200
        assert await first.receive_some() == b""
        # A byte more is no request: who keeps on sending such keeps no place by it.
        await dribbling.send_all(b"X")
        begin = trio.current_time()
        for _ in range(100):
            assert (await ask(endpoint, "/readyz")).status == 200
            silent.append(await connect())
        assert trio.current_time() - begin < 5  # whatever the machine does; 0.2 as a rule
        with suppress(trio.BrokenResourceError):
            assert await dribbling.receive_some() == b""
        with trio.move_on_after(0.1) as waiting:
            await silent[-1].receive_some()
        assert waiting.cancelled_caught


async def test_one_that_is_alone_keeps_its_place_before_a_source_that_has_many() -> None:
    async with watched() as endpoint, AsyncExitStack() as stack:

        async def connect(source: str) -> trio.SocketStream:
            client = await trio.open_tcp_stream(endpoint.host, endpoint.port, local_address=source)
            return await stack.enter_async_context(client)

        slow = await connect("127.0.0.2")
        for _ in range(100):
            await connect("127.0.0.1")
        await slow.send_all(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await slow.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_one_that_takes_its_response_is_not_silent() -> None:
    services = {"x" * 1000 + str(number): Watched(COUNTERS) for number in range(300)}
    async with watched(services=services) as endpoint, AsyncExitStack() as stack:
        reader = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        async with reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            for _ in range(20):
                silent = await trio.open_tcp_stream(endpoint.host, endpoint.port)
                await stack.enter_async_context(silent)
            await reader.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            response = await reader.receive_some(1)
            for _ in range(30):
                silent = await trio.open_tcp_stream(endpoint.host, endpoint.port)
                await stack.enter_async_context(silent)
            async for data in reader:
                response += data
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head


async def test_it_goes_on_once_the_system_has_descriptors_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with watched() as endpoint:
        client = trio.SocketStream(trio.socket.socket())
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_one = os.dup(0)
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, limits[1]))
        try:
            await client.socket.connect((endpoint.host, endpoint.port))
            await client.send_all(b"GET /livez HTTP/1.0\r\n\r\n")
            await trio.sleep(0.1)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
            assert trio.current_time() >= 0.25
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await client.aclose()


class Nobody(BaseException):
    """What nobody thought of."""


FAULTS = [MemoryError(), OSError(errno.EIO, "no luck"), Nobody()]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_a_fault_of_ours_is_logged_and_ends_one_connection(
    fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise fault

    async with watched(fail) as endpoint:
        before = descriptors()
        for _ in range(40):  # more than there are places
            with pytest.raises(http.client.RemoteDisconnected):
                await ask(endpoint, "/readyz")
        assert (await ask(endpoint, "/livez")).status == 200
        while descriptors() > before:  # until the last one's end is noticed
            await trio.sleep(0.01)
    assert caplog.messages[0] == "internal error on a request for metrics"
    # The others are told of once a second.
    assert caplog.messages[1].startswith("internal error again on a request for metrics, as above")
    assert [bool(record.exc_info) for record in caplog.records].count(True) == 1


def descriptors() -> int:
    """Return how many this process has."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


async def test_metrics_that_fail_are_left_out_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def expires() -> float:
        raise ZeroDivisionError

    async with watched(services={"main": Watched(COUNTERS, expires)}) as endpoint:
        for _ in range(3):
            response = await ask(endpoint, "/metrics")
            assert response.status == 200
            assert b'\ncipherecho_connections_limit{listener="main"} 9.0\n' in response.body
            assert b"expiration_timestamp_seconds{" not in response.body
    first, *again = caplog.records
    assert first.exc_info
    assert len(again) == 1  # within a second


@pytest.mark.parametrize("fault", FAULTS[:2], ids=repr)
async def test_what_goes_wrong_in_accepting_is_told_and_tried_again(
    fault: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.abc.Clock,
) -> None:
    failures = 10

    def fail_at_first(listener: Any) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise fault
        return accept(listener)

    async with open_listeners([TcpEndpoint("127.0.0.1", 0)]) as listeners:
        accept = socket.socket.accept
        monkeypatch.setattr(socket.socket, "accept", fail_at_first)
        async with trio.open_nursery() as nursery:
            serve = partial(serve_metrics, listeners, {}, ready=lambda: True)
            [endpoint] = await nursery.start(serve)
            async with await trio.open_tcp_stream(endpoint.host, endpoint.port) as client:
                await client.send_all(b"GET /livez HTTP/1.0\r\n\r\n")
                assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
            nursery.cancel_scope.cancel()
    # Ten failures, a quarter of a second each.
    assert len(caplog.messages) == 3
    assert caplog.messages[0].startswith("can't accept requests for metrics for now: ")
