"""The installed command as a server: its words, its options, its end.

Everything here is seen from outside, with sockets and signals.  "WIRE, shutdown" and so on
are sections of the wire contract.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import re
import select
import signal
import socket
import ssl
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from cipherecho.cli.configuration.layers import LISTENER_KEYS
from cipherecho.cli.root import COMMANDS, root
from tests.helpers import running
from tests.helpers.certificates import Authority
from tests.helpers.in_process import run
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Server,
    ask,
    both,
    complaint,
    receive_all,
    receive_lines,
    run_program,
    run_shell,
    serving,
    started,
    tool,
)
from tests.helpers.site import Site

# What it says, and where it listens.


def test_it_serves_with_no_options_at_all() -> None:
    """On port 8013, if that is free here; another server may well run on this machine."""
    elsewhere = {} if is_free(8013) else {"CIPHERECHO_LISTEN": "0"}
    with started(COMMAND, variables=elsewhere) as server:
        assert server.endpoints == [f"tcp://127.0.0.1:{server.port}"]
        assert elsewhere or server.port == 8013
        assert server.ask(b"Hello\nthere\n") == b"Hello\nUryyb\nthere\ngurer\n"


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "127.0.0.1:0", "0"])
def test_standard_output_is_one_line_with_the_real_port(listen: str) -> None:
    with started(COMMAND, "--listen", listen) as server:
        assert server.port > 0
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
        assert server.stop() == 0
    assert server.stdout == f"listening tcp://127.0.0.1:{server.port}\n"
    assert "shutting down" in server.stderr


def test_a_port_that_is_asked_for_is_the_one_that_is_got() -> None:
    port = free_port()
    with started(COMMAND, "--listen", str(port)) as server:
        assert server.endpoints == [f"tcp://127.0.0.1:{port}"]


def test_every_listener_has_a_line_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    wanted = ["127.0.0.1:0", f"unix://{path}", "tcp://127.0.0.1:0"]
    options = [word for url in wanted for word in ("--listen", url)]
    with started(COMMAND, *options, listeners=3) as server:
        first, unix, last = server.endpoints
        assert first != last
        assert unix == f"unix://{path}"
        # Each accepts as soon as it is announced.
        for endpoint in (first, last):
            port = int(endpoint.removeprefix("tcp://127.0.0.1:"))
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
        with connect_unix(path) as client:
            assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
        assert server.stop() == 0
    assert len(server.stdout.splitlines()) == 3


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with started(COMMAND, "--listen", "[::1]:0") as server:
        assert server.endpoints == [f"tcp://[::1]:{server.port}"]
        with socket.create_connection(("::1", server.port), PATIENCE) as client:
            assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"


def test_an_address_that_others_can_reach_gets_one_warning(tmp_path: Path) -> None:
    listen = [
        "--listen",
        "0.0.0.0:0",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        f"unix://{tmp_path}/s",
    ]
    with started(COMMAND, *listen, listeners=3) as server:
        assert server.stop() == 0
    (warning,) = [line for line in server.stderr.splitlines() if " warning " in line]
    assert f"tcp://0.0.0.0:{server.port} can be reached from other machines" in warning


def test_a_private_address_gets_no_warning() -> None:
    with serving() as server:
        assert server.stop() == 0
    assert " warning " not in server.stderr


def test_a_server_can_start_where_another_has_just_ended() -> None:
    """Its connections are still in TIME_WAIT, since it closed them first."""
    with serving() as server:
        with server.connect() as client:
            client.sendall(b"Hello\n")
            receive_lines(client, 2)
            server.process.send_signal(signal.SIGTERM)
            assert receive_all(client) == b""
        assert server.wait() == 0
        with started(COMMAND, "--listen", str(server.port)) as successor:
            assert successor.ask(b"Hello\n") == b"Hello\nUryyb\n"


def test_it_is_a_module_too() -> None:
    with started(sys.executable, "-m", "cipherecho", "--listen", "0") as server:
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    assert complaint(run_program(sys.executable, "-m", "cipherecho", "--cipher", "rot31"), 2)


def test_people_get_a_short_log_and_files_get_the_date() -> None:
    with serving() as server:
        assert server.stop() == 0
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} info ", server.stderr)

    screen, terminal = os.openpty()
    with os.fdopen(screen, "rb", buffering=0) as screen_file:
        with (
            os.fdopen(terminal, "wb", buffering=0),
            started(COMMAND, "--listen", "0", stderr=terminal) as server,
        ):
            assert server.stop() == 0
        assert re.match(rb"\d\d:\d\d:\d\d info ", screen_file.read(1000))


# The end (WIRE, shutdown).


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(number: int) -> None:
    with serving() as server:
        assert server.stop(number) == 0


def test_idle_clients_are_closed() -> None:
    """One that has said nothing, one that was answered, and one in the middle of a line.

    None of them uses up the grace time.
    """
    with serving("--grace", "600") as server, ExitStack() as stack:
        silent, answered, typing = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in (answered, typing):
            client.sendall(b"Hello\n")
            receive_lines(client, 2)
        typing.sendall(b"an unfinished li")
        server.process.send_signal(signal.SIGTERM)
        for client in (silent, answered, typing):
            assert receive_all(client) == b""
            client.close()
        assert server.wait() == 0


def test_clients_under_load_get_whole_and_right_replies() -> None:
    """Several send without waiting for replies, and without a pause.

    What each has got when it ends is the beginning of what it would have got, up to the
    end of the code of some line.
    """
    with serving() as server, ExitStack() as stack:
        clients = [Pipelining(stack.enter_context(server.connect())) for _ in range(5)]
        for client in clients:
            client.wait_for_first_reply()
        assert server.stop() == 0
        for client in clients:
            received = client.join()
            assert not client.was_reset
            pairs = received.count(b"\n") // 2
            assert pairs > 0
            assert received == both(b"".join(Pipelining.line(number) for number in range(pairs)))
    assert "was cut" not in server.stderr


def test_a_client_that_never_reads_is_cut_when_the_grace_is_over() -> None:
    with serving("--grace", "0.5", "--write-timeout", "600") as server, never_reading(server):
        assert server.stop() == 0
    assert "shutdown took longer than 0.5 s" in server.stderr


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT),
    ],
)
def test_a_second_signal_ends_it_at_once(first: int, second: int) -> None:
    with serving("--grace", "600", "--write-timeout", "600") as server, never_reading(server):
        server.process.send_signal(first)
        server.wait_for_record("shutting down")
        assert server.stop_at_once(second) == 128 + second


# Wrong use: status 2, in a line or two, before any socket is open.


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["--cipher", "rot31"], ["'rot31' is not installed", "did you mean rot13"]),
        (["--cipher", "Viginere:LEMON"], ["'viginere'", "did you mean vigenere?"]),
        (["--cipher", "caesar@cipherecho"], ["'cipherecho'", "it is in cipherecho-classical"]),
        (["--cipher", ""], ["''", "expected a name first"]),
        (["--cipher", "rot13:5"], ["got '5'", "it takes no options"]),
        (["--cipher", "caesar:shfit=3"], ["option shfit", "did you mean shift?"]),
        (["--cipher", "caesar:26"], ["got '26'", "expected a whole number, -25 to 25"]),
        (["--cipher", "vigenere"], ["option key is missing", "expected text"]),
        (["--cipher", "vigenere:4711"], ["got '4711'", "expected one or more letters A-Z"]),
        (["--chiper", "rot13"], ["--chiper", "--cipher"]),
        (["--reply", "none"], ["'none'", "'both', 'cipher'"]),
        (["--max-line", "0"], ["--max-line", "got '0'", "expected bytes, 1 or more, as in 65536"]),
        (["--grace", "-1"], ["--grace", "got '-1'", "expected seconds, more than 0"]),
        (["--idle-timeout", "nan"], ["--idle-timeout", "got 'nan'", "seconds"]),
        (["--max-line"], ["--max-line", "requires an argument"]),
        (["--sandbox=strict"], ["--sandbox", "got 'strict'", "true, false or 'require'"]),
        (["--listen", "htp://127.0.0.1:0"], ["'htp'", "did you mean tcp://127.0.0.1:0?"]),
        (["--listen", "127.0.0.1:65536"], ["'65536'", "from 0 to 65535"]),
        (["--listen", "127.0.0.1"], ["'127.0.0.1'", "a host and a port"]),
        (["--listen", "::1:0"], ["'::1:0'", "in brackets"]),
        (["--listen", ":0"], ["':0'", "expected a host"]),
        (["--listen", "unix://socket"], ["'unix://socket'", "an absolute path"]),
        (["--max-line", "1", "apply"], ["--max-line before apply", "after its name"]),
        (["apply", "--listen", "0"], ["--listen"]),
        (["ciphers", "rot31"], ["did you mean rot13"]),
    ],
    ids=" ".join,
)
def test_wrong_use_is_told_in_a_line_or_two(arguments: list[str], fragments: list[str]) -> None:
    # Were this socket tried first, the status would be 1, since there is no such directory.
    where: dict[str, Any] = {"CIPHERECHO_LISTEN": "unix:///no-such-directory/socket"}
    said = complaint(run(*arguments, **where), 2)
    for fragment in fragments:
        assert fragment in said


def test_a_cipher_without_an_inverse_does_not_decrypt(tmp_path: Path) -> None:
    one_way = "class OneWay:\n    def encrypt(self, body):\n        return b'.' * len(body)\n"
    Site(tmp_path).install("acme-ciphers", {"one-way": "acme:OneWay"}, acme=one_way)
    options = ["--decrypt", "--cipher", "rot13", "--cipher", "one-way"]
    where: dict[str, Any] = {
        "CIPHERECHO_LISTEN": "unix:///no-such-directory/socket",
        "PYTHONPATH": str(tmp_path),
    }
    assert "'one-way' can only encrypt" in complaint(run(*options, **where), 2)


# What the system refuses: status 1.


def test_an_address_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = complaint(running.run("--listen", str(port)), 1)
    assert f"can't listen on tcp://127.0.0.1:{port}: Address already in use" in said


def test_nothing_is_announced_if_one_of_several_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        complaint(running.run("--listen", f"unix://{path}", "--listen", str(port)), 1)
    assert not path.exists()


def test_an_address_of_another_machine() -> None:
    # One that is reserved for documentation.
    assert "tcp://192.0.2.1:0" in complaint(running.run("--listen", "192.0.2.1:0"), 1)


def test_a_directory_that_is_not_there() -> None:
    said = complaint(running.run("--listen", "unix:///no-such-directory/socket"), 1)
    assert "unix:///no-such-directory/socket: No such file or directory" in said


def test_no_permission(tmp_path: Path) -> None:
    directory = tmp_path / "not-ours"
    directory.mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write there; but nobody makes a socket in sysfs
        directory = Path("/sys")
    said = complaint(running.run("--listen", f"unix://{directory}/cipherecho-test"), 1)
    assert re.search("Permission denied|not permitted", said)


# Unix sockets and what else is at their path.


def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started(COMMAND, "--listen", f"unix://{path}") as server:
        assert path.is_socket()
        assert server.stop() == 0
    assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started(COMMAND, "--listen", f"unix://{path}") as server:
        server.kill()
    assert path.is_socket()
    with started(COMMAND, "--listen", f"unix://{path}"), connect_unix(path) as client:
        assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
    assert not path.exists()


def test_a_socket_that_is_in_use_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started(COMMAND, "--listen", f"unix://{path}"):
        said = complaint(running.run("--listen", f"unix://{path}"), 1)
        assert f"unix://{path}: Address already in use" in said
        with connect_unix(path) as client:
            assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_no_socket_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / "path", tmp_path / "precious"
    precious.write_text("data")
    if kind == "file":
        path.write_text("data")
    elif kind == "link":
        path.symlink_to(precious)
    else:
        path.mkdir()
    assert f"unix://{path}" in complaint(running.run("--listen", f"unix://{path}"), 1)
    assert path.is_dir() if kind == "directory" else path.read_text() == "data"
    assert path.is_symlink() == (kind == "link")
    assert precious.read_text() == "data"


# Options, from the command line and from the environment.


@dataclass(frozen=True)
class Setting:
    """An option that makes a difference."""

    option: str
    values: tuple[str, ...]
    """Nothing for an option that takes no value; FILES is a directory with certificates."""
    works: Callable[[Server], None]
    """Checks the difference."""
    listeners: int = 1
    others: Mapping[str, str] = field(default_factory=dict)
    """Variables for other options that are needed to see it."""

    @property
    def variable(self) -> str:
        """The variable of the environment for the same."""
        return "CIPHERECHO_" + self.option.removeprefix("--").replace("-", "_").upper()

    @property
    def is_of_a_listener(self) -> bool:
        """Whether one listener can have it, and none needs another process."""
        return self.option.removeprefix("--") in LISTENER_KEYS and self.listeners == 1

    def arguments(self) -> list[str]:
        """Return how it stands on a command line."""
        return [word for value in self.values for word in (self.option, value)] or [self.option]

    def table(self) -> str:
        """Return how it stands in a file, as all that a listener has."""
        settings = {
            "url": "127.0.0.1:0",
            self.option.removeprefix("--"): self.values or True,
            **{key_of(variable): (text,) for variable, text in self.others.items()},
        }
        lines = [f"{key} = {in_toml(key, value)}" for key, value in settings.items()]
        return "\n".join(["[[listener]]", *lines, ""])


def key_of(variable: str) -> str:
    """Return the key in a listener's table for a variable of the environment."""
    key = variable.removeprefix("CIPHERECHO_").replace("_", "-").lower()
    return "url" if key == "listen" else key


def in_toml(key: str, value: object) -> str:
    """Return what is a number in TOML, or text, or an array of text."""
    if isinstance(value, tuple) and len(value) == 1:
        [value] = value
    is_number = isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value) and key != "tls-min"
    return str(value) if is_number else json.dumps(value)


def replies(data: bytes, expected: bytes) -> Callable[[Server], None]:
    def works(server: Server) -> None:
        assert server.ask(data) == expected

    return works


def gives_up(data: bytes, message: bytes) -> Callable[[Server], None]:
    """Check that a client which sends `data` and waits gets an error line."""

    def works(server: Server) -> None:
        with server.connect() as client:
            client.sendall(data)
            assert receive_all(client).startswith(b"!error: " + message)

    return works


def closes_who_holds_most(server: Server) -> None:
    """Check that of five clients, for four of whom there is room, one has to go."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(5)]
        for client in clients:
            client.sendall(b"a" * 1900)
        told, _, _ = select.select(clients, [], [], PATIENCE)
        assert b"all clients together hold more than 8000 bytes" in receive_all(told[0])


def listens_twice(server: Server) -> None:
    assert len(server.endpoints) == 2


def serves_one_client(server: Server) -> None:
    with server.connect() as first, server.connect() as second:
        assert receive_all(second).startswith(b"!error: the server is full")
        assert ask(first, b"Hello\n") == b"Hello\nUryyb\n"


def cuts_who_does_not_read(server: Server) -> None:
    with never_reading(server):
        server.wait_for_record("write timeout")


def ends_soon(server: Server) -> None:
    with never_reading(server):
        assert server.stop() == 0
    assert "shutdown took longer than 0.2 s" in server.stderr


# Answers a line with the number of lines that are coded at once, but one never.
CROWD = """
import threading

class Crowd:
    slow = True

    def __init__(self):
        self.inside = 0

    def encrypt(self, body):
        if body == b"never":
            threading.Event().wait()
        self.inside += 1
        threading.Event().wait(0.2)
        number = self.inside
        self.inside -= 1
        return b"%d" % number
"""


def codes_one_at_a_time(server: Server) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(b"x\n")
        assert [receive_lines(client, 2) for client in clients] == [b"x\n1\n"] * 3


def loses_its_workers(server: Server) -> None:
    """Check what two lines that never end cost, of two sources, if there is one worker thread."""
    [metrics] = re.findall("^metrics tcp(://.*)$", server.stdout, re.M)
    [port] = re.findall(r"^listening tcp://127\.0\.0\.1:(\d+)$", server.stdout, re.M)

    def ask_from(source: str, data: bytes) -> bytes:
        address = ("127.0.0.1", int(port))
        with socket.create_connection(address, PATIENCE, (source, 0)) as client:
            return ask(client, data)

    sources = [f"127.0.0.{n if sys.platform == 'linux' else 1}" for n in (2, 3, 4)]
    for number, source in enumerate(sources[:2]):
        assert get(f"http{metrics}/readyz") == 200
        assert ask_from(source, b"never\n") == (
            b"never\n!error: this line took longer than 0.5 s to code, expected less; "
            b"closing the connection\n"
        )
        with urlopen(f"http{metrics}/metrics") as response:  # noqa: S310
            assert b"workers_written_off{" in (text := response.read())
            assert f"}} {number + 1}.0\n".encode() in text.partition(b"workers_written_off{")[2]
        if sys.platform != "linux":
            return  # it takes another source, and other systems have one address of their own
        if not number:
            assert ask_from(sources[2], b"x\n") == b"x\n1\n"
    assert get(f"http{metrics}/readyz") == 503
    assert b"\n!error: got a line while 2 earlier ones" in b"\n" + ask_from(sources[2], b"x\n")
    server.wait_for_record("no worker thread is left for the cipher Crowd")
    assert server.stop() == 0


def has_no_epoll_set(server: Server) -> None:
    assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    links = [str(one.readlink()) for one in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    assert links.count("anon_inode:[eventpoll]") == 1  # Trio's own


def speaks_of_its_sandbox(server: Server) -> None:
    server.wait_for_record("sandbox")
    assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"


def says_nothing(server: Server) -> None:
    server.ask(b"Hello\n")
    assert server.stop() == 0
    assert server.stderr == ""


def tells_of_whoever_says_nothing(server: Server) -> None:
    server.connect().close()
    server.wait_for_record("received=0 sent=0")


def asks_by_tls(server: Server) -> None:
    assert ask_by_tls(server) == b"Hello\nUryyb\n"


def asks_by_tls_1_2(server: Server) -> None:
    assert ask_by_tls(server, newest=ssl.TLSVersion.TLSv1_2) == b"Hello\nUryyb\n"


def wants_a_certificate(server: Server) -> None:
    with pytest.raises(ssl.SSLError, match="certificate required"), by_tls(server) as client:
        client.recv(1)  # in TLS 1.3, the client's handshake ends before the server's


def ask_by_tls(server: Server, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    with by_tls(server, newest) as client:
        client.sendall(b"Hello\n")
        return receive_lines(client, 2)


@contextmanager
def by_tls(
    server: Server, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[socket.socket]:
    """A client that shows no certificate, and looks at none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    with server.connect() as plain, context.wrap_socket(plain) as client:
        yield client


def lets_one_in(server: Server) -> None:
    with server.connect() as first, server.connect() as second:
        assert receive_all(second).startswith(b"!error: ")
        assert ask(first, b"Hello\n") == b"Hello\nUryyb\n"


def does_not_wait_for_a_header(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"PROXY ")
        receive_all(client)


def says_it_in_json(server: Server) -> None:
    assert server.stop() == 0
    records = [json.loads(line) for line in server.stderr.splitlines()]
    assert [one["message"] for one in records] == ["listening", "shutting down"]
    assert records[0]["endpoint"] == server.endpoints[0]


def get(url: str) -> int:
    """Return the status of a page."""
    try:
        with urlopen(url, timeout=PATIENCE) as response:  # noqa: S310
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


def has_metrics(server: Server) -> None:
    [metrics] = re.findall("^metrics tcp(://.*)$", server.stdout, re.M)
    assert get(f"http{metrics}/metrics") == 200


def serves_while_it_is_not_ready(server: Server) -> None:
    [metrics] = re.findall("^metrics tcp(://.*)$", server.stdout, re.M)
    [port] = re.findall("^listening .*:([0-9]+)$", server.stdout, re.M)
    server.process.send_signal(signal.SIGTERM)
    while get(f"http{metrics}/readyz") == 200:
        pass
    with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as client:
        assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
    assert server.stop_at_once() == 128 + signal.SIGTERM


TLS = {"CIPHERECHO_LISTEN": "tls://127.0.0.1:0", "CIPHERECHO_TLS_CERT": "FILES/both.pem"}

SETTINGS = [
    # As on the command line, the first stage comes first; each letter moves by 1 + 13.
    Setting("--cipher", ("caesar:1", "rot13"), replies(b"abc\n", b"abc\nopq\n")),
    Setting(
        "--decrypt",
        (),
        replies(b"bcd\n", b"bcd\nabc\n"),
        others={"CIPHERECHO_CIPHER": "caesar:1"},
    ),
    Setting(
        "--reset",
        ("line",),
        replies(b"a\na\n", b"a\na\na\na\n"),
        others={"CIPHERECHO_CIPHER": "vigenere:AB"},
    ),
    Setting("--listen", ("127.0.0.1:0", "tcp://127.0.0.1:0"), listens_twice, listeners=2),
    Setting("--reply", ("cipher",), replies(b"Hello\n", b"Uryyb\n")),
    Setting("--max-line", ("3",), gives_up(b"abcd", b"got a line of more than 3 bytes")),
    Setting(
        "--max-buffered",
        ("8000",),
        closes_who_holds_most,
        others={"CIPHERECHO_MAX_LINE": "2000"},
    ),
    Setting("--max-connections", ("1",), serves_one_client),
    Setting(
        "--max-workers",
        ("1",),
        codes_one_at_a_time,
        others={"CIPHERECHO_CIPHER": "crowd"},
    ),
    Setting(
        "--coding-timeout",
        ("0.5",),
        loses_its_workers,
        listeners=2,
        others={
            "CIPHERECHO_CIPHER": "crowd",
            "CIPHERECHO_MAX_WORKERS": "1",
            "CIPHERECHO_METRICS": "tcp://127.0.0.1:0",
        },
    ),
    Setting("--idle-timeout", ("0.2",), gives_up(b"", b"got nothing for 0.2 s")),
    Setting("--line-timeout", ("0.2",), gives_up(b"a", b"got no end of the line for 0.2 s")),
    Setting("--write-timeout", ("0.2",), cuts_who_does_not_read),
    Setting("--grace", ("0.2",), ends_soon),
    Setting("--no-express", (), has_no_epoll_set),
    Setting("--sandbox", (), speaks_of_its_sandbox),
    Setting("--log-level", ("error",), says_nothing),
    Setting("--log-format", ("json",), says_it_in_json),
    Setting("--log-empty", (), tells_of_whoever_says_nothing),
    Setting("--tls-cert", ("FILES/both.pem",), asks_by_tls, others=TLS),
    Setting(
        "--tls-key",
        ("FILES/server.key",),
        asks_by_tls,
        others={**TLS, "CIPHERECHO_TLS_CERT": "FILES/server.pem"},
    ),
    Setting("--tls-client-ca", ("FILES/root.pem",), wants_a_certificate, others=TLS),
    Setting(
        "--tls-client-auth",
        ("optional",),
        asks_by_tls,
        others={**TLS, "CIPHERECHO_TLS_CLIENT_CA": "FILES/root.pem"},
    ),
    Setting("--tls-min", ("1.2",), asks_by_tls_1_2, others=TLS),
    Setting(
        "--proxy-from",
        ("192.0.2.0/24", "127.0.0.0/8"),
        replies(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\na\n", b"a\nn\n"),
    ),
    Setting(
        "--handshake-timeout",
        ("0.2",),
        does_not_wait_for_a_header,
        others={"CIPHERECHO_PROXY_FROM": "127.0.0.1"},
    ),
    Setting("--max-connections-per-source", ("1",), lets_one_in),
    Setting("--accept-rate", ("0.001",), lets_one_in, others={"CIPHERECHO_ACCEPT_BURST": "1"}),
    Setting("--accept-burst", ("1",), lets_one_in, others={"CIPHERECHO_ACCEPT_RATE": "0.001"}),
    Setting("--metrics", ("tcp://127.0.0.1:0",), has_metrics, listeners=2),
    Setting(
        "--drain-delay",
        ("600",),
        serves_while_it_is_not_ready,
        listeners=2,
        others={"CIPHERECHO_METRICS": "tcp://127.0.0.1:0"},
    ),
    Setting("--config", ("FILES/cipherecho.toml",), replies(b"Hello\n", b"Uryyb\n")),
]


OF_THE_PROCESS = [setting for setting in SETTINGS if not setting.is_of_a_listener]
OF_A_LISTENER = [setting for setting in SETTINGS if setting.is_of_a_listener]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that FILES stands for; a cipher is installed there as well."""
    directory = tmp_path_factory.mktemp("files")
    Site(directory).install("acme-ciphers", {"crowd": "acme:Crowd"}, acme=CROWD)
    certificate, key = Authority.at(directory).write_server()
    (directory / "both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    (directory / "cipherecho.toml").write_text("reply = 'cipher'")
    return directory


@pytest.mark.parametrize("setting", OF_THE_PROCESS, ids=lambda setting: setting.option)
def test_an_option_makes_its_difference(setting: Setting, files: Path) -> None:
    arguments = [word.replace("FILES", str(files)) for word in setting.arguments()]
    others = {name: text.replace("FILES", str(files)) for name, text in setting.others.items()}
    variables = {"PYTHONPATH": str(files), "CIPHERECHO_LISTEN": "0", **others}
    with started(COMMAND, *arguments, listeners=setting.listeners, variables=variables) as server:
        setting.works(server)


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[Server]:
    """A server with a listener for each option that one can have."""
    config = files / "listeners.toml"
    tables = "".join(setting.table() for setting in OF_A_LISTENER)
    config.write_text(tables.replace("FILES", str(files)))
    command = (COMMAND, "--config", config)
    variables = {"PYTHONPATH": str(files)}
    with started(*command, listeners=len(OF_A_LISTENER), variables=variables) as server:
        yield server


@pytest.mark.parametrize("setting", OF_A_LISTENER, ids=lambda setting: setting.option)
def test_an_option_makes_its_difference_to_a_listener(setting: Setting, server: Server) -> None:
    setting.works(server.at(OF_A_LISTENER.index(setting)))


def test_every_option_is_tested_above() -> None:
    options = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", run("--help").stdout.decode(), re.M))
    # The last one is for a server that never starts; tests/cli/test_configuration.py has it.
    others = {"--help", "--version", "--check-config"}
    assert options - others == {setting.option for setting in SETTINGS}


def test_the_command_line_wins_over_the_environment() -> None:
    variables = {
        "CIPHERECHO_CIPHER": "caesar:1 rot13",
        "CIPHERECHO_LISTEN": "unix:///no-such-directory/socket",
        "CIPHERECHO_MAX_LINE": "3",
        "CIPHERECHO_REPLY": "cipher",
    }
    options = ["--cipher", "caesar:1", "--max-line", "4", "--reply", "both"]
    with serving(*options, variables=variables) as server:
        assert server.ask(b"abcd\n") == b"abcd\nbcde\n"


def test_stages_in_the_environment_may_have_quoted_spaces() -> None:
    """And white space of any kind between them."""
    variables: dict[str, Any] = {
        "CIPHERECHO_CIPHER": "  caesar:shift=\"1\" \n vigenere:key='A B'\t"
    }
    said = complaint(run(**variables), 2)
    assert "got 'A B', expected one or more letters A-Z" in said


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_variable_counts_as_not_set(text: str) -> None:
    names = [setting.variable for setting in SETTINGS if setting.option != "--listen"]
    with serving(variables=dict.fromkeys(names, text)) as server:
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
    where: dict[str, Any] = {"CIPHERECHO_LISTEN": text, "CIPHERECHO_CIPHER": "rot31"}
    assert "'rot31'" in complaint(run(**where), 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CIPHERECHO_CIPHER", "rot31"),
        ("CIPHERECHO_CIPHER", "caesar:"),
        ("CIPHERECHO_DECRYPT", "perhaps"),
        ("CIPHERECHO_GRACE", "long"),
        ("CIPHERECHO_IDLE_TIMEOUT", "-1"),
        ("CIPHERECHO_LINE_TIMEOUT", "0"),
        ("CIPHERECHO_LISTEN", "127.0.0.1:0 htp://127.0.0.1:0"),
        ("CIPHERECHO_LOG_LEVEL", "loud"),
        ("CIPHERECHO_MAX_CONNECTIONS", "0"),
        ("CIPHERECHO_MAX_LINE", "9kB"),
        ("CIPHERECHO_REPLY", "none"),
        ("CIPHERECHO_RESET", "never"),
        ("CIPHERECHO_ACCEPT_BURST", "1.5"),
        ("CIPHERECHO_ACCEPT_RATE", "0"),
        ("CIPHERECHO_CHECK_CONFIG", "perhaps"),
        ("CIPHERECHO_DRAIN_DELAY", "-1"),
        ("CIPHERECHO_HANDSHAKE_TIMEOUT", "0"),
        ("CIPHERECHO_LOG_FORMAT", "xml"),
        ("CIPHERECHO_MAX_CONNECTIONS_PER_SOURCE", "many"),
        ("CIPHERECHO_METRICS", "fd://3"),
        ("CIPHERECHO_PROXY_FROM", "127.0.0.1,localhost"),
        ("CIPHERECHO_SANDBOX", "perhaps"),
        ("CIPHERECHO_TLS_CERT", "here"),
        ("CIPHERECHO_TLS_CLIENT_AUTH", "perhaps"),
        ("CIPHERECHO_TLS_MIN", "1.1"),
        ("CIPHERECHO_WRITE_TIMEOUT", "nan"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, text: str) -> None:
    assert name in complaint(run(**dict[str, Any]({name: text})), 2)


# Help.


def examples(*command: str) -> list[str]:
    """Return the lines under "Examples" in the help of a command, as they would be pasted."""
    _, _, rest = run(*command, "--help").stdout.decode().partition("Examples:\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


def test_help_shows_serving_first() -> None:
    ended = run("--help")
    assert (ended.status, ended.stderr) == (0, "")
    text = ended.stdout.decode()
    first, second, *_ = text.splitlines()
    assert first == "Usage: cipherecho [OPTIONS]"
    assert second.strip().startswith("cipherecho COMMAND")
    assert text.index("cipherecho --cipher rot13") < text.index("cipherecho apply")
    assert run("-h") == ended


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(command: list[str]) -> None:
    lines = run(*command, "--help", COLUMNS="80").stdout.decode().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    # A name is not broken: nobody could paste the rest of it, or look for it.
    assert [line for line in lines if line.endswith("-")] == []


def test_help_has_commands_first_and_all_options_in_one_column() -> None:
    text = run("--help", COLUMNS="80").stdout.decode()
    commands, *sections = re.findall(r"^(\S.*):\n((?:  .*\n)+)", text, re.MULTILINE)
    assert commands[0].startswith("Commands")
    assert [line.split()[0] for line in commands[1].splitlines()] == list(COMMANDS)
    columns = {
        found.end()
        for _, section in [commands, *sections]
        for line in section.splitlines()
        for found in [re.match(r"  \S.*?  +\S|   +\S", line)]
        if found
    }
    assert len(columns) == 1
    options = {word for _, section in sections for word in section.split() if word[:2] == "--"}
    assert {one.opts[0] for one in root.params} <= options


def test_the_examples_in_the_help_work_when_pasted() -> None:
    serve, talk, filtering, pipeline, listing = examples()
    # The first is for the port that it serves without options, if that is free here.
    elsewhere = {} if is_free(8013) else {"CIPHERECHO_LISTEN": "0"}
    tool("ncat")
    with started("sh", "-c", f"exec {serve}", variables=elsewhere) as server:
        assert "8013" in talk
        talked = run_shell(f"echo Hello | {talk.replace('8013', str(server.port))}")
        assert talked.stdout == b"Hello\nUryyb\n"
    with started("sh", "-c", f"exec {filtering}") as server:
        assert server.ask(b"Hello\n") == b"Uryyb\n"
    assert run_shell(pipeline).stdout == b"Uryyb\n"
    assert b"rot13" in run_shell(listing).stdout


def test_the_examples_of_the_commands_work_when_pasted(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Hello\n")
    pipeline, file = examples("apply")
    assert run_shell(pipeline).stdout == b"Uryyb\n"
    assert run_shell(file, cwd=tmp_path).stdout == b"Uryyb\n"

    listing, page = examples("ciphers")
    assert b"\n  rot13 " in run_shell(listing).stdout
    assert run_shell(page).stdout.startswith(b"rot13 (cipherecho ")


def test_version() -> None:
    ended = running.run("--version")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.decode() == f"cipherecho {version('cipherecho')}\n"


# Outputs that nobody reads.


def test_a_standard_output_that_nobody_reads_does_not_matter() -> None:
    """Its reader is gone before the server writes to it, as after ``| head -0``."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as output:
        check_that_it_serves_without_standard_output(output.fileno(), "exec cipherecho")


def test_a_standard_output_that_is_closed_does_not_matter() -> None:
    check_that_it_serves_without_standard_output(None, "exec cipherecho >&-")


def check_that_it_serves_without_standard_output(stdout: int | None, command: str) -> None:
    # The one thing that tells the port then is the warning for an open address.
    where: dict[str, Any] = {"CIPHERECHO_LISTEN": "0.0.0.0:0"}
    with started("sh", "-c", command, stdout=stdout, variables=where) as server:
        port = re.search(r"tcp://0\.0\.0\.0:(\d+) ", server.wait_for_record("can be reached"))
        assert port
        with socket.create_connection(("127.0.0.1", int(port[1])), PATIENCE) as client:
            assert ask(client, b"Hello\n") == b"Hello\nUryyb\n"
        assert server.stop() == 0


def test_a_standard_error_that_is_never_read_delays_nothing() -> None:
    """Nor does it keep the server from ending, once the pipe can take no more."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0):
        with started(COMMAND, "--listen", "0", stderr=writer) as server:
            # Each makes a record of some 150 bytes; a pipe takes 64 KiB.
            for _ in range(600):
                assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
            assert unread(reader) > 60_000
            assert server.stop() == 0


@pytest.mark.parametrize("redirections", ["2>&-", "<&- 2>&-"])
def test_standard_streams_that_are_closed_do_not_matter(redirections: str) -> None:
    with started("sh", "-c", f"exec cipherecho --listen 0 {redirections}") as server:
        assert server.ask(b"Hello\n") == b"Hello\nUryyb\n"
        # No socket has got their numbers, and with them what was meant for standard error.
        assert Path(f"/proc/{server.process.pid}/fd/2").readlink() == Path(os.devnull)
        assert server.stop() == 0


# What the tests above need.


def is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def unread(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def connect_unix(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    client.connect(str(path))
    return client


@contextmanager
def never_reading(server: Server) -> Iterator[None]:
    """A client that sends until nothing more is taken, or it is cut, and reads nothing."""
    with server.connect() as client:
        client.settimeout(0.2)
        with suppress(TimeoutError, ConnectionError):
            while True:
                client.sendall(b"Hello\n" * 10_000)
        yield


class Pipelining:
    """A client that sends numbered lines without end, and reads the replies meanwhile."""

    def __init__(self, client: socket.socket) -> None:
        self.was_reset = False
        self._client = client
        self._received: list[bytes] = []
        self._replied = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def line(number: int) -> bytes:
        """Return the line of that number, from 0."""
        return b"%d: Hello, and what is your opinion of Julius Caesar?\n" % number

    def wait_for_first_reply(self) -> None:
        assert self._replied.wait(PATIENCE)

    def join(self) -> bytes:
        """Return all that was received, when the server has closed."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        return b"".join(self._received)

    def _send(self) -> None:
        numbers = count()
        with suppress(OSError):  # the server has closed
            while True:
                self._client.sendall(b"".join(self.line(next(numbers)) for _ in range(100)))

    def _receive(self) -> None:
        try:
            while piece := self._client.recv(65_536):
                self._received.append(piece)
                self._replied.set()
            self._client.shutdown(socket.SHUT_RDWR)  # which ends the other thread
        except OSError:
            self.was_reset = True


def test_what_a_plugin_prints_does_not_come_before_the_announcement(tmp_path: Path) -> None:
    source = "print('hello')\n\nclass Chatty:\n    def encrypt(self, body):\n        return body\n"
    Site(tmp_path).install("acme-ciphers", {"chatty": "chatty:Chatty"}, chatty=source)
    with serving("--cipher", "chatty", variables={"PYTHONPATH": str(tmp_path)}) as server:
        with server.connect() as client:
            assert ask(client, b"abc\n") == b"abc\nabc\n"


def test_a_unix_path_that_is_no_text_is_served_all_the_same(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.sock"
    with started(COMMAND, "--listen", os.fsdecode(b"unix://" + path)) as server:
        assert server.stop() == 0
