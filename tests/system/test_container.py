"""The file for a container: its commands are run, and what it starts serves.

No container runs here, so what its base image has is not looked at.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.loopback import own_network
from tests.helpers.running import PATIENCE, Ended, ask, both, run_program, started, tool

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "deploy" / "container" / "Containerfile"

INSTALLED = "/opt/cipherecho"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield what the file says, but for its comments: ``("USER", "65532:65532")``."""
    for line in FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


def values(wanted: str) -> list[str]:
    return [rest for name, rest in instructions() if name == wanted]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the file leave, with no more of the checkout than it copies."""
    directory = tmp_path_factory.mktemp("image")
    checkout, installed = directory / "checkout", directory / "opt"
    checkout.mkdir()
    for value in values("COPY"):
        if not value.startswith("--from="):
            *sources, _ = value.split()
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, checkout / source)
    for command in values("RUN"):
        ended = run_in(checkout, command.replace(INSTALLED, str(installed)))
        assert ended.status == 0, ended.stderr
    return installed


def run_in(directory: Path, command: str) -> Ended:
    """Run a command that may have to fetch packages."""
    return run_program("sh", "-c", f"cd '{directory}' && {command}", patience=10 * PATIENCE)


@pytest.mark.thorough  # it installs everything once more
def test_what_the_container_starts_serves(image: Path) -> None:
    (entry,) = map(json.loads, values("ENTRYPOINT"))
    (options,) = map(json.loads, values("CMD"))
    host = f"{own_network()}.1"
    command = [
        word.replace(INSTALLED, str(image)).replace("0.0.0.0", host)  # noqa: S104
        for word in [*entry, *options]
    ]
    with started(*command, listeners=2):
        with socket.create_connection((host, 8013), timeout=PATIENCE) as client:
            assert ask(client, b"Hello\n") == both(b"Hello\n")
        probe = run_program(tool("curl"), "--silent", "--fail", f"http://{host}:9013/readyz")
        assert (probe.status, probe.stdout) == (0, b"ready\n")
    exposed = {int(port) for port in values("EXPOSE")[0].split()}
    assert exposed == {int(port) for port in re.findall(r":(\d+)\"", values("CMD")[0])}


def test_the_container_is_not_root_and_is_ended_in_order() -> None:
    (user,) = values("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert values("FROM")[-1] == values("FROM")[0].removesuffix(" AS build")
