"""Every vector of every cipher that is installed here, as a user meets it.

Over a socket, whole and a line at a time, with the state going on from line to line; and
through ``cipherecho apply``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from cipherecho.cipher import Cipher, Vector
from cipherecho.ciphers.composition import NoInverseError, inverse
from cipherecho.ciphers.specification import parse
from cipherecho.network.listeners import open_listeners
from cipherecho.registry import Registry
from cipherecho.server import serve
from cipherecho.session import ReplyMode, Session, StateScope
from cipherecho.settings.endpoint import TcpEndpoint
from cipherecho.testing import conform
from tests.helpers.in_process import run

REGISTRY = Registry()
FACTORIES = {entry.name: REGISTRY.factory(entry) for entry in REGISTRY.entries}
VECTORS = [
    (f"{name}:{vector.options}" if vector.options else name, vector)
    for name, factory in FACTORIES.items()
    for vector in getattr(factory, "vectors", ())
]
IDS = [specification for specification, _ in VECTORS]


@pytest.mark.parametrize(
    "name", [name for name, factory in FACTORIES.items() if getattr(factory, "vectors", ())]
)
def test_every_cipher_conforms(name: str) -> None:
    conform(FACTORIES[name])


def test_every_cipher_without_a_key_file_has_two_vectors() -> None:
    counts = {name: len(getattr(factory, "vectors", ())) for name, factory in FACTORIES.items()}
    counts.pop("aead", None)  # its code is another each time
    counts.pop("wasm", None)  # its modules have vectors
    assert [name for name, count in counts.items() if count < 2] == []


async def _through_a_server(cipher: Cipher, text: str) -> str:
    anywhere = TcpEndpoint("127.0.0.1", 0)
    coded = b""
    async with open_listeners([anywhere]) as listeners, trio.open_nursery() as nursery:

        async def run_server(task_status: trio.TaskStatus[list[TcpEndpoint]]) -> None:
            await serve(listeners, cipher, reply=ReplyMode.CIPHER, task_status=task_status)  # type: ignore[arg-type]

        [endpoint] = await nursery.start(run_server)
        async with await trio.open_tcp_stream(endpoint.host, endpoint.port) as client:
            for line in text.encode().split(b"\n"):
                await client.send_all(line + b"\n")
                while True:  # until the line is answered, so that each comes alone
                    coded += await client.receive_some()
                    if coded.endswith(b"\n"):
                        break
        nursery.cancel_scope.cancel()
    return coded.decode().removesuffix("\n")


@pytest.mark.parametrize(("specification", "vector"), VECTORS, ids=IDS)
async def test_a_vector_holds_over_a_socket(specification: str, vector: Vector) -> None:
    cipher = REGISTRY.load(parse(specification))
    with trio.fail_after(20):
        assert await _through_a_server(cipher, vector.plaintext) == vector.ciphertext
        if not getattr(FACTORIES[parse(specification).name], "lossy", False):
            try:
                back = inverse(cipher)
            except NoInverseError:
                return
            assert await _through_a_server(back, vector.ciphertext) == vector.plaintext


@pytest.mark.parametrize(("specification", "vector"), VECTORS, ids=IDS)
def test_a_vector_holds_where_every_line_starts_afresh(specification: str, vector: Vector) -> None:
    """Its first line does, which is where the state starts."""
    session = Session(
        REGISTRY.load(parse(specification)), reply=ReplyMode.FILTER, reset=StateScope.LINE
    )
    line, code = (text.partition("\n")[0] for text in (vector.plaintext, vector.ciphertext))
    for _ in range(3):
        assert session.receive(line.encode() + b"\n").decode() == code + "\n"


# One of each cipher's: a process takes a while, and what it adds is the same for all.
FIRSTS = {
    specification.partition(":")[0]: (specification, of) for specification, of in VECTORS[::-1]
}


@pytest.mark.parametrize(("specification", "vector"), FIRSTS.values(), ids=FIRSTS)
def test_a_vector_holds_through_apply(specification: str, vector: Vector, tmp_path: Path) -> None:
    plaintext, ciphertext = vector.plaintext.encode(), vector.ciphertext.encode()
    text = tmp_path / "text"
    text.write_bytes(plaintext)
    ended = run("apply", "--cipher", specification, text)
    assert (ended.status, ended.stdout, ended.stderr) == (0, ciphertext, "")


def test_a_chain_with_state_undoes_itself() -> None:
    chain = ["--cipher", "vigenere:LEMON", "--cipher", "railfence:3", "--cipher", "rot13"]
    text = "Größe, and a line\n\nshort\nAttack at dawn!\r\nthe end".encode()
    coded = run("apply", *chain, stdin=text)
    assert coded.status == 0
    assert coded.stdout != text
    assert run("apply", *chain, "--decrypt", stdin=coded.stdout).stdout == text
