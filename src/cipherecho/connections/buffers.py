"""What all connections together hold in memory, and a bound on it.

A connection holds what was received and is not answered, such as a line without its end, and
what was answered and is not taken.  Each has bounds of its own for that; a thousand times those
is more than a machine may have.  So what they hold is added up for the whole process, and
beyond a bound those who hold most have to go.

Stands below connections, and knows them by what they are asked here.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from cipherecho.settings.process import ProcessSettings

__all__ = ["SMALL_BYTES", "Buffers", "least_buffered"]

SMALL_BYTES = 1024
"""Who holds no more than this is not counted: it is a part of what a connection costs anyway.
Nearly all clients send whole lines, or what fits into this, and take their replies, so
counting costs them nothing."""

# A line takes its own length before it ends; then its echo and its code are beside it.
_LINES_PER_LINE = 4

# Of those whose size is nearly the same, so many are compared.
_MOST_COMPARED = 64

T = TypeVar("T")


def least_buffered(max_line: int) -> int:
    """Return what the bound has to be at the least for one client to have one line answered."""
    return _LINES_PER_LINE * max_line


class Holder(Protocol):
    """What is asked of a connection."""

    counted: int
    """How many bytes it was counted with; 0 at first. Set by :meth:`Buffers.count` alone."""

    @property
    def source(self) -> Hashable:
        """Where it comes from."""
        ...

    def dismiss(self) -> None:
        """Let go of all that it holds, and end soon; does not wait, and raises nothing."""
        ...


class Buffers:
    """Adds up what connections hold, and dismisses those that hold most beyond a bound.

    Counting and dismissing are two things, so that nobody is dismissed in the middle of
    something: whoever counts has to call :meth:`relieve` when it is done with that.

    Args:
      most: the bound in bytes, inclusive.
    """

    def __init__(self, most: int = ProcessSettings.max_buffered) -> None:
        self.most = most
        self.bytes = 0
        """How many there are now."""
        self._sources: _Ranking[_Source] = _Ranking()
        self._by_name: dict[Hashable, _Source] = {}
        self._source_of: dict[Holder, _Source] = {}

    def count(self, holder: Holder, size: int) -> None:
        """Count that a connection holds `size` bytes now."""
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
        """Dismiss connections until the bound is kept.

        Each time that is the one that holds most of the source that holds most.  Where there are
        many that hold nearly as much, it may be one that holds an eighth less.
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
    """Things by their sizes, so that one of the largest is found without a look at all.

    There may be thousands, each a little larger with every receive, and one may have to go with
    every receive: a heap would have to be mended each time.
    """

    __slots__ = ("_classes",)

    def __init__(self) -> None:
        self._classes: dict[int, dict[T, int]] = {}

    def move(self, one: T, before: int, after: int) -> None:
        """Give a thing another size; without a size, 0, it is not among them."""
        old, new = _class_of(before), _class_of(after)
        if before and (old != new or not after):
            in_class = self._classes[old]
            del in_class[one]
            if not in_class:
                del self._classes[old]
        if after:
            self._classes.setdefault(new, {})[one] = after

    def largest(self) -> T:
        """Return the largest; of many in one class, that of those that came first."""
        in_class = self._classes[max(self._classes)]
        return max(islice(in_class.items(), _MOST_COMPARED), key=lambda item: item[1])[0]


def _class_of(size: int) -> int:
    """Return the class of a size: those in one differ by an eighth at the most.

    >>> [_class_of(size) for size in (1, 15, 65_535, 65_536, 73_727, 73_728)]
    [1, 15, 207, 216, 216, 217]
    """
    shift = max(0, size.bit_length() - 4)  # the leading four bits, and how many follow
    return shift << 4 | size >> shift
