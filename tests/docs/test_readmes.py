"""The READMEs: what they show is pasted, block by block, into a fresh copy of the checkout."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pasting import ROOT, Checkout, blocks_of, checkout
from tests.helpers.running import PATIENCE, ask, ending, tool

README = ROOT / "README.md"
PLUGINS = sorted((ROOT / "plugins").glob("*/README.md"))


def marked(mark: str) -> str:
    """Return the command after a mark, which is one line."""
    [block] = [block for block in blocks_of(README) if block.mark == mark]
    assert block.language == "sh"
    assert block.text.count("\n") == 1
    assert block.text.startswith("python3 ")
    return block.text.rstrip()


ENVIRONMENT, INSTALL, SERVE = marked("the server").split(" && ")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh copy of the checkout, installed as the README says, and activated."""
    for needed in ("bash", "ncat", "openssl"):
        tool(needed)
    with checkout(tmp_path_factory.mktemp("fresh")) as one:
        one.paste(f"$ {ENVIRONMENT}\n")
        one.lend_packages()
        one.paste(f"$ {INSTALL}\n")
        one.paste("$ . .venv/bin/activate\n")
        yield one


def test_the_readme_can_be_pasted(fresh: Checkout) -> None:
    for block in blocks_of(README):
        if block.mark == "the server":
            fresh.paste(f"$ {SERVE}\nlistening tcp://127.0.0.1:8013\n", block.where)
        elif block.language == "console":
            fresh.paste(block.text, block.where)
        else:  # the command for the tests is run by who runs this, and test_docs runs the others
            assert block.mark == "the tests" or block.language in ("python", "toml", "text")


@pytest.mark.parametrize("page", PLUGINS, ids=[page.parent.name for page in PLUGINS])
def test_the_readme_of_a_plugin_can_be_pasted_after_it(fresh: Checkout, page: Path) -> None:
    for block in blocks_of(page):
        assert block.language == "console"
        fresh.paste(block.text, block.where)


def test_the_command_for_the_tests_is_one_for_sh() -> None:
    subprocess.run(["sh", "-n", "-c", marked("the tests")], check=True)


PROGRAMS = [block.text for block in blocks_of(README) if ".run(main" in block.text]


@pytest.mark.parametrize("program", PROGRAMS, ids=["trio", "asyncio", "anyio"])
def test_a_program_of_it_serves_whatever_its_clients_do(program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ending(subprocess.Popen([sys.executable, "-c", program.replace("8013", str(port))])):
        for _ in range(3):
            with connected(port) as rude:
                rude.sendall(b"Hello\n" * 10_000)
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with connected(port) as client:
            assert ask(client, b"Hello\nWorld") == b"Hello\nUryyb\nWorld\nJbeyq\n"


def connected(port: int) -> socket.socket:
    """Return a connection to a port, once there is somebody."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.parametrize(
    "page", [README, *PLUGINS], ids=["cipherecho", *(page.parent.name for page in PLUGINS)]
)
def test_blocks_fit_a_terminal(page: Path) -> None:
    for block in blocks_of(page):
        if block.mark is None:
            assert max(map(len, block.text.splitlines())) <= 80, block.where
