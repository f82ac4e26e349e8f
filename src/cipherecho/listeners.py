"""Listening sockets: opened for endpoints, named, and closed with what they leave behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import trio

from cipherecho.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

__all__ = ["ListenError", "endpoint_of", "open_listeners"]


class ListenError(OSError):
    """The system does not let us listen at `endpoint`; ``__cause__`` is what it said."""

    def __init__(self, endpoint: Endpoint, cause: OSError) -> None:
        self.endpoint = endpoint
        # A look-up of a name that fails has an error number of another kind.
        looked_up = isinstance(cause, socket.gaierror)
        hints = _UNIX_HINTS if isinstance(endpoint, UnixEndpoint) else _TCP_HINTS
        hint = "" if looked_up else hints.get(cause.errno or 0, "")
        reason = cause.strerror or str(cause)
        super().__init__(f"can't listen on {endpoint}: {reason}{hint}")


_TCP_HINTS = {
    errno.EADDRINUSE: "; stop what listens there, or choose another port (0 picks a free one)",
    errno.EACCES: "; choose a port above 1023",
    errno.EADDRNOTAVAIL: "; expected an address of this machine",
}

_UNIX_HINTS = {
    errno.EADDRINUSE: "; stop the server that listens there, or choose a path where nothing is",
    errno.EACCES: "; choose a directory that you may write to",
    errno.ENOENT: "; expected its directory to be there",
}


@asynccontextmanager
async def open_listeners(endpoints: Iterable[Endpoint]) -> AsyncIterator[list[trio.SocketListener]]:
    """Listen at all of `endpoints`, or at none, and close the listeners at the end.

    A host name with several addresses makes a listener for each.  A Unix socket that
    nobody listens on any more is replaced; ours is removed at the end.

    Raises:
      ListenError: the system refuses one of them.
    """
    async with AsyncExitStack() as stack:
        listeners: list[trio.SocketListener] = []
        for endpoint in endpoints:
            try:
                if isinstance(endpoint, UnixEndpoint):
                    opened = [await _open_unix(endpoint.path)]
                    stack.callback(_remove_if, endpoint.path, _identity(endpoint.path))
                else:
                    opened = await trio.open_tcp_listeners(endpoint.port, host=endpoint.host)
            except UnicodeError as cause:  # a label of the name is empty or too long
                raise ListenError(endpoint, OSError("no host can have that name")) from cause
            except OSError as cause:
                raise ListenError(endpoint, cause) from cause
            for listener in opened:
                stack.push_async_callback(listener.aclose)
            listeners += opened
        yield listeners


async def _open_unix(path: str) -> trio.SocketListener:
    unix = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            await unix.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)  # noqa: PTH108
            await unix.bind(path)
        unix.listen(socket.SOMAXCONN)
    except BaseException:
        unix.close()
        raise
    return trio.SocketListener(unix)


def _is_stale(path: str) -> bool:
    """Return whether `path` is a socket that its server left behind when it ended."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            probe.setblocking(False)
            return probe.connect_ex(path) == errno.ECONNREFUSED
    return False


def _identity(path: str) -> tuple[int, int, int]:
    # A file that is removed leaves its number to the next, so the time is needed too.
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _remove_if(path: str, identity: tuple[int, int, int]) -> None:
    """Remove our socket, but not that of a server which has replaced it since."""
    with suppress(FileNotFoundError):
        if _identity(path) == identity:
            os.unlink(path)  # noqa: PTH108


def endpoint_of(listener: trio.SocketListener) -> Endpoint:
    """Return where `listener` really listens, with the port that the system picked."""
    address = listener.socket.getsockname()
    if listener.socket.family == socket.AF_UNIX:
        return UnixEndpoint(os.fsdecode(address))
    return TcpEndpoint(address[0], address[1])
