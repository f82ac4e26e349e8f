"""What a plugin can do in the sandbox, when it is hostile and native; and what goes on in it.

The plugin is a library in C, called without a look at Python.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from cipherecho.companion import cache_directory
from cipherecho.host.sandbox.confinement import (
    SandboxError,
    confine,
    import_directories,
    left_over,
    shortcomings,
)
from cipherecho.host.sandbox.landlock import version
from cipherecho.host.sandbox.links import linked_from
from cipherecho.settings.process import Sandbox
from tests.helpers.certificates import Authority
from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    ask,
    complaint,
    do_without,
    receive_lines,
    run,
    run_program,
    started,
    tool,
)
from tests.helpers.site import Site

# Each function tries something, and returns 0 or the number of the error.
NATIVE = r"""
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int tried(int result)
{
    int error = result < 0 ? errno : 0;
    if (result > 2)
        close(result);
    return error;
}

int read_file(const char *path) { return tried(open(path, O_RDONLY)); }
int write_file(const char *path) { return tried(open(path, O_WRONLY | O_CREAT, 0600)); }
int remove_file(const char *path) { return tried(unlink(path)); }
int send_signal(const char *process) { return tried(kill(atoi(process), 0)); }

int list(const char *path)
{
    DIR *directory = opendir(path);
    return directory ? closedir(directory) : errno;
}

static int with_port(int (*act)(int, const struct sockaddr *, socklen_t), const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), error;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    error = tried(act(descriptor, (struct sockaddr *)&address, sizeof address));
    close(descriptor);
    return error;
}

int connect_out(const char *port) { return with_port(connect, port); }
int listen_at(const char *port) { return with_port(bind, port); }

int connect_abstract(const char *name)
{
    struct sockaddr_un_ { sa_family_t family; char path[108]; } address = {AF_UNIX, {0}};
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0), error;
    strcpy(address.path + 1, name);
    error = tried(connect(descriptor, (struct sockaddr *)&address,
                          sizeof address.family + 1 + strlen(name)));
    close(descriptor);
    return error;
}

int execute(const char *path)
{
    char *words[] = {(char *)path, NULL}, *none[] = {NULL};
    pid_t child;
    int error = posix_spawn(&child, path, NULL, NULL, words, none);
    return error ? error : tried(waitpid(child, NULL, 0) == child ? 0 : -1);
}
"""

# A line is what to try and with what, and its code is how it ended.
HOSTILE = """
import ctypes
import errno
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

LIBRARY = ctypes.CDLL(str(Path(__file__).with_name("libhostile.so")))

@dataclass(frozen=True)
class Hostile:
    slow: bool = False

    def encrypt(self, body):
        what, _, argument = body.partition(b" ")
        while what == b"loop":
            pass
        if what == b"import":
            import_module(argument.decode())
            return b"done"
        number = getattr(LIBRARY, what.decode())(argument)
        return errno.errorcode[number].encode() if number else b"done"
"""

# The same, tried by what an import leaves behind: a child and a thread; and by the import.
ESCAPING = """
import ctypes
import errno
import os
import threading
from pathlib import Path

LIBRARY = ctypes.CDLL(str(Path(__file__).with_name("libhostile.so")))

def outcomes():
    for attempt in os.environ["ATTEMPTS"].splitlines():
        what, _, argument = attempt.partition(" ")
        number = getattr(LIBRARY, what)(argument.encode())
        yield errno.errorcode[number] if number else "done"

def when_asked(asked, answer):
    os.read(asked, 1)
    os.write(answer, " ".join(outcomes()).encode())

ENDS = {who: (os.pipe(), os.pipe()) for who in (b"child", b"thread")}
WHILE_IMPORTED = " ".join(outcomes()).encode()

if os.fork() == 0:
    (asked, asking), (_, answer) = ENDS[b"child"]
    os.close(asking)
    when_asked(asked, answer)
    os._exit(0)

(asked, _), (_, answer) = ENDS[b"thread"]
threading.Thread(target=when_asked, args=(asked, answer), name="counting", daemon=True).start()

class Escaping:
    def encrypt(self, body):
        if body == b"import":
            return WHILE_IMPORTED
        (_, asking), (answered, _) = ENDS[body]
        os.write(asking, b"?")
        return os.read(answered, 10_000)
"""


@pytest.fixture(scope="module")
def landlock() -> int:
    """The version that this kernel has, which is enough for a complete sandbox."""
    if sys.platform != "linux":
        pytest.skip("this is about Linux")
    return version() if version() >= 6 else do_without("Landlock of version 6 (Linux 6.12)")


@pytest.fixture(scope="module")
def hostile(landlock: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which the server finds the plugin."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.install("acme-hostile", {"hostile": "hostile:Hostile"}, hostile=HOSTILE)
    site.install("acme-escaping", {"escaping": "escaping:Escaping"}, escaping=ESCAPING)
    (site.path / "hostile.c").write_text(NATIVE)
    words = [tool("gcc"), "-shared", "-fPIC", "-o", "libhostile.so", "hostile.c"]
    subprocess.run(words, cwd=site.path, check=True, timeout=PATIENCE)
    return {"PYTHONPATH": str(site.path)}


@pytest.mark.parametrize("where", ["event loop", "worker thread"])
@pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "no sandbox"])
def test_a_hostile_native_plugin_fails_at_each_and_the_server_goes_on(
    where: str, sandbox: bool, hostile: dict[str, str], tmp_path: Path
) -> None:
    """Without the sandbox it does it all, so that the failures are the sandbox's."""
    files = {name: tmp_path / name for name in ("read", "removed")}
    for file in files.values():
        file.write_text("secret")
    name = f"cipherecho-test-{os.getpid()}-{where}-{sandbox}"
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as closed,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        free = closed.getsockname()[1]
        closed.close()
        attempts = {
            f"read_file {files['read']}": "EACCES",
            "read_file /etc/passwd": "EACCES",
            "read_file /proc/self/environ": "EACCES",
            f"write_file {tmp_path / 'made'}": "EACCES",
            f"write_file {hostile['PYTHONPATH']}/hostile.py": "EACCES",
            f"remove_file {files['removed']}": "EACCES",
            "list /": "EACCES",
            f"list {tmp_path}": "EACCES",
            f"connect_out {listener.getsockname()[1]}": "EACCES",
            f"listen_at {free}": "EACCES",
            f"connect_abstract {name}": "EPERM",
            f"send_signal {os.getpid()}": "EPERM",
            f"execute {sys.executable}": "EACCES",
            "execute /bin/true": "EACCES",
        }
        slow = str(where == "worker thread").lower()
        options = ["--cipher", f"hostile:slow={slow}", "--reply", "cipher"]
        # A name is looked up by a thread, which is there when the sandbox comes and then
        # codes.
        options += ["--listen", "localhost:0", *(["--sandbox=require"] if sandbox else [])]
        with started(COMMAND, *options, variables=hostile) as server, server.connect() as other:
            reply = server.ask("".join(f"{attempt}\n" for attempt in attempts).encode())
            outcomes = dict(zip(attempts, reply.decode().splitlines(), strict=True))
            assert outcomes == (attempts if sandbox else dict.fromkeys(attempts, "done"))
            # Modules can be imported when they are needed, from wherever some have been.
            assert ask(other, b"import colorsys\n") == b"done\n"


@pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "no sandbox"])
def test_what_a_plugin_starts_when_it_is_imported_is_confined_too(
    sandbox: bool, hostile: dict[str, str], tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    certificate, key = Authority.at(tmp_path).write_server()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as closed,
    ):
        free = closed.getsockname()[1]
        closed.close()
        attempts = {
            f"read_file {secret}": "EACCES",
            f"read_file {key}": "EACCES",
            "read_file /etc/shadow": "EACCES",
            "read_file /proc/self/environ": "EACCES",
            f"write_file {tmp_path / 'made'}": "EACCES",
            f"write_file {hostile['PYTHONPATH']}/escaping.py": "EACCES",
            f"list {tmp_path}": "EACCES",
            f"connect_out {listener.getsockname()[1]}": "EACCES",
            f"listen_at {free}": "EACCES",
            f"send_signal {os.getpid()}": "EPERM",
            "execute /bin/true": "EACCES",
        }
        expected = " ".join(attempts.values() if sandbox else ["done"] * len(attempts))
        options: list[str | Path] = [
            "--cipher",
            "escaping",
            "--reply",
            "cipher",
            "--listen",
            "localhost:0",
        ]
        options += ["--listen", "tls://127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key]
        options += ["--sandbox=require"] if sandbox else []
        variables = hostile | {"ATTEMPTS": "\n".join(attempts)}
        with started(COMMAND, *options, listeners=2, variables=variables) as server:
            server.process.send_signal(1)
            server.wait_for_record("certificates reloaded")
            assert server.ask(b"import\nchild\nthread\n").decode().splitlines() == [expected] * 3


READING = """
from pathlib import Path

class Reading:
    def __init__(self, key: str, plain: bool = False):
        self.key = Path(key).read_bytes()

    def encrypt(self, body):
        return self.key
"""


def test_a_cipher_reads_the_files_that_its_options_name_and_no_others(
    landlock: int, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    Site(site).install("acme-reading", {"reading": "reading:Reading"}, reading=READING)
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("a key")
    other.symlink_to(tmp_path / "other.target")
    (tmp_path / "other.target").write_text("another")
    config = tmp_path / "cipherecho.toml"
    config.write_text(f'cipher = ["rot13", "reading:{key}", "reading:plain=yes,key={other}"]')
    options: list[str | Path] = [
        "--config",
        config,
        "--sandbox=require",
        "--listen",
        "0",
        "--reply",
        "cipher",
    ]
    with started(COMMAND, *options, variables={"PYTHONPATH": str(site)}) as server:
        assert server.ask(b"Hello\n") == b"another\n"
    # A directory that is named is not all that is in it.
    for sandbox in ("", "--sandbox=require"):
        words = [*filter(None, [sandbox]), "--cipher", f"reading:{tmp_path}/../{tmp_path.name}/key"]
        assert run(*words, "--check-config", PYTHONPATH=str(site)).status == 0
    (site / "reading.py").write_text(READING.replace("Path(key)", "Path(key, 'key')"))
    words = ["--cipher", f"reading:{tmp_path}", "--check-config"]
    assert run(*words, PYTHONPATH=str(site)).status == 0
    said = complaint(run(*words, "--sandbox=require", PYTHONPATH=str(site)), 2)
    assert "cipher reading (acme-reading 1.0, " in said
    assert "can't be made: PermissionError: " in said
    assert "in the sandbox" in said


AIDED = """
import ctypes
import errno
import os
from pathlib import Path

from cipherecho.companion import companion, give_up_files

LIBRARY = ctypes.CDLL(str(Path(__file__).with_name("libhostile.so")))

def outcomes(directory):
    for attempt in os.environ["ATTEMPTS"].splitlines():
        what, _, argument = attempt.replace("CACHE", str(directory)).partition(" ")
        number = getattr(LIBRARY, what)(argument.encode())
        yield errno.errorcode[number] if number else "done"

def serve(requests, answers, directory):
    print("this gets nowhere")
    while request := requests.readline():
        if request == b"give up\\n":
            give_up_files()
        answers.write(" ".join(outcomes(directory)).encode() + b"\\n")
        answers.flush()

class Aided:
    def __init__(self):
        with companion("acme-aided", "aided:serve") as running:
            running.requests.write(b"?\\ngive up\\n")
            running.requests.flush()
            self.answers = [running.answers.readline() for _ in range(2)]

    def encrypt(self, body):
        return self.answers[int(body)].strip()
"""


@pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "no sandbox"])
def test_a_companion_can_write_to_a_directory_of_its_own_and_do_nothing_else(
    sandbox: bool, hostile: dict[str, str], tmp_path: Path
) -> None:
    """It is confined without a sandbox for the server too, where it is started when needed."""
    site = Site(Path(hostile["PYTHONPATH"]))
    if not (site.path / "aided.py").exists():
        info = site.install("acme-aided", {"aided": "aided:Aided"}, aided=AIDED)
        with (info / "entry_points.txt").open("a") as points:
            points.write("[cipherecho.companions]\naided = aided:serve\n")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        attempts = {
            f"read_file {secret}": "EACCES",
            "write_file CACHE/made": "done",
            "remove_file CACHE/made": "done",
            f"write_file {tmp_path}/cache/cipherecho/cipherecho-wasm": "EACCES",
            f"write_file {site.path}/aided.py": "EACCES",
            f"connect_out {listener.getsockname()[1]}": "EACCES",
            f"send_signal {os.getpid()}": "EPERM",
            "execute /bin/true": "EACCES",
        }
        variables = hostile | {
            "ATTEMPTS": "\n".join(attempts),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        options = ["--cipher", "aided", "--reply", "cipher", "--listen", "0"]
        options += ["--sandbox=require"] if sandbox else []
        with started(COMMAND, *options, variables=variables) as server:
            first, second = server.ask(b"0\n1\n").decode().splitlines()
            assert children(server.process.pid) == []
    assert first == " ".join(attempts.values())
    assert "done" not in second
    assert (tmp_path / "cache" / "cipherecho" / "acme-aided").is_dir()


# A companion that has only its module, and a cipher that imports what a line names.
LINKED = """
from importlib import import_module

from cipherecho.companion import companion

class Linked:
    def __init__(self):
        with companion("acme-linked", "acme_linked.aid:serve") as running:
            self.answer = running.answers.readline().strip()

    def encrypt(self, body):
        import_module(body.decode())
        return self.answer
"""
AID = """
from acme_linked.inner import ANSWER

def serve(requests, answers, directory):
    answers.write(ANSWER + b"\\n")
"""


@pytest.mark.parametrize("linked", ["files", "directory"])
def test_packages_that_are_installed_as_links_can_be_imported(
    linked: str, landlock: int, tmp_path: Path
) -> None:
    """Beside the server, while ciphers are made, and after that; and a linked module."""
    stored = tmp_path / "store"
    sources = {
        "acme_linked/__init__.py": LINKED,
        "acme_linked/aid.py": AID,
        "acme_linked/inner/__init__.py": 'ANSWER = b"done"',
        "acme_linked/inner/late.py": "",
        "acme_later.py": "",
    }
    for name, source in sources.items():
        (stored / name).parent.mkdir(parents=True, exist_ok=True)
        (stored / name).write_text(source)
    site = Site(tmp_path / "site")
    site.path.mkdir()
    info = site.install("acme-linked", {"linked": "acme_linked:Linked"})
    with (info / "entry_points.txt").open("a") as points:
        points.write("[cipherecho.companions]\nlinked = acme_linked.aid:serve\n")
    for name in sources if linked == "files" else ["acme_linked", "acme_later.py"]:
        (site.path / name).parent.mkdir(parents=True, exist_ok=True)
        (site.path / name).symlink_to(stored / name)
    options = ["--cipher", "linked", "--reply", "cipher", "--listen", "0", "--sandbox=require"]
    with started(COMMAND, *options, variables={"PYTHONPATH": str(site.path)}) as server:
        assert server.ask(b"acme_linked.inner.late\nacme_later\n") == b"done\ndone\n"


def children(process: int) -> list[int]:
    """Return the numbers of a process's children that its main thread has."""
    numbers = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in numbers.split()]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b", "XDG_CACHE_HOME": "/x"},
            "/var/cache/a/p",
        ),
        ({"XDG_CACHE_HOME": "/x"}, "/x/cipherecho/p"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/acme/.cache/cipherecho/p"),
        ({}, "/home/acme/.cache/cipherecho/p"),
    ],
)
def test_the_directory_of_a_companion_is_where_caches_are(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (variables | {"HOME": "/home/acme"}).items():
        monkeypatch.setenv(name, value)
    assert cache_directory("p") == Path(expected)


def test_ciphers_that_are_no_good_are_told_together(landlock: int, tmp_path: Path) -> None:
    """Those that metadata tells of with the other problems, and the rest once in the sandbox."""
    config = tmp_path / "cipherecho.toml"
    tables = "".join(
        f'[[listener]]\nurl = "0"\ncipher = "{cipher}"\n'
        for cipher in ("rot13:5", "rot13:6", "rot13")
    )
    config.write_text(f"sandbox = 'require'\n{tables}")
    words: list[str | Path] = ["--config", config]
    early = run(*words, "--check-config", "--max-line", "0", "--cipher", "rot31")
    assert early.stderr.count("\n") == 2 == early.status
    assert "did you mean rot13" in early.stderr
    for check in ([], ["--check-config"]):
        late = run(*words, *check)
        assert (late.status, late.stdout) == (2, b"")
        told = [line for line in late.stderr.splitlines() if line.startswith("cipherecho: ")]
        assert ["got '5'" in told[0], "got '6'" in told[1]] == [True, True]
        assert len(told) == 2
    assert run(*words, "--cipher", "rot13", "--check-config").status == 0


def test_a_plugin_that_never_ends_is_ended_in_order(hostile: dict[str, str]) -> None:
    """The C library ends its thread, and aborts if it can't load what it needs for that."""
    options = ["--cipher", "hostile:slow=true", "--sandbox", "--listen", "0", "--grace", "0.2"]
    with started(COMMAND, *options, variables=hostile) as server, server.connect() as client:
        client.sendall(b"loop\n")
        assert server.stop() == 0


def test_all_that_a_server_does_goes_on(landlock: int, tmp_path: Path) -> None:
    """Certificates are read again, metrics told, and the service manager too."""
    live, renewed = Authority.at(tmp_path / "live"), Authority.at(tmp_path / "renewed")
    certificate, key = live.write_server()
    path = tmp_path / "socket"
    options: list[str | Path] = ["--listen", "tls://127.0.0.1:0"]
    options += ["--tls-cert", certificate, "--tls-key", key]
    options += ["--listen", f"unix://{path}", "--metrics", "tcp://127.0.0.1:0"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"cipherecho-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        manager.settimeout(PATIENCE)
        with started(
            COMMAND,
            *options,
            "--sandbox=require",
            listeners=3,
            variables={"NOTIFY_SOCKET": f"@{name}"},
        ) as server:
            assert manager.recv(100) == b"READY=1"
            threads = Path(f"/proc/{server.process.pid}/task").glob("*/status")
            assert all("NoNewPrivs:\t1\n" in thread.read_text() for thread in threads)
            metrics, tls, unix = (line.rpartition(":")[2] for line in server.stdout.splitlines())
            assert unix == f"//{path}"

            for new, old in zip(renewed.write_server(), (certificate, key), strict=True):
                new.replace(old)
            server.process.send_signal(1)
            server.wait_for_record("certificates reloaded")
            assert manager.recv(100).startswith(b"RELOADING=1")
            assert manager.recv(100) == b"READY=1"
            with (
                socket.create_connection(("127.0.0.1", int(tls)), PATIENCE) as plain,
                renewed.trusting().wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(b"Hello\n")
                assert receive_lines(secured, 2) == b"Hello\nUryyb\n"

            key.unlink()
            server.process.send_signal(1)
            server.wait_for_record("certificates in use are kept: can't read the TLS key ")
            assert "No such file or directory" in server.stderr
            [reader] = children(server.process.pid)
            os.kill(reader, 9)
            server.process.send_signal(1)
            server.wait_for_record("the process that reads it for the server has ended")
            for _ in range(2):
                assert manager.recv(100).startswith(b"RELOADING=1")
                assert manager.recv(100) == b"READY=1"

            assert ask_at(path) == b"Hello\nUryyb\n"
            assert "process_open_fds" in scraped(int(metrics))
            assert "process_cpu_seconds_total" in scraped(int(metrics))
            assert server.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"
    # Nothing can be removed, and the next server doesn't mind.
    assert path.is_socket()
    assert " warning " not in server.stderr
    with started(COMMAND, "--listen", f"unix://{path}") as server:
        assert ask_at(path) == b"Hello\nUryyb\n"
    assert not path.exists()


def ask_at(path: Path) -> bytes:
    """Return what the server at a Unix socket answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        return ask(client, b"Hello\n")


def scraped(port: int) -> str:
    """Return the metrics."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


# What is not there, and what is said about it.


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (0, ["this system has no Landlock"]),
        (3, ["version 3", "TCP", "ioctl", "signals"]),
        (5, ["version 5", "signals"]),
        (6, []),
        (7, []),
        (99, []),
    ],
)
def test_what_is_missing_depends_on_the_kernel(available: int, expected: list[str]) -> None:
    said = " ".join(shortcomings(available))
    assert bool(said) == bool(expected)
    for one in expected:
        assert one in said


def test_what_no_landlock_takes_away_is_said_and_not_required() -> None:
    assert "UDP" in left_over(7)
    assert "UDP" not in left_over(10)
    assert "the names, modes and times of files" in left_over(99)
    # What an older one should have taken away is told as missing, not here.
    assert left_over(3) == left_over(6)


async def test_without_landlock_require_refuses_and_else_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(SandboxError, match=r"no Landlock.*Linux 6\.12") as caught:
        await confine(Sandbox.REQUIRE, available=0)
    assert len(caught.value.missing) == 1
    await confine(Sandbox.ON, available=0)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "this system has no Landlock" in record.getMessage()


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert version() == 0


# In a process of its own, since it is for good.
PROGRAM = """
import logging, os, socket, sys, threading, trio
from cipherecho.host.sandbox.confinement import SandboxError, confine
from cipherecho.settings.process import Sandbox

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
if "thread" in sys.argv:
    threading.Thread(target=threading.Event().wait, name="counting", daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
try:
    trio.run(lambda: confine(Sandbox(sys.argv[1]), available=int(sys.argv[2])))
except SandboxError as error:
    print("refused", error)
else:
    socket.create_connection(listener.getsockname()).close()
    print("connected")
    open("/etc/passwd")
"""


def test_an_older_kernel_takes_what_it_can_and_says_the_rest(landlock: int) -> None:
    """One that knows no network: what it knows of files is taken all the same."""
    ended = run_program(sys.executable, "-c", PROGRAM, "on", "3")
    said = ended.stdout.decode()
    assert "the sandbox is not complete: this kernel's Landlock has version 3" in said
    assert said.endswith("connected\n")
    assert "PermissionError" in ended.stderr
    refused = run_program(sys.executable, "-c", PROGRAM, "require", "3").stdout.decode()
    assert refused.startswith("refused can't start in a sandbox: this kernel's Landlock has")


def test_a_thread_that_is_not_confined_is_named(landlock: int) -> None:
    """As every one is that somebody else's code has started, before Landlock's version 8."""
    ended = run_program(sys.executable, "-c", PROGRAM, "require", "7", "thread")
    said = ended.stdout.decode()
    assert "threads that were there before are not confined: counting." in said


def test_a_server_that_is_refused_says_why_and_does_not_start(
    landlock: int, tmp_path: Path
) -> None:
    """What runs when Python starts, before us, can have threads."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='counting', daemon=True).start()\n"
    )
    if landlock >= 8:
        pytest.skip("this kernel confines all threads")
    said = complaint(run("--sandbox=require", "--listen", "0", PYTHONPATH=str(tmp_path)), 1)
    assert "threads that were there before are not confined: counting" in said


# Where modules come from.


def test_where_python_was_started_is_not_where_modules_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend("")
    script = str(tmp_path / "script.py")
    # Where several processes share the tests, the program of each has no file.
    monkeypatch.setattr(sys.modules["__main__"], "__file__", script, raising=False)
    monkeypatch.setitem(sys.modules, "__mp_main__", sys.modules["__main__"])
    found = import_directories()
    assert tmp_path not in found
    assert not any(one in found for one in tmp_path.parents)
    (tmp_path / "acme_late.py").touch()
    monkeypatch.setitem(sys.modules, "acme_late", __import__("acme_late"))
    assert tmp_path in import_directories()


def test_a_package_from_outside_the_path_has_its_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "acme"
    package.mkdir()
    module = type(ssl)("acme")
    module.__path__ = [str(package)]
    monkeypatch.setitem(sys.modules, "acme", module)
    found = import_directories()
    assert package in found
    assert tmp_path not in found


@pytest.mark.parametrize("deeper", ["", "empty/empty"], ids=["a package", "a namespace package"])
def test_links_among_the_first_files_of_a_package_are_followed_with_all_beneath(
    deeper: str, tmp_path: Path
) -> None:
    stored, package = tmp_path / "store", tmp_path / "site" / deeper / "acme"
    stored.mkdir()
    (package / "inner").mkdir(parents=True)
    for name in ("code.py", "inner/data"):
        target = stored / Path(name).name
        target.touch()
        (package / name).symlink_to(target)
    assert set(linked_from(tmp_path / "site")) == {stored / "code.py", stored / "data"}


def test_a_package_without_links_is_not_read_further(tmp_path: Path) -> None:
    """So a start stays as fast as it is, however much is installed."""
    package = tmp_path / "site" / "acme"
    (package / "inner").mkdir(parents=True)
    (package / "code.py").touch()
    (package / "inner" / "data").symlink_to(tmp_path / "data")
    assert linked_from(tmp_path / "site") == ()


def test_a_linked_directory_is_searched_as_well(tmp_path: Path) -> None:
    first, second, site = (tmp_path / name for name in ("first", "second", "site"))
    for directory in (first, second, site):
        directory.mkdir()
    (site / "acme").symlink_to(first)
    (first / "inner").symlink_to(second)
    (second / "back").symlink_to(first)
    assert set(linked_from(site)) == {first, second}


@pytest.mark.parametrize("target", ["/", "..", ".", "gone", "loop"])
def test_a_link_opens_nothing_that_holds_the_directory(target: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "loop").symlink_to(target)
    assert [path for path in linked_from(site) if path.is_dir()] == []
