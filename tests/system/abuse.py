"""A server under all the abuse there is at once, and clients among it that must not notice.

The installed command is started as a user starts it, with plain and TLS listeners, one that has
a slow cipher, PROXY headers, metrics and narrow limits.  Rounds of abuse end in a pause, in which
the server is looked at: whoever is gone must have left nothing behind.  From the root of the
project::

    python -m tests.system.abuse --minutes 10
    python -m tests.system.abuse --minutes 10 --no-express --seed 4711

A table tells how it went; the last line is the verdict, and the exit status is 1 if something
was wrong.  What each client does follows from the seed; when it does it is up to the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import ssl
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random

import trio

from tests.helpers.certificates import ODD, Authority
from tests.helpers.proxy_headers import SIGNATURE, addition, tcp4, tcp6, with_sum
from tests.helpers.running import COMMAND, Server, both, started
from tests.helpers.site import Site

MAX_LINE = 4096

# Those who behave have addresses of their own, which begin with this; proxies have one, and
# all others are strangers.
GOOD_SOURCE = "127.0.1."
PROXY_SOURCE = "127.0.0.3"
STRANGERS = [f"127.0.0.{number}" for number in range(10, 20)]

MAX_WORKERS = 4
CODING_TIMEOUT = 1

SETTINGS = """
[[listener]]
url = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"]

[[listener]]
url = "tcp://127.0.0.1:0"
cipher = "dawdle"
"""

# A cipher that takes as long as its client likes, and is found out to be slow.
SECONDS = {b"q": 0.0, b"s": 0.002, b"m": 0.05, b"l": 0.5, b"x": CODING_TIMEOUT + 1}
DAWDLE = f"""
import time

class Dawdle:
    def encrypt(self, body):
        time.sleep({SECONDS}.get(body[:1], 0))
        return body
"""

OPTIONS = [
    *("--metrics", "tcp://127.0.0.1:0", "--proxy-from", PROXY_SOURCE),
    # Ten strangers can fill the server, and one can't.
    *("--max-connections", "150", "--max-connections-per-source", "30"),
    *("--accept-rate", "500", "--accept-burst", "200"),
    *("--max-line", str(MAX_LINE), "--handshake-timeout", "1"),
    *("--max-workers", str(MAX_WORKERS), "--coding-timeout", str(CODING_TIMEOUT)),
    # Those who behave are never silent for so long, even on a busy machine.
    *("--idle-timeout", "5", "--line-timeout", "5", "--write-timeout", "2"),
]

ROUND_SECONDS = 20.0
CLIENTS_WHO_BEHAVE = 9
STRANGERS_AT_ONCE = 24

# What 150 clients of each service may have in use at once: 64 KiB received, and twice that of
# replies.
MOST_GROWTH_KIB = 2 * 150 * 192

# Those of both ciphers, as on a busy machine each may be taken for slow; as many that were written
# off; and those that read files, which linger.
MOST_THREADS_MORE = 4 * MAX_WORKERS + 2

# How long a probe may take. It is within a millisecond where the machine has nothing else to do.
PROBE_SECONDS = 8.0

# Up to there memory finds its level, and the allocator does not always find the same blocks
# again. So the peaks of the two halves of a run are compared, if it is long: within a quarter
# of an hour and as many connections as come, a leak of 32 bytes for each would show.
ROUNDS_TO_COMPARE = 6
RSS_TOLERANCE_KIB = 4096

# An idle server wakes up once a second to look for timeouts.
MOST_IDLE_CPU = 0.05

PATIENCE = 30.0

Gone = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass
class Report:
    """How it went."""

    acts: Counter[str] = field(default_factory=Counter)
    """How often each kind of client came."""
    table: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What was wrong; nothing should be."""


@dataclass(frozen=True)
class State:
    """What a server has, when nobody is connected."""

    rss_kib: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> State:
        """Return that of a process."""
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(status["VmRSS"].split()[0]), descriptors, int(status["Threads"]))


@dataclass
class Net:
    """The way to the server."""

    plain: int
    tls: int
    slow: int
    metrics: int
    trusting: ssl.SSLContext
    odd: list[ssl.SSLContext]
    """Those of clients whose certificates Python can't decode."""
    random: Random

    async def connect(self, port: int = 0, source: str = "") -> trio.SocketStream:
        """Return a connection, by default to the plain port from a stranger's address."""
        client = trio.socket.socket()
        try:
            # Else two that want the same port from different addresses get in each other's way.
            client.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            await client.bind((source or self.random.choice(STRANGERS), 0))
            await client.connect(("127.0.0.1", port or self.plain))
        except BaseException:
            client.close()
            raise
        return trio.SocketStream(client)

    def secured(self, client: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
        """Return TLS on a connection, before its handshake."""
        return trio.SSLStream(client, self.trusting, server_hostname="localhost")

    def lines(self, most: int) -> bytes:
        """Return some lines of all sizes and endings; the last may have none."""
        random = self.random
        return b"".join(
            random.randbytes(random.choice([0, 1, 10, 60, 60, 60, MAX_LINE - 10]))
            .replace(b"\n", b"")
            .rstrip(b"\r")
            + random.choice([b"\n", b"\r\n"])
            for _ in range(random.randint(1, most))
        ) + random.choice([b"", b"the last"])


def reset(client: trio.SocketStream) -> None:
    """Close with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


async def take_all(client: trio.abc.ReceiveStream) -> bytes:
    """Return all that comes until the end."""
    received = bytearray()
    while data := await client.receive_some(65_536):
        received += data
    return bytes(received)


# Those who behave: a wrong byte is a fault, and so is an end before its time.


class RefusedError(Exception):
    """The server did not take a client, as it may when it is full; says how it was told."""


async def behave(net: Net, number: int) -> None:
    """Have one conversation, and check all of it.

    Raises:
      RefusedError: the server is full, and there was no conversation.
      AssertionError: what came was wrong.
    """
    secure, proxied = number % 3 == 1, number % 3 == 2
    port = net.tls if secure else net.plain
    lines = net.lines(40)
    expected = both(lines + (b"" if lines.endswith(b"\n") else b"\n"))
    seed = net.random.random()
    client = await net.connect(port, PROXY_SOURCE if proxied else f"{GOOD_SOURCE}{number + 1}")
    async with client:
        if proxied:
            await client.send_all(tcp4(f"198.51.100.{number}"))
        stream = net.secured(client) if secure else client
        answer = await _first_answer(stream)
        if answer != both(b"Hello\n"):
            assert answer.startswith(b"!error: the server is full") or not answer, answer[:200]
            raise RefusedError("told" if answer else "not told, as too many were")

        async def send() -> None:
            random, rest = Random(seed), lines  # noqa: S311
            while rest:
                size = random.choice([1, 7, 1000, 10_000, 100_000])
                await stream.send_all(rest[:size])
                rest = rest[size:]
            await client.send_eof()

        received = b""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                received = await take_all(stream)
        except* Gone as broken:
            raise AssertionError(f"lost a client: {broken.exceptions!r}") from broken
        assert received == expected, f"got {received[-200:]!r}, expected {expected[-200:]!r}"


async def _first_answer(stream: trio.abc.Stream) -> bytes:
    """Say hello; return what is said first, nothing if the server did not take the client."""
    answer = b""
    with suppress(*Gone):
        await stream.send_all(b"Hello\n")
        while answer.count(b"\n") < 2 and not answer.startswith(b"!error"):
            data = await stream.receive_some(65_536)
            if not data:
                break
            answer += data
    return answer


# Those who don't. Each does one thing, and stops when the server has had enough.


async def resets(net: Net) -> None:
    """Go with a reset, at any moment, the first before the server knows of it."""
    async with await net.connect(net.random.choice([net.plain, net.tls, net.metrics])) as client:
        lines = net.lines(200)
        for _ in range(net.random.choice([0, 0, 1, 2])):
            await client.send_all(lines[: net.random.randrange(len(lines))])
            if net.random.random() < 0.5:
                with trio.move_on_after(0.01):
                    await client.receive_some()
        reset(client)


async def reads_nothing(net: Net) -> None:
    """Send, and take no reply."""
    async with await net.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while True:
            await client.send_all(b"a line\n" * 1000)


async def reads_slowly(net: Net) -> None:
    """Send much, and take replies a little at a time."""
    async with await net.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"a line\n" * 20_000)
        while await client.receive_some(2000):
            await trio.sleep(0.005)


async def drips(net: Net) -> None:
    """Send a byte at a time."""
    async with await net.connect() as client:
        for byte in net.lines(1)[:200]:
            await client.send_all(bytes([byte]))
            await trio.sleep(0.02)


async def never_ends_a_line(net: Net) -> None:
    """Send a line without an end; the server says so."""
    async with await net.connect() as client, trio.open_nursery() as nursery:

        async def send() -> None:
            with suppress(*Gone):
                while True:
                    await client.send_all(b"x" * 50_000)

        nursery.start_soon(send)
        words = await take_all(client)
        nursery.cancel_scope.cancel()
    assert not words or words.startswith(b"!error: "), words[:200]


async def says_nothing(net: Net) -> None:
    """Connect, and be silent, on any port."""
    async with await net.connect(net.random.choice([net.plain, net.tls, net.metrics])) as client:
        with trio.move_on_after(net.random.uniform(0, 3)):
            await take_all(client)


async def floods(net: Net) -> None:
    """Open more connections at once than anybody may, or than all may together."""
    port = net.random.choice([net.plain, net.tls])
    most, sources = net.random.choice([(100, [net.random.choice(STRANGERS)]), (300, STRANGERS)])

    async def come() -> None:
        with suppress(*Gone):
            async with await net.connect(port, net.random.choice(sources)) as client:
                await client.send_all(b"Hello\n")
                await client.receive_some()

    async with trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(come)


async def sends_garbage(net: Net) -> None:
    """Send any bytes, to any port."""
    async with await net.connect(net.random.choice([net.plain, net.tls, net.metrics])) as client:
        await client.send_all(net.random.randbytes(net.random.randint(1, 20_000)))
        await client.send_eof()
        await take_all(client)


async def speaks_plaintext_to_tls(net: Net) -> None:
    """Send lines or HTTP to the TLS port."""
    async with await net.connect(net.tls) as client:
        await client.send_all(net.random.choice([b"Hello\n", b"GET / HTTP/1.1\r\n\r\n"]))
        await take_all(client)


def client_hello() -> bytes:
    """Return what a TLS client begins with."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost"
        ).do_handshake()
    return outgoing.read()


async def leaves_the_handshake(net: Net) -> None:
    """Begin a TLS handshake, then go, or be silent."""
    hello = client_hello()
    client = await net.connect(net.tls)
    async with client:
        await client.send_all(hello[: net.random.randint(0, len(hello))])
        if net.random.random() < 0.5:
            with trio.move_on_after(0.05):
                await client.receive_some(net.random.choice([5, 5000]))
        if net.random.random() < 0.7:
            reset(client)
        else:
            await take_all(client)


async def breaks_records(net: Net) -> None:
    """After the handshake: a record cut short, or forged, or a reset, or no farewell."""
    client = await net.connect(net.tls)
    async with client:
        stream = net.secured(client)
        await stream.do_handshake()
        await stream.send_all(net.lines(3))
        record = b"\x17\x03\x03\x00\x40" + net.random.randbytes(64)
        await client.send_all(record[: net.random.randint(0, len(record))])
        if net.random.random() < 0.5:
            reset(client)
        else:
            await client.send_eof()
            await take_all(client)


async def breaks_headers(net: Net) -> None:
    """As a proxy: no header, or one that is cut short, too long, wrong or in pieces."""
    random = net.random
    header = random.choice(
        [
            tcp4(),
            tcp6(more=addition(0xE0, random.randbytes(3000))),
            tcp4(more=b"\xe0\xff\xff" + bytes(10)),
            tcp4(more=addition(0xE0, bytes(5000))),
            with_sum(tcp4()),
            with_sum(tcp4(), wrong=1),
            SIGNATURE + b"\x20\x00\x00\x00",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
            b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
            b"PROXY UNKNOWN\n",
            b"Hello\n",
        ]
    )
    header = header[: random.choice([len(header), random.randint(0, len(header))])]
    client = await net.connect(random.choice([net.plain, net.tls]), PROXY_SOURCE)
    async with client:
        middle = random.randint(0, len(header))
        for part in (header[:middle], header[middle:], b"Hello\n"):
            await client.send_all(part)
            await trio.lowlevel.checkpoint()
        if random.random() < 0.3:
            reset(client)
        else:
            await client.send_eof()
            await take_all(client)


async def pesters_the_metrics(net: Net) -> None:
    """Ask for metrics in all ways that HTTP has not."""
    random = net.random
    async with await net.connect(net.metrics) as client:
        request = random.choice(
            [
                b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET /livez HTTP/1.0\r\n\r\n",
                b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde",
                b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 20_000,
                b"GET /metrics HTTP/9.9\r\n\r\n",
                b"\r\n" * 100,
            ]
        )
        await client.send_all(request[: random.choice([len(request), random.randint(0, 30)])])
        if random.random() < 0.3:
            reset(client)
        elif random.random() < 0.5:
            await client.send_eof()
            await take_all(client)


async def shows_an_odd_certificate(net: Net) -> None:
    """Show a certificate that OpenSSL takes and Python can't decode, and be answered."""
    client = await net.connect(net.tls)
    async with client:
        context = net.random.choice(net.odd)
        stream = trio.SSLStream(client, context, server_hostname="localhost")
        answer = await _first_answer(stream)
    assert not answer or answer.startswith((b"Hello\n", b"!error: ")), answer[:200]


async def _holds(net: Net, port: int, data: bytes, number: int) -> None:
    """Open many connections from one address, send the same on each, and wait for their ends."""
    source = net.random.choice(STRANGERS)

    async def hold() -> None:
        with suppress(*Gone):
            async with await net.connect(port, source) as client:
                await client.send_all(data)
                await take_all(client)

    with trio.move_on_after(net.random.uniform(0, 2)):
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(hold)


async def stops_in_many_handshakes(net: Net) -> None:
    """Hold as many connections as one may that are not through their handshake."""
    hello = client_hello()
    await _holds(net, net.tls, hello[: net.random.choice([0, 0, 5, 100])], 40)


async def begins_many_lines(net: Net) -> None:
    """Hold as many connections as one may, with an unfinished line each."""
    await _holds(net, net.plain, b"x" * (MAX_LINE - 1), 40)


async def holds_the_metrics(net: Net) -> None:
    """Hold more connections than there are places for those who ask for metrics."""
    await _holds(net, net.metrics, net.random.choice([b"", b"GET /livez HTTP/1.1\r\n"]), 50)


async def takes_the_cipher_its_time(net: Net) -> None:
    """Send lines that take long to code, in any mixture, and wait for all of them or not."""
    random = net.random
    kinds = random.choice([b"q", b"s", b"m", b"l", b"qs", b"qqqqqqqql", b"qsml", b"x"])
    seconds = 0.0
    async with await net.connect(net.slow) as client:
        # Not so many that those who are gone are not done with when a round ends.
        while seconds < 0.3:
            sent = b""
            for _ in range(random.randint(1, 50)):
                if seconds < 0.3:
                    kind = bytes([random.choice(kinds)])
                    seconds += 0.001 + SECONDS[kind]
                    sent += kind + b" a line\n"
            await client.send_all(sent)
            with trio.move_on_after(random.uniform(0, 0.2)):
                await client.receive_some(random.choice([10, 65_536]))
        if random.random() < 0.3:
            reset(client)
        elif random.random() < 0.5:
            await client.send_eof()
            await take_all(client)


ACTS: list[Callable[[Net], Awaitable[None]]] = [
    resets,
    reads_nothing,
    reads_slowly,
    drips,
    never_ends_a_line,
    says_nothing,
    floods,
    sends_garbage,
    speaks_plaintext_to_tls,
    leaves_the_handshake,
    breaks_records,
    breaks_headers,
    pesters_the_metrics,
    shows_an_odd_certificate,
    stops_in_many_handshakes,
    begins_many_lines,
    holds_the_metrics,
    takes_the_cipher_its_time,
]


# What an operator may leave where the server looks for its certificate and its key.


def _text(certificate: Path, key: Path) -> None:
    certificate.write_text("half a fi")


def _no_key(certificate: Path, key: Path) -> None:
    key.unlink()


def _pipe(certificate: Path, key: Path) -> None:
    certificate.unlink()
    os.mkfifo(certificate)


def _nothing_in_it(certificate: Path, key: Path) -> None:
    key.write_bytes(b"")


def _directory(certificate: Path, key: Path) -> None:
    key.unlink()
    key.mkdir()


def _remark(certificate: Path, key: Path) -> None:
    """Quote what a certificate begins with; this one is as good as another."""
    remark = "# what follows -----BEGIN CERTIFICATE----- is ours\n"
    certificate.write_text(remark + certificate.read_text())


FILES = [_text, _no_key, _pipe, _nothing_in_it, _directory, _remark]


def _remove(path: Path) -> None:
    if path.is_fifo():
        # Who reads it waits for a writer, for many seconds.
        with suppress(OSError):
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, b"half a fi")
            os.close(writer)
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


# One server, and all of them.


class _Abuse:
    def __init__(self, server: Server, authority: Authority, net: Net, report: Report) -> None:
        self._server = server
        self._pid = server.process.pid
        self._authority = authority
        self._net = net
        self._report = report
        self._states = [State.of(self._pid)]
        self._slowest_probe = 0.0
        self._files: Sequence[Path] = ()

    async def run(self, seconds: float) -> None:
        rounds = max(2, round(seconds / ROUND_SECONDS))
        for _ in range(rounds):
            with trio.move_on_after(seconds / rounds + PATIENCE):
                async with trio.open_nursery() as nursery:
                    for number in range(STRANGERS_AT_ONCE):
                        nursery.start_soon(self._be_strangers, number)
                    nursery.start_soon(self._reload)
                    nursery.start_soon(self._probe)
                    await self._behave_meanwhile(seconds / rounds * 0.9)
                    nursery.cancel_scope.cancel()
            self._replace_files()
            await self._until_all_are_gone()
        await self._judge_idleness()
        self._judge_states()
        await self._judge_metrics()

    async def _behave_meanwhile(self, seconds: float) -> None:
        last = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS_WHO_BEHAVE):
                nursery.start_soon(self._behave, number, last)

    async def _behave(self, number: int, last: float) -> None:
        while trio.current_time() < last or not self._report.acts["behave"]:
            try:
                with trio.fail_after(PATIENCE):
                    await behave(self._net, number)
            except RefusedError as refused:
                self._report.acts[f"refused, {refused}"] += 1
                await trio.sleep(0.05)
            except (AssertionError, trio.TooSlowError) as wrong:
                self._report.faults.append(f"one who behaves: {wrong!r}")
            else:
                self._report.acts["behave"] += 1

    async def _be_strangers(self, number: int) -> None:
        while True:
            act = self._net.random.choice(ACTS)
            try:
                with trio.move_on_after(6):
                    await act(self._net)
            except* Gone:
                pass
            except* AssertionError as wrong:
                self._report.faults.append(f"{act.__name__}: {wrong.exceptions!r}")
            self._report.acts[act.__name__] += 1
            await trio.lowlevel.checkpoint()

    async def _reload(self) -> None:
        """Have certificates reloaded all the time, every other time from odd files."""
        for left in cycle([None, *FILES]):
            self._replace_files()
            if left is not None:
                left(*self._files)
            self._server.process.send_signal(signal.SIGHUP)
            self._report.acts["reload" + (left.__name__.replace("_", " ") if left else "")] += 1
            await trio.sleep(0.2)

    def _replace_files(self) -> None:
        for path in self._files:
            _remove(path)
        self._files = self._authority.write_server()

    async def _probe(self) -> None:
        """Ask all the time whether it lives."""
        while True:
            began = trio.current_time()
            try:
                with trio.fail_after(PATIENCE):
                    source = f"{GOOD_SOURCE}{CLIENTS_WHO_BEHAVE + 1}"
                    async with await self._net.connect(self._net.metrics, source) as client:
                        await client.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                        answer = await take_all(client)
                assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
            except (AssertionError, trio.TooSlowError, *Gone) as wrong:
                self._report.faults.append(f"a probe: {wrong!r}")
            self._slowest_probe = max(self._slowest_probe, trio.current_time() - began)
            await trio.sleep(0.1)

    async def _until_all_are_gone(self) -> None:
        """Wait until the server has nobody and nothing of anybody, and see what it has."""
        with trio.move_on_after(PATIENCE):
            while await self._metric("cipherecho_connections_open"):
                await trio.sleep(0.05)
            while State.of(self._pid).descriptors > self._states[0].descriptors:
                await trio.sleep(0.05)  # we ask for metrics, and so have one of them for a moment
        self._states.append(State.of(self._pid))
        if number := await self._metric("cipherecho_connections_open"):
            self._report.faults.append(f"connections_open stays at {number:g}, expected 0")

    async def _metric(self, name: str) -> float:
        """Return the sum of one metric, over all its labels."""
        async with await self._net.connect(self._net.metrics) as client:
            await client.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            text = (await take_all(client)).decode()
        lines = [line for line in text.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def _judge_idleness(self) -> None:
        """Look at the CPU time of a second in which nobody comes."""
        before = self._cpu_seconds()
        await trio.sleep(1)
        share = self._cpu_seconds() - before
        self._report.table.append(f"CPU when idle: {share:.1%}")
        if share > MOST_IDLE_CPU:
            self._report.faults.append(
                f"CPU when idle: {share:.1%}, expected {MOST_IDLE_CPU:.0%} at most"
            )

    def _cpu_seconds(self) -> float:
        # proc_pid_stat(5): utime and stime are fields 14 and 15; the name may have spaces.
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _judge_states(self) -> None:
        new, *rounds = self._states  # before anybody came, and after each round
        last = rounds[-1]
        self._report.table += [
            f"memory (KiB): {' '.join(str(state.rss_kib) for state in self._states)}",
            f"descriptors: {new.descriptors}, at last {last.descriptors}",
            f"threads: {new.threads}, at last {last.threads}",
            f"slowest probe: {self._slowest_probe:.3f} s",
        ]
        faults = self._report.faults
        memory = [state.rss_kib for state in rounds]
        early, late = max(memory[: len(memory) // 2]), max(memory[len(memory) // 2 :])
        if max(memory) > new.rss_kib + MOST_GROWTH_KIB:
            faults.append(f"memory: grew by more than {MOST_GROWTH_KIB} KiB")
        if len(memory) >= ROUNDS_TO_COMPARE and late > early + RSS_TOLERANCE_KIB:
            faults.append(f"memory: grew on from {early} to {late} KiB, expected it to be flat")
        if last.descriptors != new.descriptors:
            faults.append(f"descriptors: {new.descriptors}, at last {last.descriptors}")
        if last.threads > new.threads + MOST_THREADS_MORE:
            faults.append(f"threads: {new.threads}, at last {last.threads}")
        if self._slowest_probe > PROBE_SECONDS:
            faults.append(f"a probe took {self._slowest_probe:.1f} s")

    async def _judge_metrics(self) -> None:
        accepted, refused, closed, lines = [
            await self._metric(f"cipherecho_{name}_total")
            for name in (
                "connections_accepted",
                "connections_refused",
                "connections_closed",
                "lines",
            )
        ]
        self._report.table.append(
            f"connections: accepted {accepted:g}, refused {refused:g}, served {closed:g}; "
            f"lines {lines:g}"
        )
        if accepted != refused + closed:
            self._report.faults.append("connections: more or fewer were accepted than have ended")
        broken = await self._metric('cipherecho_connections_closed_total{reason="internal error"')
        if broken:
            self._report.faults.append(f"internal errors: {broken:g}")


def abuse(seconds: float, seed: int, *, express: bool) -> Report:
    """Start a server, abuse it for so long, stop it, and return how it went."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        authority = Authority.at(Path(name))
        certificate, key = authority.write_server()
        log = Path(name, "log")
        options = [*OPTIONS, "--tls-cert", str(certificate), "--tls-key", str(key)]
        options += ["--tls-client-ca", str(authority.root), "--tls-client-auth", "optional"]
        options += ["--config", str(_written(Path(name, "settings.toml"), SETTINGS))]
        Site(Path(name)).install("abused-cipher", {"dawdle": "dawdle:Dawdle"}, dawdle=DAWDLE)
        odd = [authority.trusting(authority.write_odd_client(kind)) for kind in ODD]
        if not express:
            options.append("--no-express")
        with log.open("wb") as stderr:
            with started(
                COMMAND,
                *options,
                listeners=4,
                stderr=stderr.fileno(),
                variables={"PYTHONPATH": name},
            ) as server:
                net = Net(*_ports(server), authority.trusting(), odd, Random(seed))  # noqa: S311
                try:
                    trio.run(_Abuse(server, authority, net, report).run, seconds)
                except* Gone as gone:
                    report.faults.append(f"the server can't be reached: {gone.exceptions[0]!r}")
                if server.process.poll() is None:
                    report.faults += _stopped(server, net)
                else:
                    report.faults.append(f"the server has ended: {server.process.returncode}")
        text = log.read_text()
    report.table.insert(0, f"the log: {text.count(chr(10))} records, {len(text) // 1024} KiB")
    for word in ("Traceback", "internal error", "Exception"):
        if word in text:
            where_from = text.index(word)
            report.faults.append(f"the log: {text[max(0, where_from - 200) : where_from + 2000]}")
            break
    if not report.acts["behave"]:
        report.faults.append("nobody who behaves was served")
    return report


def _stopped(server: Server, net: Net) -> list[str]:
    """Stop the server by SIGTERM while a client waits for an answer; return what was wrong."""
    with socket.create_connection(("127.0.0.1", net.plain), PATIENCE) as client:
        client.sendall(b"Hello\n")
        status, answer = server.stop(), client.recv(100)
    wrong = []
    if status != 0:
        wrong.append(f"SIGTERM: exit status {status}, expected 0")
    if answer != both(b"Hello\n"):
        wrong.append(f"SIGTERM: got {answer!r}, expected what was received to be answered")
    return wrong


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _ports(server: Server) -> tuple[int, int, int, int]:
    """Return the ports for lines, for lines over TLS, for slow ones, and for metrics."""
    said = [line.split("://127.0.0.1:") for line in server.stdout.splitlines()]
    plain, slow = (int(port) for what, port in said if what == "listening tcp")
    others = {what: int(port) for what, port in said}
    return plain, others["listening tls"], slow, others["metrics tcp"]


def main() -> int:
    """Run by the command line's arguments; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-express", action="store_true")
    arguments = parser.parse_args()
    report = abuse(arguments.minutes * 60, arguments.seed, express=not arguments.no_express)
    for act, number in sorted(report.acts.items()):
        print(f"{act.replace('_', ' '):36} {number:8}")
    print(*report.table, sep="\n")
    for fault in report.faults:
        print(f"WRONG: {fault}")
    faults = len(report.faults)
    print(f"verdict: {faults} faults" if faults else "verdict: nothing is wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
