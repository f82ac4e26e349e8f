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

# What an inherited socket may be of; the last is of Linux alone.
_FAMILIES = [getattr(socket, name, None) for name in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_VSOCK")]
_AF_VSOCK = _FAMILIES[-1]
_ANY_VSOCK_PORT = 0xFFFF_FFFF  # vsock(7): VMADDR_PORT_ANY; 0 is a port like others there

_EXPECTED_FROM_OUTSIDE = "expected an inherited stream socket that listens"

# What the system says of an address that a name has and this machine doesn't: a hosts file may
# give localhost ::1 where there is no IPv6.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

# As long as can be; the system cuts it (net.core.somaxconn), and it wraps round at 16 bits on some.
_BACKLOG = 0xFFFF

# How often a port is picked that has to be free at several addresses.
_PORT_TRIES = 10

# How long another program may keep a directory of Unix sockets from us. A server like this
# one has it for less than a millisecond.
_LOCK_SECONDS = 1.0
_LOCK_RETRY_SECONDS = 0.005


class ListenError(CipherechoError, OSError):
    """The system does not let us listen at `endpoint`; ``__cause__`` is what it said."""

    def __init__(self, endpoint: Endpoint, cause: OSError) -> None:
        self.endpoint = endpoint
        # A look-up of a name that fails has an error number of another kind.
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
    """Listens; whoever serves its clients makes it non-blocking."""
    endpoint: Endpoint
    """Where it listens, with the port that the system picked."""
    certificates: Certificates | None = None
    """What its clients are shown in the TLS handshake; None if they don't speak TLS."""


@asynccontextmanager
async def open_listeners(
    endpoints: Iterable[Endpoint], certificates: Certificates | None = None
) -> AsyncIterator[list[ListeningSocket]]:
    """Listen at all of `endpoints`, or at none, and close the sockets at the end.

    They come in the order of the endpoints.  A host name with several addresses makes a
    socket for each that this machine has, all at one port, and a warning names the others;
    a name that several inherited sockets have makes one for each, too.  A Unix socket
    that nobody listens on any more is replaced; ours is removed at the end, if that is
    allowed.  An inherited socket is closed like the others, but is neither removed nor set
    up anew.

    Args:
      endpoints: where to listen.
      certificates: for the endpoints that ask for TLS.

    Raises:
      ListenError: the system refuses one of them, no certificates are there for it, or what
        was inherited is no socket that listens.
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
    """Return sockets, which `stack` closes; `ours` are the descriptors of those before."""

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
    # A hosts file may say the same twice.
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    tries = _PORT_TRIES if port == 0 else 1
    while True:
        tries -= 1
        try:
            sockets, missing = _listening_at(addresses)
            break
        except OSError as error:
            # The port that was picked for one address is in use at another.
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
    """Return a socket for each address, and why there is none for those that aren't here.

    The port that the system picks for the first is that of all: whoever connects by name tries
    one address after the other.

    Raises:
      OSError: one can't be listened at for another reason; then none is.
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
            # Or it would depend on the system's settings whether [::] takes IPv4 too.
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
                # Nobody can connect yet. Setting the umask instead would be seen by the
                # files that other threads make.
                os.chmod(path, mode)  # noqa: PTH101
            unix.listen(socket.SOMAXCONN)
    except BaseException:
        unix.close()
        raise
    return unix


@asynccontextmanager
async def _alone_in(directory: str) -> AsyncIterator[None]:
    """Keep other servers from replacing and removing Unix sockets in `directory`.

    Of two that find the same stale socket, one would remove the new one of the other.  The
    lock is on the directory itself, so that it leaves no file behind.  Whoever may not read
    the directory, or finds that some program keeps it locked, goes without.
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
    """Return whether `path` is a socket that its server left behind when it ended."""
    if sys.platform == "win32":
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            probe.setblocking(False)
            return probe.connect_ex(path) == errno.ECONNREFUSED
    return False


def _identity(path: str) -> tuple[int, int, int]:
    # A file that is removed leaves its number to the next, so the time is needed too.
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino, status.st_mtime_ns


async def _remove_if(path: str, identity: tuple[int, int, int]) -> None:
    """Remove our socket, but not that of a server which has replaced it since."""
    with trio.CancelScope(shield=True):  # waiting for the directory has an end of its own
        async with _alone_in(os.path.dirname(path)):  # noqa: PTH120
            # In a sandbox nothing can be removed; the next server replaces what is left.
            with suppress(FileNotFoundError, PermissionError):
                if _identity(path) == identity:
                    os.unlink(path)  # noqa: PTH108


def _descriptors(endpoint: FdEndpoint) -> list[int]:
    """Return the descriptors that are meant: one by its number, or all that have the name."""
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
    """Return an inherited socket, which is left as it is if it does not listen."""
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
    """Return where a socket really listens, with the port that the system picked.

    An inherited socket has the endpoint that it is bound to.  The mode of a Unix socket is
    not told.
    """
    address = listening.getsockname()
    if sys.platform != "win32" and listening.family == socket.AF_UNIX:
        # A name in Linux's abstract namespace begins with a zero byte, shown as by ss(8).
        return UnixEndpoint(re.sub("^\0", "@", os.fsdecode(address)))
    if listening.family == _AF_VSOCK:
        cid, port = address
        return VsockEndpoint(cid, port)
    return TcpEndpoint(host_of(address), address[1])
