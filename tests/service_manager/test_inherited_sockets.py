"""Sockets handed over by a service manager: which they are, and who else may see them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cipherecho.service_manager.environment import VariableError
from cipherecho.service_manager.inherited_sockets import take_sockets
from tests.helpers.running import PATIENCE, environment, started, tool

# Says what was handed over to it, twice, and what a child would find.
PROGRAM = """
import json, os
from cipherecho.service_manager.inherited_sockets import inherited_sockets
first = inherited_sockets()
again = inherited_sockets()
print(json.dumps({
    "sockets": [[each.number, each.name] for each in first],
    "same": first == again,
    "inheritable": [os.get_inheritable(each.number) for each in first],
    "variables": [name for name in os.environ if name.startswith("LISTEN_")],
}))
"""


def told_by_activated(*options: str | Path, connect_to: Path) -> dict[str, Any]:
    """Return what the program says when systemd-socket-activate starts it for a connection."""
    activate = [tool("systemd-socket-activate"), *options]
    with started(*activate, sys.executable, "-c", PROGRAM, listeners=0) as server:
        server.wait_for_record("Listening on")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(connect_to))
            assert server.wait() == 0
        told: dict[str, Any] = json.loads(server.stdout)
        return told


def test_sockets_are_told_in_order_with_their_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = told_by_activated("-l", first, "-l", second, "--fdname=web:admin", connect_to=second)
    assert told == {
        "sockets": [[3, "web"], [4, "admin"]],
        "same": True,
        "inheritable": [False, False],
        "variables": [],
    }


def told_with(**variables: str) -> dict[str, Any]:
    """Return what the program says that a shell starts, which has a socket as descriptor 3.

    ``$$`` in `variables` is the number of its process.
    """
    given = " ".join(f'{name}="{text}"' for name, text in variables.items())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = f'{given} exec "$0" -c "$1" 3<&0'
        done = subprocess.run(
            ["sh", "-c", command, sys.executable, PROGRAM],
            stdin=listener.fileno(),
            capture_output=True,
            timeout=PATIENCE,
            env=environment(),
            check=True,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_socket_without_a_name_has_the_name_that_systemd_gives_it() -> None:
    told = told_with(LISTEN_PID="$$", LISTEN_FDS="1")
    assert told["sockets"] == [[3, "unknown"]]
    assert told["inheritable"] == [False]
    assert told["variables"] == []


def test_an_empty_name_is_a_name() -> None:
    told = told_with(LISTEN_PID="$$", LISTEN_FDS="1", LISTEN_FDNAMES="")
    assert told["sockets"] == [[3, ""]]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_PID": "$PPID", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "$$"},
        {"LISTEN_PIDFDID": "4711"},
    ],
)
def test_what_is_not_for_this_process_is_not_taken(variables: dict[str, str]) -> None:
    assert told_with(**variables) == {
        "sockets": [],
        "same": True,
        "inheritable": [],
        "variables": [],
    }


US = str(os.getpid())


@pytest.mark.parametrize(
    ("variables", "variable", "problem"),
    [
        ({"LISTEN_PID": "me"}, "LISTEN_PID", "got 'me', expected a number from 1"),
        ({"LISTEN_PID": ""}, "LISTEN_PID", "got '', expected a number from 1"),
        (
            {"LISTEN_PID": US, "LISTEN_FDS": "-1"},
            "LISTEN_FDS",
            "got '-1', expected a number from 1",
        ),
        ({"LISTEN_PID": US, "LISTEN_FDS": "0"}, "LISTEN_FDS", "got '0', expected a number from 1"),
        ({"LISTEN_PID": US, "LISTEN_FDS": "٣"}, "LISTEN_FDS", "got '٣', expected a number from 1"),
        (
            {"LISTEN_PID": US, "LISTEN_FDS": "9" * 5000},
            "LISTEN_FDS",
            f"got '{'9' * 5000}', expected a number from 1",
        ),
    ],
)
def test_a_variable_that_is_no_number_is_told_with_its_name(
    variables: dict[str, str], variable: str, problem: str
) -> None:
    with pytest.raises(VariableError) as caught:
        take_sockets(variables)
    assert caught.value.variable == variable
    assert str(caught.value) == f"environment variable {variable}: {problem}"
    assert variables == {}


def test_a_descriptor_that_is_not_open_is_told() -> None:
    with pytest.raises(VariableError) as caught:
        take_sockets({"LISTEN_PID": US, "LISTEN_FDS": "99999999999999999999"})
    assert caught.value.variable == "LISTEN_FDS"
    assert "got 99999999999999999999, but descriptor " in str(caught.value)
    assert str(caught.value).endswith(" is not open")


def test_names_that_are_not_as_many_as_the_sockets_are_told() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        told_with(LISTEN_PID="$$", LISTEN_FDS="1", LISTEN_FDNAMES="web:admin")
    assert (
        b"VariableError: environment variable LISTEN_FDNAMES: got 2 names, 'web:admin', "
        b"expected 1, as LISTEN_FDS says" in caught.value.stderr
    )
