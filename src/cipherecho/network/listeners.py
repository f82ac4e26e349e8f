"""Listening sockets: opened for endpoints, named, and closed with what they leave behind."""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import stat
import sys
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import trio

from cipherecho.errors import CipherechoError
from cipherecho.network.certificates import Certificates
from cipherecho.network.sockets import host_of
from cipherecho.service_manager.environment import VariableError
from cipherecho.service_manager.inherited_sockets import inherited_sockets, why_not_activated
from cipherecho.settings.endpoint import (
    Endpoint,
    FdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
    VsockEndpoint,
)

__all__ = ["ListenError", "ListeningSocket", "open_listeners"]

log = logging.getLogger("cipherecho")

# The families that an inherited socket may have; only Linux has the last one.
_FAMILIES = [getattr(socket, name, None) for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_VSOCK")]
_AF_VSOCK = _FAMILIES[-1]
_ANY_VSOCK_PORT = 0xFFFF_FFFF  # vsock(7): VMADDR_PORT_ANY; 0 is a port like others there

_EXPECTED_FROM_OUTSIDE = "expected an inherited stream socket that listens"

# The errors for an address that a name has but this machine doesn't: a hosts file may give
# localhost the address ::1 where there is no IPv6.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

# The longest possible; the system limits it (net.core.somaxconn), and some truncate it to 16 bits.
_BACKLOG = 0xFFFF

# How often to try for a port that is free at all addresses of a name.
_PORT_TRIES = 10

# How long to wait for another program's lock on a directory of Unix sockets. This server holds it
# for less than a millisecond.
_LOCK_SECONDS = 1.0
_LOCK_RETRY_SECONDS = 0.005


class ListenError(CipherechoError, OSError):
    """Listening at `endpoint` failed; ``__cause__`` is the system's error."""

    def __init__(self, endpoint: Endpoint, cause: OSError) -> None:
        self.endpoint = endpoint
        # A failed name lookup has error numbers of another kind.
        looked_up = isinstance(cause, socket.gaierror)
        hint = "" if looked_up else _HINTS[type(endpoint)].get(cause.errno or 0, "")
        reason = cause.strerror or str(cause)
        super().__init__(f"can't listen on {endpoint}: {reason}{hint}")


_HINTS: dict[type[Endpoint], dict[int, str]] = {
    TcpEndpoint: {
        errno.EADDRINUSE: "; stop what listens there, or choose another port (0 picks a free one)",
        errno.EACCES: "; choose a port above 1023",
        errno.EADDRNOTAVAIL: "; expected an address of this machine",
        errno.EINVAL: "; a link-local address needs its zone, as in [fe80::1%eth0]:8013",
    },
    UnixEndpoint: {
        errno.EADDRINUSE: (
            "; stop the server that listens there, or choose a path where nothing is"
        ),
        errno.EACCES: "; choose a directory that you may write to",
        errno.ENOENT: "; expected its directory to be there",
    },
    FdEndpoint: {
        errno.EBADF: f"; {_EXPECTED_FROM_OUTSIDE}",
        errno.ENOTSOCK: f"; {_EXPECTED_FROM_OUTSIDE}",
    },
    VsockEndpoint: {
        errno.EADDRINUSE: "; stop what listens there, or choose another port (0 picks a free one)",
        errno.EACCES: "; choose a port above 1023",
        errno.EADDRNOTAVAIL: "; expected a CID of this machine, or any",
        errno.EAFNOSUPPORT: "; this machine has no vsock, which is a module of Linux's",
    },
}


@dataclass(frozen=True)
class ListeningSocket:
    """A socket that clients can connect to."""

    socket: socket.socket
    """It listens.  Serving makes it non-blocking."""
    endpoint: Endpoint
    """Where it listens, with the real port."""
    certificates: Certificates | None = None
    """The certificates for TLS; None without TLS."""


@asynccontextmanager
async def open_listeners(
    endpoints: Iterable[Endpoint], certificates: Certificates | None = None
) -> AsyncIterator[list[ListeningSocket]]:
    """Listen at all of `endpoints`, or at none, and close the sockets at the end.

    The sockets are in the order of the endpoints.  A host name with several addresses gives a
    socket for each address of this machine, all at the same port, and a warning names the other
    addresses.  A name that several inherited sockets share gives all of these.  A stale Unix socket
    is replaced; ours is removed at the end, if that is allowed.  An inherited socket is closed like
    the others, but not configured or removed.

    Args:
      endpoints: where to listen.
      certificates: for the endpoints that ask for TLS.

    Raises:
      ListenError: the system refuses an endpoint, there are no certificates for it, or an
        inherited descriptor isn't a listening socket.
    """
    async with AsyncExitStack() as stack:
        opened: list[ListeningSocket] = []
        for endpoint in endpoints:
            ours = {one.socket.fileno() for one in opened}
            try:
                if endpoint.tls and certificates is None:
                    raise OSError("TLS needs a certificate; give --tls-cert")  # noqa: TRY301
                sockets = await _open(endpoint, stack, ours)
            except UnicodeError as cause:  # a label of the name is empty or too long
                raise ListenError(endpoint, OSError("no host can have that name")) from cause
            except OSError as cause:
                raise ListenError(endpoint, cause) from cause
            for one in sockets:
                where = replace(_bound_to(one), tls=endpoint.tls)
                opened.append(ListeningSocket(one, where, certificates if endpoint.tls else None))
        yield opened


async def _open(
    endpoint: Endpoint, stack: AsyncExitStack, ours: Collection[int]
) -> list[socket.socket]:
    """Return sockets that `stack` closes; `ours` are the descriptors of earlier ones."""

    def kept(one: socket.socket) -> socket.socket:
        stack.push_async_callback(_close, one)
        return one

    match endpoint:
        case TcpEndpoint(host, port):
            return [kept(each) for each in await _open_tcp(endpoint, host, port)]
        case UnixEndpoint(path, mode):
            return [kept(await _open_unix(path, mode, stack))]
        case FdEndpoint():
            return [kept(_adopt(descriptor, ours)) for descriptor in _descriptors(endpoint)]
        case VsockEndpoint(cid, port):
            return [kept(_open_vsock(cid, port))]


async def _close(listening: socket.socket) -> None:
    if listening.fileno() >= 0:
        trio.lowlevel.notify_closing(listening)
        listening.close()
    await trio.lowlevel.checkpoint()


async def _open_tcp(endpoint: Endpoint, host: str, port: int) -> list[socket.socket]:
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # A hosts file may have an address twice.
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    tries = _PORT_TRIES if port == 0 else 1
    while True:
        tries -= 1
        try:
            sockets, missing = _listening_at(addresses)
            break
        except OSError as error:
            # The system's port for the first address is in use at another.
            if error.errno != errno.EADDRINUSE or not tries:
                raise
    if not sockets:
        raise next(iter(missing.values()))
    for address, reason in missing.items():
        log.warning(
            "not listening at %(address)s, which is an address of %(endpoint)s: %(reason)s; "
            "listening at its others",
            {"address": address, "endpoint": str(endpoint), "reason": reason.strerror},
        )
    return sockets


def _listening_at(
    addresses: Iterable[tuple[int, tuple[Any, ...]]],
) -> tuple[list[socket.socket], dict[str, OSError]]:
    """Return sockets, and the errors for addresses that this machine doesn't have.

    The port that the system picks for the first address is used for all: clients that connect by
    name try one address after the other.

    Raises:
      OSError: listening at an address failed for another reason; no socket is left open.
    """
    sockets: list[socket.socket] = []
    missing: dict[str, OSError] = {}
    with ExitStack() as unless_all:
        for family, (host, port, *rest) in addresses:
            if port == 0 and sockets:
                port = sockets[0].getsockname()[1]
            address = (host, port, *rest)
            try:
                sockets.append(unless_all.enter_context(_listening(family, address)))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing[host_of(address)] = error
        unless_all.pop_all()
    return sockets, missing


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # where it lets two servers have one port
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise the system's settings decide whether [::] accepts IPv4 too.
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tcp.bind(address)
        tcp.listen(_BACKLOG)
    except BaseException:
        tcp.close()
        raise
    return tcp


async def _open_unix(path: str, mode: int | None, stack: AsyncExitStack) -> socket.socket:
    if sys.platform == "win32":
        raise OSError("Python has no Unix sockets on Windows; expected tcp:// or tls://")
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        async with _alone_in(os.path.dirname(path)):  # noqa: PTH120
            try:
                unix.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_stale(path):
                    raise
                os.unlink(path)  # noqa: PTH108
                unix.bind(path)
            stack.push_async_callback(_remove_if, path, _identity(path))
            if mode is not None:
                # Nobody can connect yet. The umask isn't used, since it would also apply to files
                # that other threads create.
                os.chmod(path, mode)  # noqa: PTH101
            unix.listen(socket.SOMAXCONN)
    except BaseException:
        unix.close()
        raise
    return unix


@asynccontextmanager
async def _alone_in(directory: str) -> AsyncIterator[None]:
    """Lock `directory`, so that other servers don't replace or remove Unix sockets in it.

    If two servers found the same stale socket, one could remove the new socket of the other.  The
    lock is on the directory itself, so it leaves no file behind.  If the directory can't be read,
    or stays locked, this goes on without the lock.
    """
    if sys.platform == "win32":
        raise NotImplementedError  # _open_unix has refused it
    import fcntl

    with ExitStack() as closing:
        with suppress(OSError), trio.move_on_after(_LOCK_SECONDS):
            descriptor = os.open(directory, os.O_RDONLY)
            closing.callback(os.close, descriptor)
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await trio.sleep(_LOCK_RETRY_SECONDS)
        yield


def _is_stale(path: str) -> bool:
    """Return whether `path` is a socket that a dead server left behind."""
    if sys.platform == "win32":
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            probe.setblocking(False)
            return probe.connect_ex(path) == errno.ECONNREFUSED
    return False


def _identity(path: str) -> tuple[int, int, int]:
    # The inode number of a removed file is reused, so the time is needed too.
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino, status.st_mtime_ns


async def _remove_if(path: str, identity: tuple[int, int, int]) -> None:
    """Remove our socket, unless another server has replaced it."""
    with trio.CancelScope(shield=True):  # the lock has its own timeout
        async with _alone_in(os.path.dirname(path)):  # noqa: PTH120
            # In the sandbox, nothing can be removed; the next server replaces the socket.
            with suppress(FileNotFoundError, PermissionError):
                if _identity(path) == identity:
                    os.unlink(path)  # noqa: PTH108


def _descriptors(endpoint: FdEndpoint) -> list[int]:
    """Return the descriptor with the number of `endpoint`, or all with its name."""
    if endpoint.number is not None:
        return [endpoint.number]
    try:
        inherited = inherited_sockets()
    except VariableError as error:
        raise OSError(str(error)) from error
    if not inherited:
        raise OSError(
            why_not_activated()
            or "no service manager has handed over any socket (LISTEN_PID and LISTEN_FDS)"
        )
    found = [each.number for each in inherited if each.name == endpoint.name]
    if not found:
        names = ", ".join(sorted({each.name for each in inherited}))
        raise OSError(f"no inherited socket has that name; expected one of {names}")
    return found


def _adopt(descriptor: int, ours: Collection[int]) -> socket.socket:
    """Return an inherited socket; if it doesn't listen, leave it unchanged and raise OSError."""
    if descriptor in ours:
        raise OSError(f"descriptor {descriptor} is in use by the listeners before it already")
    inherited = socket.socket(fileno=descriptor)
    problem = _why_no_listener(inherited)
    if problem is not None:
        inherited.detach()
        raise OSError(f"{problem}; {_EXPECTED_FROM_OUTSIDE}")
    inherited.set_inheritable(False)
    return inherited


def _why_no_listener(inherited: socket.socket) -> str | None:
    if inherited.family not in _FAMILIES:
        return f"the socket is of family {getattr(inherited.family, 'name', inherited.family)}"
    if inherited.type != socket.SOCK_STREAM:
        return f"the socket is of type {getattr(inherited.type, 'name', inherited.type)}"
    with suppress(OSError):  # some systems do not tell (macOS)
        if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "the socket does not listen"
    return None


def _open_vsock(cid: int, port: int) -> socket.socket:
    if _AF_VSOCK is None:
        raise OSError("this Python has no vsock; expected one for Linux")
    vsock = socket.socket(_AF_VSOCK, socket.SOCK_STREAM)
    try:
        vsock.bind((cid, port or _ANY_VSOCK_PORT))
        vsock.listen(socket.SOMAXCONN)
    except BaseException:
        vsock.close()
        raise
    return vsock


def _bound_to(listening: socket.socket) -> Endpoint:
    """Return the endpoint that a socket is bound to, with the real port.

    For a Unix socket, it has no mode.
    """
    address = listening.getsockname()
    if sys.platform != "win32" and listening.family == socket.AF_UNIX:
        # A name in Linux's abstract namespace begins with a zero byte, shown as by ss(8).
        return UnixEndpoint(re.sub("^\0", "@", os.fsdecode(address)))
    if listening.family == _AF_VSOCK:
        cid, port = address
        return VsockEndpoint(cid, port)
    return TcpEndpoint(host_of(address), address[1])
