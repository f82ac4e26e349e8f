"""Makes every step of what is done for a client fail, one after the other (as SQLite's tests do).

A scenario is played again and again with a real server and real sockets, each time with another
step failing, until each that was ever seen has failed. A step is a call out of the code that works
for clients: to the system, to OpenSSL, to the cipher, to the log and to Trio, and what makes
bytes; one that is taken several times fails at each of the first few. After each, another client
has to be served, and nothing may be left over: no place, no descriptor, no task, and no more than
one traceback in the log.

    python3 -m tests.system.anomalies                  everything, some minutes
    python3 -m tests.system.anomalies --only TLS --verbose
"""

from __future__ import annotations

import argparse
import dis
import io
import logging
import os
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from types import CodeType, FrameType
from typing import Any

import trio

import cipherecho
from cipherecho.cipher import Cipher
from cipherecho.connections import express_lane
from cipherecho.connections.buffers import Buffers, least_buffered
from cipherecho.connections.counters import Counters
from cipherecho.host.metrics import Watched
from cipherecho.host.monitoring import serve_metrics
from cipherecho.host.plan import Plan
from cipherecho.host.process import Callbacks, _Process
from cipherecho.host.signals import Signals
from cipherecho.network.certificates import Certificates
from cipherecho.network.listeners import open_listeners
from cipherecho.rot13 import Rot13
from cipherecho.server import accepting, serve
from cipherecho.service_manager.notifications import ServiceManager
from cipherecho.settings.endpoint import Endpoint, TcpEndpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import Listener
from cipherecho.settings.process import ProcessSettings
from cipherecho.settings.tls import TlsSettings
from cipherecho.settings.trusted_proxies import TrustedProxies
from tests.helpers.certificates import Authority
from tests.helpers.ciphers import Picky
from tests.helpers.settled import check_settled

PATIENCE = 10.0

WATCHED = {
    "ciphers/coder",
    "ciphers/composition",
    "ciphers/lines",
    "ciphers/shapes",
    "connections/client",
    "connections/connection",
    "connections/connection_task",
    "connections/drivers",
    "connections/express_lane",
    "connections/log_throttle",
    "connections/offload/slow_ciphers",
    "connections/offload/turns",
    "connections/offload/workers",
    "host/metrics",
    "host/monitoring",
    "host/process",
    "network/certificates",
    "network/handshake",
    "network/proxy_protocol",
    "network/sockets",
    "network/streams",
    "network/tls_socket",
    "network/tls_stream",
    "network/x509",
    "server/accepting",
    "server/admission",
    "server/pending_handshakes",
    "server/serving",
    "server/sources",
    "server/welcome",
    "session",
    "settings/addresses",
    "settings/file_contents",
    "settings/trusted_proxies",
}
"""The modules that work for clients, and for the operator while clients are served."""

EXEMPT = {
    # The boundary itself, and what it tells.
    "Drivers.fail",
    "Drivers.log_fault",
    "Welcome._fail",
    "Acceptor._accept",
    "Acceptor.run",
    "ExpressLane._forever",
    "ExpressLane._fail",
    "FailureLog.report",
    "LogThrottle.warn",
    "_Process._reload",
    "_Watchers._serve",
    # What gives a place back.
    "Client.close",
    "SocketConnection.close",
    "Buffers.count",
    "_Ranking.move",
    "Admission.give_back",
    "Admission.count_refusal",
    "Connection.count_end",
    "PendingHandshakes.end",
    "Sources.give_back",
    "source_of",
    "TlsSocket.close",
    "TlsStream.aclose",
    # The end of a connection, or of all, from outside its task, which moves deadlines.
    "Admission.hurry_handshakes",
    "ConnectionTask.dismiss",
    "ConnectionTask.drain",
    "ExpressLane.__len__",
    "ExpressLane.drain",
    "PendingHandshakes.hurry",
    "Drivers.drain",
    "Welcome.drain",
    # The server as a whole: begun before there is a client, and ended after the last.
    "_Server.run",
    "_Server._shut_down",
    "_Server._acceptor",
    "Acceptor.__init__",
    "serve",
    "ExpressLane.run",
    "Admission.__init__",
    "Admission.hold",
    "Capacity.__init__",
    "accepting_socket",
    "_AcceptingSocket.__init__",
    "Workers.close",
    "serve_metrics",
    "_Watchers.__init__",
    "Metrics.__init__",
}
"""Functions whose steps don't fail: short, and looked at by hand."""

# Nothing of the system, or of the size of the input, is behind a method of these.
_IN_MEMORY = (dict, list, set, tuple, type, int, float, Counter, type(sys))

# These end or undo something, and give back what was taken for it.
_GIVES_BACK = ("__exit__", "__aexit__", "close")

_MAKES_BYTES = {"BINARY_OP", "BINARY_SLICE", "BINARY_SUBSCR"}


class Unforeseen(Exception):  # noqa: N818
    """What nobody has thought of."""


ERRORS: tuple[Callable[[], BaseException], ...] = (
    MemoryError,
    partial(OSError, 5, "Input/output error"),
    partial(Unforeseen, "unforeseen"),
)


Step = tuple[str, int]
"""A call in the code, and which time it is made, from 1."""

_MOST_TIMES = 3


class Steps:
    """Sees the steps of the code that is watched, and makes one of them fail.

    Args:
      failing: which one, if any.
      error: makes what it fails with.
    """

    def __init__(self, failing: Step | None, error: Callable[[], BaseException]) -> None:
        self._failing = failing
        self._error = error
        self._times: Counter[str] = Counter()
        self.armed = False
        self.has_failed = False

    def seen(self) -> list[Step]:
        """Return the steps that were taken, without the later ones of many."""
        return [
            (call, time)
            for call, times in self._times.items()
            for time in range(1, min(times, _MOST_TIMES) + 1)
        ]

    def watch_this_thread(self) -> None:
        """Watch the thread that calls this, from its next call on."""
        sys.setprofile(self._profile)
        sys.settrace(self._trace)

    @contextmanager
    def watching_new_threads(self) -> Iterator[None]:
        threading.setprofile(self._profile)
        threading.settrace(self._trace)
        try:
            yield
        finally:
            threading.setprofile(None)
            threading.settrace(None)

    def _profile(self, frame: FrameType, event: str, called: Any) -> None:
        if not self.armed:
            return
        if event == "call":
            caller = frame.f_back
            if caller is None or not _is_watched(caller.f_code) or _is_ours(frame.f_code):
                return
            if frame.f_code.co_name in _GIVES_BACK or "weakref" in frame.f_code.co_filename:
                return
            self._step(caller, frame.f_code.co_qualname)
        elif event == "c_call" and _is_watched(frame.f_code):
            owner = getattr(called, "__self__", None)
            if called.__name__ in _GIVES_BACK:
                return
            if isinstance(owner, type(sys)):
                if owner.__name__ not in ("_socket", "_ssl", "posix", "select"):
                    return
            elif owner is None or isinstance(owner, _IN_MEMORY):
                return
            self._step(frame, called.__qualname__)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not self.armed or not _is_watched(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._trace_opcodes

    def _trace_opcodes(self, frame: FrameType, event: str, _: Any) -> Any:
        if self.armed and event == "opcode":
            opcode = _operations(frame.f_code).get(frame.f_lasti)
            if opcode is not None:
                self._step(frame, opcode)
        return self._trace_opcodes

    def _step(self, frame: FrameType, what: str) -> None:
        code = frame.f_code
        call = f"{Path(code.co_filename).stem}.{code.co_qualname}, line {frame.f_lineno}: {what}"
        self._times[call] += 1
        if (call, self._times[call]) == self._failing:
            self.armed = False
            self.has_failed = True
            raise self._error()


@cache
def _operations(code: CodeType) -> dict[int, str]:
    return {
        one.offset: one.opname for one in dis.get_instructions(code) if one.opname in _MAKES_BYTES
    }


@cache
def _is_ours(code: CodeType) -> bool:
    path = Path(code.co_filename)
    package = Path(cipherecho.__file__).parent
    return (
        path.is_relative_to(package)
        and path.relative_to(package).with_suffix("").as_posix() in WATCHED
    )


@cache
def _is_watched(code: CodeType) -> bool:
    name = code.co_qualname.replace(".<locals>", "")
    return _is_ours(code) and name not in EXEMPT and name.rpartition(".<")[0] not in EXEMPT


@dataclass
class Server:
    """A running server that is watched, and what is needed to talk to it."""

    steps: Steps
    scenario: Scenario
    authority: Authority
    counters: Counters = field(default_factory=Counters)
    endpoints: Sequence[Endpoint] = ()
    stop: Callable[[], object] = lambda: None
    connected: int = 0

    def __post_init__(self) -> None:
        self.buffers = Buffers(least_buffered(self.scenario.limits.max_line))

    @property
    def _address(self) -> tuple[str, int]:
        endpoint = self.endpoints[0]
        assert isinstance(endpoint, TcpEndpoint)
        return endpoint.host, endpoint.port

    def connect(self) -> socket.socket:
        self.connected += 1
        return socket.create_connection(self._address, PATIENCE)

    def secure(self) -> socket.socket:
        """Return a connection with the header and the TLS that the scenario asks for."""
        client = socket.socket()
        if self.scenario.tls:
            # Before it is connected: Python leaks a socket that it finds reset when it wraps it.
            client = self.authority.trusting().wrap_socket(
                client, server_hostname="localhost", do_handshake_on_connect=False
            )
        try:
            client.settimeout(PATIENCE)
            self.connected += 1
            client.connect(self._address)
            if self.scenario.proxied:
                socket.socket.sendall(client, HEADER)
            if isinstance(client, ssl.SSLSocket):
                client.do_handshake()
        except BaseException:
            client.close()
            raise
        return client


@dataclass(frozen=True)
class Scenario:
    """Something that clients do."""

    name: str
    act: Callable[[Server], None]
    cipher: Callable[[], Cipher] = Rot13
    limits: Limits = field(default_factory=Limits)
    tls: bool = False
    proxied: bool = False

    def run(self, steps: Steps, authority: Authority, *, express: bool) -> None:
        """Play it once."""
        one = Server(steps, self, authority)
        with serving(one, express=express):
            steps.armed = True
            with gone():
                self.act(one)
            if "drain" not in self.name:
                settle(one)
                steps.armed = False
                assert serves_another(one), "another client was not served"
        steps.armed = False
        check_settled(one.counters, one.buffers)


class MetricsRequest:
    """Somebody asks for metrics, and a probe after that."""

    name = "request for metrics"

    def run(self, steps: Steps, authority: Authority, *, express: bool) -> None:
        """Play it once; no driver of connections has to do with it."""
        stop = trio.Event()
        counters = Counters()

        async def run() -> None:
            endpoint = TcpEndpoint("127.0.0.1", 0)
            watched = {"tcp://here": Watched(counters)}
            async with open_listeners([endpoint]) as listeners, trio.open_nursery() as nursery:
                serving = partial(serve_metrics, listeners, watched, ready=lambda: True)
                [where] = await nursery.start(serving)
                assert isinstance(where, TcpEndpoint)
                steps.watch_this_thread()
                started.put((where.port, trio.lowlevel.current_trio_token()))
                await stop.wait()
                nursery.cancel_scope.cancel()

        started: SimpleQueue[tuple[int, trio.lowlevel.TrioToken]] = SimpleQueue()
        with ThreadPoolExecutor(1) as executor:
            running = executor.submit(unwatched, partial(trio.run, run))
            port, token = started.get(timeout=PATIENCE)
            try:
                steps.armed = True
                with gone():
                    get(port, b"/metrics")
                steps.armed = False
                assert get(port, b"/livez").endswith(b"alive\n"), "a probe was not answered"
            finally:
                token.run_sync_soon(stop.set)
                running.result(PATIENCE)


def get(port: int, path: bytes) -> bytes:
    """Return the response to a request over HTTP."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % path)
        return b"".join(iter(lambda: client.recv(65_536), b""))


class Reload:
    """Certificates are loaded again, which were replaced by a good pair."""

    name = "reload"

    def run(self, steps: Steps, authority: Authority, *, express: bool) -> None:
        """Play it once; what was in use or the new pair is in use after it."""
        tls = TlsSettings(*authority.server)
        certificates = Certificates(tls)
        listener = Listener([], tls=tls)
        with ServiceManager({}) as manager, watched_threads(steps):
            plan = Plan([listener], list, {tls: certificates})
            process = _Process(plan, ProcessSettings(), Callbacks(), Signals(), manager)
            steps.armed = True
            trio.run(process._reload)
            steps.armed = False
        assert shakes_hands(certificates, authority), "there is no certificate in use"


def shakes_hands(certificates: Certificates, authority: Authority) -> bool:
    """Return whether a client and the server agree, in memory."""
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting().wrap_bio(here, there, server_hostname="localhost")
    server = certificates.context.wrap_bio(there, here, server_side=True)
    for _ in range(3):
        for end in (client, server):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return client.version() is not None and server.version() is not None


@contextmanager
def watched_threads(steps: Steps) -> Iterator[None]:
    """Have the threads that Trio is asked for be watched too, and this one."""
    run_sync = trio.to_thread.run_sync

    async def watched(work: Callable[[], object], **keywords: Any) -> object:
        def in_thread() -> object:
            steps.watch_this_thread()
            return unwatched(work)

        return await run_sync(in_thread, **keywords)

    trio.to_thread.run_sync = watched  # type: ignore[assignment]
    steps.watch_this_thread()
    try:
        yield
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        trio.to_thread.run_sync = run_sync


def unwatched(work: Callable[[], object]) -> object:
    """Return what `work` returns, and watch this thread no more."""
    try:
        return work()
    finally:
        sys.settrace(None)
        sys.setprofile(None)


HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"


class Slow:
    """Says that it is slow."""

    slow = True

    def encrypt(self, body: bytes) -> bytes:
        return body.upper()


class Stuck(Slow):
    """Takes much longer for a line than it may."""

    def encrypt(self, body: bytes) -> bytes:
        if body == b"stay":
            Event().wait(0.15)
        return super().encrypt(body)


def say_nothing(server: Server) -> None:
    server.connect().close()


def reset(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"Hello\nand")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def talk(server: Server) -> None:
    with server.secure() as client:
        client.sendall(b"Hello\nWor")
        receive(client, 6)
        client.sendall(b"ld\r\n!\n\nrest")
        socket.socket.shutdown(client, socket.SHUT_WR)  # by TCP alone, also beneath TLS
        read_to_end(client)


def talk_plain(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"Hello\n" * 3)
        read_to_end(client)


def say_too_much(server: Server) -> None:
    with server.secure() as client:
        client.sendall(b"x" * 99)
        read_to_end(client)


def be_refused(server: Server) -> None:
    with server.secure() as first:
        first.sendall(b"Hello\n")
        receive(first, 6)
        with server.secure() as second:
            socket.socket.shutdown(second, socket.SHUT_WR)  # if the first is gone, it is served
            read_to_end(second)


def not_read(server: Server) -> None:
    with server.secure() as client:
        client.settimeout(0.02)
        with suppress(TimeoutError):
            for _ in range(100):
                client.sendall(b"0123456789abcdef\n" * 1000)
        client.settimeout(PATIENCE)
        socket.socket.shutdown(client, socket.SHUT_WR)
        read_to_end(client)


def drain(server: Server) -> None:
    with server.secure() as client:
        client.sendall(b"Hello\nand")
        receive(client, 6)
        server.stop()
        read_to_end(client)


def idle(server: Server) -> None:
    with server.secure() as client:
        client.sendall(b"begun")
        read_to_end(client)


def be_stuck(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"Hello\nstay\nnever\n")
        client.shutdown(socket.SHUT_WR)  # it may be answered in time after all
        read_to_end(client)


def crowd(server: Server) -> None:
    """Hold more than there is room for, which one has to go for that comes too late."""
    with ExitStack() as stack:
        clients = []
        for _ in range(5):
            clients.append(stack.enter_context(server.secure()))
            clients[-1].sendall(b"a" * 1400)
        for client in clients:
            with gone():
                socket.socket.shutdown(client, socket.SHUT_WR)
                read_to_end(client)


SCENARIOS: tuple[Scenario | MetricsRequest | Reload, ...] = (
    Scenario("nothing said", say_nothing),
    Scenario("lines", talk),
    Scenario("reset", reset),
    Scenario("rejected line", talk, cipher=Picky),
    Scenario("line too long", say_too_much, limits=Limits(max_line=50)),
    Scenario("slow cipher", talk, cipher=Slow),
    Scenario("coding timeout", be_stuck, cipher=Stuck, limits=Limits(coding_timeout=0.05)),
    Scenario("refusal", be_refused, limits=Limits(max_connections=1)),
    Scenario("idle", idle, limits=Limits(idle_timeout=0.02)),
    Scenario("partial send", not_read),
    Scenario("too much held", crowd, limits=Limits(max_line=1500)),
    Scenario("drain", drain),
    Scenario("PROXY header", talk, proxied=True),
    Scenario("TLS", talk, tls=True),
    Scenario("TLS: plaintext", talk_plain, tls=True),
    Scenario("TLS: refusal", be_refused, tls=True, limits=Limits(max_connections=1)),
    Scenario("TLS: partial send", not_read, tls=True),
    Scenario("TLS: too much held", crowd, tls=True, limits=Limits(max_line=1500)),
    Scenario("TLS: drain", drain, tls=True, proxied=True),
    MetricsRequest(),
    Reload(),
)


def receive(client: socket.socket, size: int) -> None:
    """Receive until there are so many bytes, or the end."""
    while size > 0 and (data := client.recv(65_536)):
        size -= len(data)


def read_to_end(client: socket.socket) -> None:
    """Receive until the server closes; that it does not is a TimeoutError."""
    while client.recv(1 << 20):
        pass


@contextmanager
def gone() -> Iterator[None]:
    """Expect that the server may be gone at any moment, but not that it leaves one waiting."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        pass


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@contextmanager
def recorded() -> Iterator[Records]:
    log = logging.getLogger("cipherecho")
    before = log.level, log.propagate
    records = Records()
    log.addHandler(records)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield records
    finally:
        log.removeHandler(records)
        log.setLevel(before[0])
        log.propagate = before[1]


@contextmanager
def serving(one: Server, *, express: bool) -> Iterator[None]:
    """Run the server of a scenario in a thread; at the end it is shut down."""
    scenario = one.scenario
    tls = TlsSettings(*one.authority.server) if scenario.tls else None
    certificates = Certificates(tls) if tls else None
    started, stop = threading.Event(), trio.Event()

    async def run() -> None:
        one.stop = partial(trio.lowlevel.current_trio_token().run_sync_soon, stop.set)
        endpoint = TcpEndpoint("127.0.0.1", 0, tls=scenario.tls)
        with trio.fail_after(3 * PATIENCE):
            async with (
                open_listeners([endpoint], certificates) as listeners,
                trio.open_nursery() as nursery,
            ):
                for listener in listeners:  # what it accepts inherits this: little is taken
                    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                one.endpoints = await nursery.start(
                    partial(
                        serve,
                        listeners,
                        scenario.cipher(),
                        scenario.limits,
                        proxies=TrustedProxies(["127.0.0.1"] if scenario.proxied else []),
                        express=express,
                        counters=one.counters,
                        buffers=one.buffers,
                        shutdown=stop,
                    )
                )
                one.steps.watch_this_thread()
                started.set()

    with ThreadPoolExecutor(1) as executor, one.steps.watching_new_threads():
        running = executor.submit(unwatched, partial(trio.run, run))
        running.add_done_callback(lambda _: started.set())
        assert started.wait(PATIENCE)
        try:
            yield
        finally:
            with suppress(trio.RunFinishedError):
                one.stop()
            running.result(4 * PATIENCE)


def play(
    scenario: Scenario | MetricsRequest | Reload,
    authority: Authority,
    failing: Step | None,
    error: Callable[[], BaseException],
    *,
    express: bool,
) -> list[Step]:
    """Play a scenario with one step failing, if it comes to that; return the steps that it took.

    Raises:
      AssertionError: something was left over, or another client was not served.
    """
    steps = Steps(failing, error)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with recorded() as records:
        scenario.run(steps, authority, express=express)
        steps.armed = False
    tracebacks = [record for record in records.kept if record.exc_info]
    assert len(tracebacks) <= 1, [record.getMessage() for record in tracebacks]
    after = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert after <= before, f"{after - before} descriptors are left"
    return steps.seen()


def settle(one: Server) -> None:
    """Wait until everybody has been served and is gone."""
    counters = one.counters
    last = time.monotonic() + PATIENCE
    # One may have been lost before it could be counted.
    certain = time.monotonic() + 0.05
    while (
        counters.serving
        or counters.accepted > sum(counters.closed.values()) + sum(counters.refused.values())
        or (
            counters.accepted < one.connected
            and not (one.steps.has_failed and time.monotonic() > certain)
        )
    ):
        assert time.monotonic() < last, "a client is still counted"
        Event().wait(0.0002)


def serves_another(one: Server) -> bool:
    """Return whether a client that comes now is answered as it has to be."""
    cipher = one.scenario.cipher
    code = bytes.upper if cipher in (Slow, Stuck) else bytes if cipher is Picky else _rot13
    with one.secure() as client:
        client.sendall(b"again!\n" if one.scenario.cipher is Picky else b"again\n")
        with io.BytesIO() as came:
            while came.getvalue().count(b"\n") < 2 and (data := client.recv(100)):
                came.write(data)
            line, coded = came.getvalue().splitlines()
    return bool(coded == code(line))


def _rot13(line: bytes) -> bytes:
    import codecs

    return codecs.encode(line.decode(), "rot13").encode()


@contextmanager
def at_once() -> Iterator[None]:
    """Have what failed tried again without a pause."""
    with ExitStack() as stack:
        for module, name in ((accepting, "_RETRY_SECONDS"), (express_lane, "_RETRY_SECONDS")):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, 0.001)
        yield


def play_all(
    scenario: Scenario | MetricsRequest | Reload,
    authority: Authority,
    errors: Sequence[Callable[[], BaseException]],
    *,
    express: bool,
) -> Iterator[tuple[Step, BaseException | None]]:
    """Have every step of a scenario fail; yield each, and what is wrong then, if anything is."""
    found = dict.fromkeys(play(scenario, authority, None, errors[0], express=express))
    done = 0
    while done < len(found):
        step = list(found)[done]
        for error in errors:
            problem = None
            try:
                found.update(dict.fromkeys(play(scenario, authority, step, error, express=express)))
            except KeyboardInterrupt:
                raise
            except BaseException as failure:
                problem = failure
            yield step, problem
        done += 1


def main() -> int:
    """Play all scenarios, or those that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="scenarios whose name has this text")
    parser.add_argument("--quick", action="store_true", help="with lack of memory alone")
    parser.add_argument("--verbose", action="store_true", help="a line for each step")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as directory, at_once():
        authority = Authority.at(Path(directory))
        authority.write_server()
        for scenario in SCENARIOS:
            if arguments.only not in scenario.name:
                continue
            for driver in ("lane", "task"):
                what = f"{scenario.name}, {driver}"
                number = 0
                for step, problem in play_all(
                    scenario,
                    authority,
                    ERRORS[: 1 if arguments.quick else None],
                    express=driver == "lane",
                ):
                    number += 1
                    if problem is not None:
                        failed += 1
                    if problem is not None or arguments.verbose:
                        print(f"{what}: {step[0]}, time {step[1]}: {problem!r}", flush=True)
                print(f"{what}: {number} failures", flush=True)
    print(f"{failed} anomalies are left")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
