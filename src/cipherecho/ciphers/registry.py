"""Finds the installed ciphers, and loads one by its name.

Ciphers are entry points in the group ``cipherecho.ciphers`` of installed
distributions.  Listing them reads only metadata.  Using one imports only its plugin, so others
may be broken.

Only this module looks for installed packages.  It uses the backport ``importlib_metadata``, which
behaves the same on every Python: a stale, empty ``dist-info`` directory doesn't hide a plugin, and
editable installs know their origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast

import importlib_metadata

from cipherecho.cipher import Cipher
from cipherecho.ciphers.checkout import install_line, package_of
from cipherecho.ciphers.composition import NoInverseError, chain, inverse
from cipherecho.ciphers.options import SchemaError, make_cipher
from cipherecho.ciphers.shapes import NotACipherError, as_cipher
from cipherecho.ciphers.specification import SelectionError, Specification, normalized_name
from cipherecho.printable import safe_text

__all__ = [
    "AmbiguousCipherError",
    "BrokenCipherError",
    "Entry",
    "IncompatibleCipherError",
    "NotInvertibleError",
    "Registry",
    "UnknownCipherError",
]

GROUP = "cipherecho.ciphers"
_COMPANIONS = "cipherecho.companions"

_OWN = "cipherecho"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Entry:
    """A cipher in the metadata of a distribution; nothing of it is imported."""

    name: str
    """Its normalized name: small letters, digits and hyphens."""
    value: str
    """Where its factory is: ``module:attribute``."""
    distribution: importlib_metadata.Distribution
    """The distribution that has it.  Its metadata is read when it is first needed."""

    @property
    def module(self) -> str:
        """The name of the module that has its factory."""
        return self.value.partition(":")[0].strip()

    @property
    def package(self) -> str:
        """The name of the distribution."""
        return _name_of(self.distribution)

    @property
    def version(self) -> str:
        """The version of the distribution."""
        return self.distribution.version

    @property
    def origin(self) -> str:
        """Where the distribution is: its directory, or the URL that it was installed from."""
        try:
            return str(self.distribution.origin.url)
        except (AttributeError, ValueError):  # no direct_url.json, or not a good one
            return str(self.distribution.locate_file(""))

    def __str__(self) -> str:
        return f"{self.name} ({self.package} {self.version}, {self.value}, from {self.origin})"


class UnknownCipherError(SelectionError):
    """No installed package has a cipher of this name."""


class AmbiguousCipherError(SelectionError):
    """Several packages have a cipher of this name; `entries` are theirs."""

    def __init__(self, name: str, entries: list[Entry]) -> None:
        self.entries = entries
        claims = " and ".join(f"{one.package} {one.version} ({one.value})" for one in entries)
        packages = {normalized_name(one.package) for one in entries}
        advice = (
            f"write {name}@{entries[0].package} for the first"
            if len(packages) > 1
            else "one of its entry points has to be renamed"
        )
        super().__init__(f"cipher '{name}' is claimed by {claims}; {advice}")


class BrokenCipherError(SelectionError):
    """The plugin failed when it was imported or when it made the cipher.

    `entry` is its entry point; ``__cause__`` is the exception.
    """

    def __init__(self, entry: Entry, what: str, cause: BaseException) -> None:
        self.entry = entry
        super().__init__(f"cipher {entry} {what}: {type(cause).__name__}: {safe_text(cause)}")


class IncompatibleCipherError(SelectionError):
    """The plugin was imported, but doesn't keep the contract."""

    def __init__(self, entry: Entry, problem: str) -> None:
        self.entry = entry
        super().__init__(f"cipher {entry} can't be used: {problem}")


class NotInvertibleError(SelectionError):
    """The cipher can only encrypt, so it can't be used to decrypt."""


class Registry:
    """The installed ciphers, read from metadata when they are first needed.

    Args:
      allowed: the packages that may bring ciphers; None allows all installed packages.
        Those of cipherecho itself are always there.

    Built-in ciphers belong to cipherecho's own distribution.  Their names are reserved, and finding
    them needs no scan of all installed packages.
    """

    def __init__(self, allowed: Collection[str] | None = None) -> None:
        self.allowed = (
            None if allowed is None else frozenset(map(normalized_name, allowed)) | {_OWN}
        )

    @cached_property
    def built_in(self) -> tuple[Entry, ...]:
        """The ciphers that come with cipherecho itself."""
        try:
            own = importlib_metadata.distribution(_OWN)
        except importlib_metadata.PackageNotFoundError:
            return ()  # run from a source tree; a look-up will say that nothing is installed
        return _entries(own.entry_points.select(group=GROUP))

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every cipher that is installed, by name, then by package."""
        entries = [
            entry
            for entry in _entries(_scan())
            if self.allowed is None or normalized_name(entry.package) in self.allowed
        ]
        return tuple(sorted(entries, key=lambda entry: (entry.name, entry.package)))

    def status(self, entry: Entry) -> str:
        """Return, from metadata alone, whether the name of `entry` finds it.

        ``ok``; ``ambiguous`` or ``reserved``, if only ``name@package`` finds it; or
        ``bad name``, if nothing does.
        """
        if not _NAME.fullmatch(entry.name):
            return "bad name"
        if _is_own(entry):
            return "ok"
        if any(entry.name == own.name for own in self.built_in):
            return "reserved"
        others = [other for other in self.entries if other.name == entry.name]
        return "ambiguous" if len(others) > 1 else "ok"

    def find(self, name: str, package: str | None = None) -> Entry:
        """Return the entry for `name`, without importing anything.

        Args:
          name: the cipher's name, in small or capital letters; ``_`` and ``.`` count as ``-``.
          package: the distribution that must have it, written in the same ways.

        Raises:
          UnknownCipherError: there is none; the message has near misses.
          AmbiguousCipherError: there are several, and `package` does not pick one.
        """
        name, package = normalized_name(name), package and normalized_name(package)
        own = [entry for entry in self.built_in if entry.name == name]
        if own and package in (None, _OWN):
            return own[0]
        found = [
            entry
            for entry in self._usable
            if entry.name == name and package in (None, normalized_name(entry.package))
        ]
        if len(found) > 1:
            raise AmbiguousCipherError(name, found)
        if not found:
            raise UnknownCipherError(self._unknown(name, package))
        return found[0]

    def companion(self, entry: Entry) -> tuple[str, str] | None:
        """Return a cipher's companion: the name of the package, and the function.

        Nothing is imported; see :mod:`cipherecho.host.sandbox.companion`.
        """
        name = normalized_name(entry.package)
        if not _NAME.fullmatch(name):  # it becomes a part of a path
            return None
        points = entry.distribution.entry_points.select(group=_COMPANIONS)
        values = [point.value for point in points if normalized_name(point.name) == entry.name]
        return (name, values[0]) if values else None

    def factory(self, entry: Entry) -> Callable[..., object]:
        """Import the plugin of `entry`, and return the factory that it names.

        Raises:
          BrokenCipherError: the import raised, or there is no such attribute.
          IncompatibleCipherError: it can't be called.
        """
        point = importlib_metadata.EntryPoint(entry.name, entry.value, GROUP)
        try:
            factory = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as cause:  # a plugin's module may do anything
            raise BrokenCipherError(entry, "can't be imported", cause) from cause
        if not callable(factory):
            raise IncompatibleCipherError(
                entry, f"{safe_text(factory, repr)} is no class or function"
            )
        return cast(Callable[..., object], factory)

    def load(self, specification: Specification) -> Cipher:
        """Return the cipher that `specification` describes, also one of a family's member.

        Raises:
          UnknownCipherError, AmbiguousCipherError: see :meth:`find`.
          BrokenCipherError: the plugin raised when it was imported or made the cipher.
          IncompatibleCipherError: it does not keep the contract.
          BadOptionError: its options are not what it takes.
        """
        entry = self.find(specification.name, specification.distribution)
        factory = self.factory(entry)
        try:
            return as_cipher(make_cipher(factory, specification))
        except SelectionError:
            raise
        except (SchemaError, NotACipherError) as problem:
            raise IncompatibleCipherError(entry, str(problem)) from problem
        except KeyboardInterrupt:
            raise
        except BaseException as cause:
            raise BrokenCipherError(entry, "can't be made", cause) from cause

    def load_chain(
        self, specifications: Iterable[Specification], *, decrypt: bool = False
    ) -> Cipher:
        """Return the chain of several ciphers, applied from left to right.

        With `decrypt`, the chain is inverted: the inverses of the ciphers, in reverse order.

        Raises:
          NotInvertibleError: `decrypt`, and one of them can only encrypt.
          SelectionError: whatever :meth:`load` raises.
          ValueError: there are no specifications.
        """
        stages: list[Cipher] = []
        for specification in specifications:
            cipher = self.load(specification)
            try:
                stages.append(inverse(cipher) if decrypt else cipher)
            except NoInverseError as problem:
                raise NotInvertibleError(
                    f"cipher '{specification}' can only encrypt, expected one with an inverse"
                ) from problem
        return chain(reversed(stages) if decrypt else stages)

    @property
    def _usable(self) -> list[Entry]:
        return [entry for entry in self.entries if _NAME.fullmatch(entry.name)]

    def _unknown(self, name: str, package: str | None) -> str:
        if package is not None:
            elsewhere = ", ".join(entry.package for entry in self._usable if entry.name == name)
            hint = f"it is in {elsewhere}" if elsewhere else "no package has it"
            return f"cipher '{name}' is not in the package {package!r}; {hint}"
        names = {entry.name for entry in self._usable}
        if not names:
            return f"cipher '{name}' is not installed, nor is any; is cipherecho itself installed?"
        return f"cipher '{name}' is not installed; {self._hint(name, names)}"

    def _hint(self, name: str, names: Collection[str]) -> str:
        """Return what to do about a cipher that is none of `names`, which are installed."""
        everywhere = set(names)
        only = ""
        if self.allowed is None:
            everywhere |= set(package_of)
        else:
            only = f" (the only packages allowed are {', '.join(sorted(self.allowed))})"
            for entry in Registry().entries:
                if entry.name == name:
                    return f"{entry.package} has it{only}"
        from difflib import get_close_matches  # not for those who write it right

        near = get_close_matches(name, sorted(everywhere), n=3)
        if near and near[0] not in names:
            meant = "" if near[0] == name else f"did you mean {near[0]}? "
            return f"{meant}to install it, type in a checkout: {install_line(package_of[near[0]])}"
        near = [one for one in near if one in names]
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"there are: {', '.join(sorted(names))}"
        )
        return f"{hint}{only}"


def _scan() -> list[importlib_metadata.EntryPoint]:
    """Return the entry points in our group of all complete distributions."""
    try:
        points = list(importlib_metadata.entry_points(group=GROUP))
    except Exception:  # one unreadable entry_points.txt, anywhere, ends that scan
        points = list(_scan_one_by_one())
    whole = {one for one in {point.dist for point in points} if _is_whole(one)}
    return [point for point in points if point.dist in whole]


@lru_cache
def _name_of(distribution: importlib_metadata.Distribution) -> str:
    """Return its name; the distribution itself would parse its metadata each time."""
    return distribution.name


def _is_whole(distribution: importlib_metadata.Distribution) -> bool:
    with suppress(Exception):  # METADATA is gone or no good: a half-done uninstall
        return bool(_name_of(distribution) and distribution.version)
    return False


def _scan_one_by_one() -> Iterator[importlib_metadata.EntryPoint]:
    seen = set()
    for distribution in importlib_metadata.distributions():
        with suppress(Exception):  # whatever a malformed file raises, it is not ours
            name = normalized_name(distribution.name)
            if name not in seen:  # the first on the path is the one that is imported
                seen.add(name)
                yield from distribution.entry_points.select(group=GROUP)


def _entries(points: Iterable[importlib_metadata.EntryPoint]) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            normalized_name(point.name),
            point.value,
            cast(importlib_metadata.Distribution, point.dist),
        )
        for point in points
    )


def _is_own(entry: Entry) -> bool:
    return normalized_name(entry.package) == _OWN
