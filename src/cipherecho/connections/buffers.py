"""A limit on the memory that all connections hold together.

A connection holds received data that is not answered yet, such as an unfinished line, and replies
that the client hasn't read.  Each connection has its own limits, but a thousand times those is more
than a machine may have.  So the sizes are added up for the whole process, and beyond a limit, the
connections that hold most are closed.

This stands below connections, and knows only the interface that it declares.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from cipherecho.settings.process import ProcessSettings

__all__ = ["SMALL_BYTES", "Buffers", "least_buffered"]

SMALL_BYTES = 1024
"""A connection that holds no more than this is not counted, since every connection needs as much
anyway.  Nearly all clients send whole lines, or fit into this, and read their replies, so counting
costs them nothing."""

# An unfinished line needs its own length; later, its echo and its ciphertext are added.
_LINES_PER_LINE = 4

# How many connections of nearly the same size are compared.
_MOST_COMPARED = 64

T = TypeVar("T")


def least_buffered(max_line: int) -> int:
    """Return the smallest limit with which one client can get one line answered."""
    return _LINES_PER_LINE * max_line


class Holder(Protocol):
    """The interface of a connection."""

    counted: int
    """The size that it was counted with, in bytes; 0 at first.  Only :meth:`Buffers.count` sets
    it."""

    @property
    def source(self) -> Hashable:
        """The source of its client."""
        ...

    def dismiss(self) -> None:
        """Release all that it holds, and end soon; this doesn't block or raise."""
        ...


class Buffers:
    """Adds up what connections hold, and dismisses the largest ones beyond a limit.

    Counting dismisses nobody, since a connection may be in the middle of something.  After
    counting, the caller has to call :meth:`relieve`.

    Args:
      most: the limit in bytes, inclusive.
    """

    def __init__(self, most: int = ProcessSettings.max_buffered) -> None:
        self.most = most
        self.bytes = 0
        """How many bytes are held now."""
        self._sources: _Ranking[_Source] = _Ranking()
        self._by_name: dict[Hashable, _Source] = {}
        self._source_of: dict[Holder, _Source] = {}

    def count(self, holder: Holder, size: int) -> None:
        """Record that a connection holds `size` bytes now."""
        before = holder.counted
        if size == before:
            return
        if before:
            source = self._source_of[holder]
        else:
            name = holder.source
            source = self._by_name.get(name) or self._by_name.setdefault(name, _Source(name))
            self._source_of[holder] = source
        source.holders.move(holder, before, size)
        self._sources.move(source, source.bytes, source.bytes + size - before)
        source.bytes += size - before
        self.bytes += size - before
        holder.counted = size
        if not size:
            del self._source_of[holder]
            if not source.bytes:
                del self._by_name[source.name]

    def relieve(self) -> None:
        """Dismiss connections until the limit is kept.

        Each time, the source that holds most loses the connection that holds most.  If many hold
        nearly as much, it may be one that holds up to an eighth less.
        """
        while self.bytes > self.most:
            holder = self._sources.largest().holders.largest()
            self.count(holder, 0)
            holder.dismiss()


class _Source:
    """What the connections of one source hold."""

    __slots__ = ("bytes", "holders", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.bytes = 0
        self.holders: _Ranking[Holder] = _Ranking()


class _Ranking(Generic[T]):
    """Objects ranked by size, which finds one of the largest without looking at all.

    There may be thousands.  Every receive changes one's size, and may have to remove one; a heap
    would have to be repaired each time.
    """

    __slots__ = ("_classes",)

    def __init__(self) -> None:
        self._classes: dict[int, dict[T, int]] = {}

    def move(self, one: T, before: int, after: int) -> None:
        """Change the size of an object; size 0 means that it isn't here."""
        old, new = _class_of(before), _class_of(after)
        if before and (old != new or not after):
            in_class = self._classes[old]
            del in_class[one]
            if not in_class:
                del self._classes[old]
        if after:
            self._classes.setdefault(new, {})[one] = after

    def largest(self) -> T:
        """Return the largest object; if its class has many, the largest of the first ones."""
        in_class = self._classes[max(self._classes)]
        return max(islice(in_class.items(), _MOST_COMPARED), key=lambda item: item[1])[0]


def _class_of(size: int) -> int:
    """Return the class of a size; sizes in one class differ by an eighth at most.

    >>> [_class_of(size) for size in (1, 15, 65_535, 65_536, 73_727, 73_728)]
    [1, 15, 207, 216, 216, 217]
    """
    shift = max(0, size.bit_length() - 4)  # the leading four bits, and the number of the others
    return shift << 4 | size >> shift
