"""Real clients against the installed command: what ncat and socat get, compared with tr.

The text is that of GPL-3, and what its lines are coded to is made by ``tr``, so that
nothing of cipherecho is on both sides of a comparison.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.helpers.running import (
    COMMAND,
    PATIENCE,
    Output,
    Server,
    both,
    content,
    ending,
    run_program,
    started,
    tool,
)

# How to reach a server, by the last part of its address.
CLIENTS: dict[str, Callable[[Server], list[str]]] = {
    "ncat": lambda server: [tool("ncat"), "127.0.0.1", str(server.port)],
    "ncat over a Unix socket": lambda server: [tool("ncat"), "-U", unix_path(server)],
    # Without -t, socat waits for only half a second after it has sent everything.
    "socat": lambda server: [tool("socat"), f"-t{PATIENCE}", "-", f"TCP:127.0.0.1:{server.port}"],
    "socat over a Unix socket": lambda server: [
        tool("socat"),
        f"-t{PATIENCE}",
        "-",
        f"UNIX-CONNECT:{unix_path(server)}",
    ],
}


def unix_path(server: Server) -> str:
    return server.endpoints[1].removeprefix("unix://")


def tr(text: bytes) -> bytes:
    """Return the ROT13 of a text, as tr makes it."""
    return run_program(tool("tr"), "A-Za-z", "N-ZA-Mn-za-m", stdin=text).stdout


@dataclass(frozen=True)
class Variant:
    """What a line is answered with, and the options for what drives connections."""

    reply: str
    driver: tuple[str, ...] = ()


# That a driver does the same with either reply is tested without these programs.
VARIANTS = {
    "both-lane": Variant("both"),
    "cipher-task": Variant("cipher", ("--no-express",)),
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    return VARIANTS[request.param]


@pytest.fixture(scope="module")
def reply(variant: Variant) -> str:
    """What a line is answered with."""
    return variant.reply


@pytest.fixture(scope="module")
def server(variant: Variant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on TCP and on a Unix socket."""
    path = tmp_path_factory.mktemp("server") / "socket"
    listen = ["--listen", "127.0.0.1:0", "--listen", f"unix://{path}"]
    options = ["--reply", variant.reply, *variant.driver]
    with started(COMMAND, *listen, *options, listeners=2) as server:
        yield server


@pytest.fixture(params=["ncat", "socat"])
def client(request: pytest.FixtureRequest, server: Server) -> list[str]:
    """The command line of a client of the server."""
    return CLIENTS[request.param](server)


@pytest.fixture(scope="module")
def license_text() -> bytes:
    """The text of GPL-3."""
    return content("/usr/share/common-licenses/GPL-3")


@pytest.fixture(scope="module")
def license_replies(license_text: bytes, reply: str) -> bytes:
    """What the text of GPL-3 is answered with."""
    coded = tr(license_text)
    if reply == "cipher":
        return coded
    lines, coded_lines = license_text.split(b"\n"), coded.split(b"\n")
    assert lines.pop() == coded_lines.pop() == b""
    return b"".join(
        line + b"\n" + code + b"\n" for line, code in zip(lines, coded_lines, strict=True)
    )


@pytest.mark.parametrize("name", CLIENTS)
def test_the_gpl_is_answered_line_by_line(
    server: Server, name: str, license_text: bytes, license_replies: bytes
) -> None:
    """WIRE, lines 2 and 5."""
    ended = run_program(*CLIENTS[name](server), stdin=license_text)
    assert ended.status == 0
    assert ended.stdout == license_replies


def test_many_clients_at_once_each_get_their_own(
    server: Server, license_text: bytes, license_replies: bytes
) -> None:
    command = CLIENTS["ncat"](server)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                ending(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            )
            for _ in range(6)
        ]
        # All of them have begun before any has ended.
        first_half, second_half = license_text[:20_000], license_text[20_000:]
        for one in clients:
            assert one.stdin is not None
            one.stdin.write(first_half)
            one.stdin.flush()
        answered = [one.communicate(second_half, timeout=PATIENCE)[0] for one in clients]
    assert answered == [license_replies] * len(clients)


@pytest.mark.parametrize(
    "text",
    [b"Hello\r\nthere\r\n", b"Hello\r\nthere\n\r\n\n", b"\r\r\nmid\rdle\n"],
    ids=["CRLF", "both endings, and empty lines", "a CR that is data"],
)
def test_each_line_keeps_its_ending(client: list[str], reply: str, text: bytes) -> None:
    """WIRE, lines 1."""
    coded = tr(text)
    expected = coded if reply == "cipher" else both(text, tr)
    assert run_program(*client, stdin=text).stdout == expected


def test_a_last_line_without_an_ending_is_answered_as_though_it_had_one(
    client: list[str], reply: str
) -> None:
    """WIRE, lines 5."""
    expected = b"Uryyb\nGurer\n" if reply == "cipher" else b"Hello\nUryyb\nThere\nGurer\n"
    assert run_program(*client, stdin=b"Hello\nThere").stdout == expected


def test_no_input_is_answered_with_nothing(client: list[str]) -> None:
    """WIRE, lines 5."""
    ended = run_program(*client)
    assert (ended.status, ended.stdout) == (0, b"")


def test_what_is_no_letter_comes_back_as_it_went_in(client: list[str], reply: str) -> None:
    """WIRE, lines 3: UTF-8, bytes that are not, and control characters."""
    text = "Größe 7!\n".encode() + b"\xff\xfe caf\xe9 \xc3\x28\n" + b"\x00\x1b[31m\x7f\n"
    expected = tr(text) if reply == "cipher" else both(text, tr)
    assert "Teößr 7!".encode() in expected
    assert run_program(*client, stdin=text).stdout == expected


def test_a_person_gets_an_answer_to_each_line_at_once(server: Server, reply: str) -> None:
    """Someone types into ncat: the answer comes while the input is still open."""
    command = CLIENTS["ncat"](server)
    with ending(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    ) as person:
        assert person.stdin is not None
        assert person.stdout is not None
        screen = Output(person.stdout)
        expected = b""
        for line in (b"Hello\n", b"are you there?\n"):
            person.stdin.write(line)
            expected += tr(line) if reply == "cipher" else both(line, tr)
            assert screen.wait_for(len(expected)) == expected
        person.stdin.close()
        assert person.wait(PATIENCE) == 0
        screen.close()


def test_ncat_in_crlf_mode(server: Server, reply: str) -> None:
    """WIRE, lines 1: ``ncat -C`` makes every LF a CRLF, as a telnet client does."""
    ncat, *address = CLIENTS["ncat"](server)
    expected = b"Uryyb\r\n" if reply == "cipher" else b"Hello\r\nUryyb\r\n"
    assert run_program(ncat, "-C", *address, stdin=b"Hello\n").stdout == expected


# What these tests do without the programs.


@pytest.mark.parametrize(("need", "name"), [(tool, "no-such-tool"), (content, "/no-such-file")])
def test_a_missing_tool_skips_a_test_locally_and_fails_it_in_ci(
    need: Callable[[str], object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"does not have the .* {name}, which"):
        need(name)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=f"{name}.*, and CI is set"):
        need(name)
