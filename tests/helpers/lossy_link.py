"""A slow and lossy network between two ends, on any Linux machine where we are root.

Each end is a network namespace with a TUN device: packets that are sent at one end are read
here, in a thread, and written at the other end, late or not at all.  In between is the
kernel's TCP, unchanged.  Delay and loss are netem's (tc-netem(8)) where the kernel has it,
and ours otherwise.

Nothing has to be cleaned up: namespaces and devices end with the descriptors held here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from threading import Thread

# linux/sched.h and linux/if_tun.h. (Python has the calls for namespaces from 3.12 on.)
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000

_LARGEST_PACKET = 65_536

_libc = ctypes.CDLL(None, use_errno=True)


class LinkError(Exception):
    """This machine does not let us have such a link; the message says what is missing."""


class End:
    """One end of a link: a network of its own, in which only the other end can be reached.

    Args:
      address: its own.
      other: the address of the other end.

    Raises:
      LinkError: we may have no network of our own, or no TUN device.
    """

    def __init__(self, address: str, other: str) -> None:
        self.address = address
        if shutil.which("ip") is None:
            raise LinkError("the program ip (iproute2)")
        home = _namespace()
        try:
            _checked(_libc.unshare(_CLONE_NEWNET), "a network namespace")
            try:
                self._inside = _namespace()
                self.device = _tun()
                _ip(f"address add {address} peer {other} dev wire")
                _ip("link set dev wire up")
            finally:
                _enter(home)
        finally:
            os.close(home)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have what this thread does in here done at this end.

        Sockets and processes that begin here stay here.
        """
        home = _namespace()
        try:
            _enter(self._inside)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """Return a connection from here; every call on it has a timeout."""
        with self.entered():
            client = socket.socket()
        client.settimeout(timeout)
        client.connect(address)
        return client

    def close(self) -> None:
        """Let go of the device and of the namespace."""
        os.close(self.device)
        os.close(self._inside)


class Link:
    """Two ends, and what happens to packets between them.

    Args:
      delay: how long a packet is under way, in seconds, each way.
      loss: how many of them get lost, from 0 to 1.
      seed: makes the losses the same each time; netem's are not.

    Raises:
      LinkError: as :class:`End`.
    """

    def __init__(self, *, delay: float, loss: float, seed: int) -> None:
        with ExitStack() as stack:
            self.here = End("10.99.0.1", "10.99.0.2")
            stack.callback(self.here.close)
            self.there = End("10.99.0.2", "10.99.0.1")
            stack.callback(self.there.close)
            netem = f"delay {delay * 1000:g}ms loss {loss * 100:g}%"
            self.by_netem = all(_shaped(end, netem) for end in (self.here, self.there))
            self._close = stack.pop_all().close
        self._delay, self._loss = (0.0, 0.0) if self.by_netem else (delay, loss)
        self._random = Random(seed)  # noqa: S311
        self.passed = 0
        """How many packets got through."""
        self.lost = 0
        """How many did not, those not counted that netem lost."""
        self._stop, self._stopped = os.pipe()
        self._thread = Thread(target=self._forward, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop forwarding; both ends are gone then, but for the processes that are in them."""
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        self._close()

    def _forward(self) -> None:
        across = {
            self.here.device: self.there.device,
            self.there.device: self.here.device,
        }
        # All take as long, so the first in is the first out.
        under_way: deque[tuple[float, int, bytes]] = deque()
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready, _, _ = select.select([*across, self._stop], [], [], wait)
            if self._stop in ready:
                return
            for device in ready:
                packet = os.read(device, _LARGEST_PACKET)
                if self._random.random() < self._loss:
                    self.lost += 1
                else:
                    under_way.append((time.monotonic() + self._delay, across[device], packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, device, packet = under_way.popleft()
                os.write(device, packet)
                self.passed += 1


@contextmanager
def lossy_link(*, delay: float, loss: float, seed: int) -> Iterator[Link]:
    """Have a link for a while; see :class:`Link`."""
    link = Link(delay=delay, loss=loss, seed=seed)
    try:
        yield link
    finally:
        link.close()


def _namespace() -> int:
    """Return a descriptor of the network namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(namespace: int) -> None:
    _checked(_libc.setns(namespace, _CLONE_NEWNET), "a way into a network namespace")


def _tun() -> int:
    """Return a descriptor of a new TUN device, ``wire``, in the namespace of this thread."""
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        raise LinkError(f"TUN devices ({error.strerror})") from error
    return device


def _shaped(end: End, netem: str) -> bool:
    """Have the kernel delay and lose what is sent at an end; return whether it can."""
    if shutil.which("tc") is None:
        return False
    command = ["tc", "qdisc", "add", "dev", "wire", "root", "netem", *netem.split()]
    with end.entered():
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _ip(arguments: str) -> None:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, check=False)
    if done.returncode != 0:
        raise LinkError(f"a network of our own ({done.stderr.decode().strip()})")


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise LinkError(f"{what} ({errno.errorcode[ctypes.get_errno()]})")
