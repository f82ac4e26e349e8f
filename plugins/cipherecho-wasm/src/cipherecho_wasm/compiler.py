"""The compiler, in a process beside the server: a companion, see :mod:`cipherecho.companion`.

A module comes from a stranger, and compiling 30 kB can take a minute and gigabytes.  So each
module is compiled in a child process with bounds on its time and memory.  The child can't open
files: it has the module in memory and returns code.  Only this process writes the cache.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, NoReturn

from wasmtime import WasmtimeError
from wasmtime.component import Component

from cipherecho.companion import give_up_files
from cipherecho_wasm import cache
from cipherecho_wasm.joining import adapter_code, joined
from cipherecho_wasm.machine import new_engine
from cipherecho_wasm.messages import Outcome, Request, receive, send

__all__ = ["serve"]

# How many times its processor seconds a compilation may last, on a busy machine.
_PATIENCE = 4

_PIECE_BYTES = 1 << 20
_LONGEST_COMPLAINT = 10_000


def serve(requests: IO[bytes], answers: IO[bytes], directory: Path | None) -> None:
    """Answer requests until there are no more, from the cache if it has the code."""
    adapter_code()  # read now: a child that compiles can't
    with suppress(OSError):  # the server is gone
        while parts := receive(requests):
            send(answers, *_answer(Request.of(parts), directory, requests))


def _answer(request: Request, directory: Path | None, requests: IO[bytes]) -> Collection[bytes]:
    problem = cache.refusal(directory)
    usable = None if problem else directory
    key = cache.key_of(request.module, request.target)
    if usable and not request.afresh:
        code = cache.kept(usable, key)
        if code is not None:
            return Outcome.CODE, code, b""
    outcome, *rest = _compiled_apart(request, requests)
    if outcome != Outcome.CODE:
        return outcome, *rest
    if usable:
        try:
            cache.keep(usable, key, rest[0])
        except OSError as error:  # a full disk
            problem = str(error)
    return outcome, *rest, problem.encode()


def _compiled_apart(request: Request, requests: IO[bytes]) -> Collection[bytes]:
    """Compile in a child process, and return its answer, or how it ended.

    If the other end of `requests` is closed, the child is killed.
    """
    result, coded = os.pipe()
    complaints, complained = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(complained, 2)
        _compile(request, coded)
    os.close(coded)
    os.close(complained)
    got = {result: bytearray(), complaints: bytearray()}
    reading = set(got)
    deadline = time.monotonic() + _PATIENCE * request.seconds
    while reading and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([*reading, requests.fileno()], [], [], left)
        if (
            requests.fileno() in ready
        ):  # closed: the server waits for an answer before it sends more
            break
        for descriptor in ready:
            data = os.read(descriptor, _PIECE_BYTES)
            if not data:
                reading.remove(descriptor)
            elif len(got[result]) <= request.memory:
                got[descriptor] += data
    for descriptor in got:
        os.close(descriptor)
    os.kill(process, signal.SIGKILL)  # has no effect if it has ended
    _, status = os.waitpid(process, 0)
    if reading:
        return (Outcome.OUT_OF_TIME,)
    return receive(BytesIO(got[result])) or _became(
        status, got[complaints][:_LONGEST_COMPLAINT].decode(errors="replace")
    )


def _became(status: int, complaint: str) -> Collection[bytes]:
    """Return what it means that a process ended without an answer."""
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGXCPU:
        return (Outcome.OUT_OF_TIME,)
    if "memory allocation of" in complaint:  # Rust's last words
        return (Outcome.OUT_OF_MEMORY,)
    how = f"signal {-number}" if number < 0 else f"status {number}"
    return Outcome.FAILED, " ".join(f"{how} {complaint}".split()).encode()


def _compile(request: Request, coded: int) -> NoReturn:
    """Write the answer to a request to a pipe, and end."""
    try:
        os.set_blocking(2, False)  # don't wait for the reader of its errors
        give_up_files()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (request.seconds, request.seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (request.memory, request.memory))
        answer: Collection[bytes]
        try:
            component = Component(new_engine(request.target), joined(request.module))
            answer = Outcome.CODE, bytes(component.serialize())
        except MemoryError:
            answer = (Outcome.OUT_OF_MEMORY,)
        except WasmtimeError as error:
            no_memory = "os error 12" in str(error)  # ENOMEM
            answer = (
                (Outcome.OUT_OF_MEMORY,) if no_memory else (Outcome.REFUSED, str(error).encode())
            )
        with os.fdopen(coded, "wb") as to:
            send(to, *answer)
        os._exit(0)
    except BaseException as error:
        with suppress(BaseException):
            os.write(2, repr(error).encode())
        os._exit(1)
    os._exit(1)
