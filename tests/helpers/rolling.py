"""Clients that go on while the servers before them are restarted, and what became of each line."""

from __future__ import annotations

import random
import re
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.helpers.running import PATIENCE, ROT13

__all__ = ["Client", "clients", "lines_answered_by"]

# So many lines may be without an answer at a time. With more than one, some are on their way
# whenever a server closes.
_WINDOW = 8


class Client(threading.Thread):
    """Sends numbered lines, and sends what was not answered again on the next connection.

    A server that shuts down answers every line that it has received, and closes; so a line
    without an answer was not coded, and may be sent again.

    Args:
      name: the lines have it before their numbers; no other client has it.
      connect: returns a new connection.
      pause: how long it waits at most, in seconds, before it sends as many lines as may be
        without an answer.
      most_lines: it ends a connection by itself after so many answers.
    """

    def __init__(
        self, name: str, connect: Callable[[], socket.socket], pause: float, most_lines: int
    ) -> None:
        super().__init__(daemon=True)
        self.lines = 0
        """How many it has begun."""
        self.connections = 0
        self.closed_by_server = 0
        self.resent = 0
        self.answers: Counter[bytes] = Counter()
        """How often each line was answered."""
        self.troubles: list[str] = []
        """What should not have happened."""
        self._prefix = name
        self._connect = connect
        self._pause = pause
        self._most_lines = most_lines
        self._enough = threading.Event()
        self._unanswered: deque[bytes] = deque()

    def run(self) -> None:
        try:
            while self._unanswered or not self._enough.is_set():
                with self._connect() as connection:
                    self.connections += 1
                    self._converse(connection)
        except Exception as error:
            self.troubles.append(repr(error))

    def finish(self) -> None:
        """Begin no more lines, and wait until all have their answers."""
        self._enough.set()
        self.join(PATIENCE)
        assert not self.is_alive(), f"{len(self._unanswered)} lines were never answered"

    def _converse(self, connection: socket.socket) -> None:
        answered = 0
        received = b""
        self.resent += len(self._unanswered)
        connection.sendall(b"".join(self._unanswered))
        while True:
            if answered < self._most_lines and not self._enough.is_set():
                self._send_some(connection, at_once=not answered)
            elif not self._unanswered:
                return
            data = connection.recv(65_536)
            received += data
            while received.count(b"\n") >= 2:
                echo, code, received = received.split(b"\n", 2)
                self._take(echo + b"\n", code + b"\n")
                answered += 1
            if not data:
                break
        self.closed_by_server += 1
        if received:
            self.troubles.append(f"half an answer: {received!r}")
        if not answered:
            self.troubles.append("a connection was closed before its first answer")

    def _send_some(self, connection: socket.socket, *, at_once: bool) -> None:
        # A server that shuts down closes who was silent for a while, also from the beginning.
        if not at_once:
            self._enough.wait(random.uniform(0, self._pause))  # noqa: S311
        while len(self._unanswered) < _WINDOW:
            line = b"%s line %d\n" % (self._prefix.encode(), self.lines)
            self.lines += 1
            self._unanswered.append(line)
            try:
                connection.sendall(line)
            except (BrokenPipeError, ConnectionResetError):
                return  # what the server said before it closed is still to be read

    def _take(self, echo: bytes, code: bytes) -> None:
        if code != echo.translate(ROT13) or not self._unanswered or echo != self._unanswered[0]:
            self.troubles.append(f"got {echo!r} and {code!r}, waiting for {self._unanswered!r}")
            return
        self.answers[self._unanswered.popleft()] += 1


@contextmanager
def clients(number: int, connect: Callable[[], socket.socket]) -> Iterator[list[Client]]:
    """Have so many clients talk; at the end, each of their lines has one answer.

    Some pause for less than a server that shuts down waits for more, some for longer, so that
    lines arrive at any moment of its end.
    """
    pauses = (0.005, 0.05, 0.15)
    several = [
        Client(f"client {i}", connect, pauses[i % len(pauses)], most_lines=(10_000, 40)[i % 2])
        for i in range(number)
    ]
    for one in several:
        one.start()
    try:
        yield several
    finally:
        for one in several:
            one.finish()
    for one in several:
        assert one.troubles == []
        assert set(one.answers.values()) == {1}
        assert len(one.answers) == one.lines


def lines_answered_by(log: str) -> int:
    """Return how many lines a server has answered, by the records of its connections."""
    return sum(int(number) for number in re.findall(r"closed: .* lines=(\d+)", log))
