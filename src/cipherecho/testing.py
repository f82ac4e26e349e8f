"""The conformance kit: plain functions that check whether a cipher keeps the contract.

It is for plugin authors, and works with any test framework or none::

    from cipherecho.testing import conform

    def test_conforms():
        conform(Reverse)

With pytest, a class gives each check a test of its own::

    class TestReverse(CipherTests):
        factory = Reverse

``cipherecho check NAME`` does the same from the command line.  The kit imports the contract and
the session, but no test framework.
"""

from __future__ import annotations

import importlib.machinery
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cipherecho.cipher import Cipher, InputError, Transform, Vector
from cipherecho.ciphers.coder import Coder, CodingError, snapshot
from cipherecho.ciphers.composition import NoInverseError, inverse
from cipherecho.ciphers.lines import lines_of
from cipherecho.ciphers.options import BadOptionError, make_cipher, options_of
from cipherecho.ciphers.shapes import as_cipher, codes_stretches, is_stateful, new_transform
from cipherecho.ciphers.specification import normalized_name, parse
from cipherecho.printable import safe_text
from cipherecho.registry import Registry
from cipherecho.session import MAX_LINE, ReplyMode, Session, longest_coded

__all__ = [
    "CHECKS",
    "CipherTests",
    "ConformanceError",
    "Outcome",
    "conform",
    "installed",
    "outcomes",
    "registered",
]

# Lines that have broken ciphers.
LINES = (
    b"",
    b"a",
    b"Z",
    b"7",
    b" ",
    b"Attack at dawn!",
    b"THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "Größe 7! ẞ İ ſ ŉ".encode(),  # noqa: RUF001 (their other case is longer or another letter)
    "日本語 🎉".encode(),
    b"\xff\xfe is no UTF-8",
    b"\x00\x1b[31m\x7f",
    b"a CR \r in it",
    b"\rfirst",
    bytes(byte for byte in range(256) if byte not in b"\r\n"),
    b"The longest line that a server takes. ".ljust(MAX_LINE, b"."),
)

# Far more than a cipher in pure Python needs for a line of text (Enigma: 0.2 ms), and so slow that
# it would block a server.
_MOST_SECONDS_A_LINE = 0.02


class ConformanceError(AssertionError):
    """A cipher does not keep the contract; the message says which line shows it."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check; `problem` is empty if the cipher keeps the promise."""

    check: str
    promise: str
    problem: str = ""


def outcomes(factory: Callable[..., Any], options: str | None = None) -> Iterator[Outcome]:
    """Yield the result of each check, for the cipher that `factory` makes.

    `options` are written as in a specification.  Without them, the checks use the options of the
    first vector, or none if there is no vector.

    Raises:
      BadOptionError: the factory doesn't take those options.
      NotACipherError: the factory doesn't return a cipher.
      SchemaError: its parameters can't be options.
    """
    subject = _Subject(factory, _usual_options(factory) if options is None else options)
    for name, check in CHECKS.items():
        problem = ""
        try:
            check(subject)
        except ConformanceError as error:
            problem = str(error)
        yield Outcome(name, (check.__doc__ or "").strip(), problem)


def conform(factory: Callable[..., Any], options: str | None = None) -> None:
    """Raise if the cipher doesn't keep the contract; see :func:`outcomes`.

    Raises:
      ConformanceError: it doesn't; the message lists all problems.
    """
    problems = [f"{one.check}: {one.problem}" for one in outcomes(factory, options) if one.problem]
    if problems:
        raise ConformanceError("\n".join(problems))


def _usual_options(factory: Callable[..., Any]) -> str:
    vectors = _vectors_of(factory)
    return vectors[0].options if vectors else ""


def _vectors_of(factory: Callable[..., Any]) -> Sequence[Vector]:
    vectors: Sequence[Vector] = getattr(factory, "vectors", ())
    return vectors


class _Subject:
    """The cipher under test, and what the checks ask of it."""

    def __init__(self, factory: Callable[..., Any], options: str) -> None:
        self.factory = factory
        self.name = getattr(factory, "__name__", "cipher")
        self.vectors = _vectors_of(factory)
        self.cipher = self.made_with(options)
        self.is_random: bool = getattr(factory, "random", False)
        self.is_lossy: bool = getattr(factory, "lossy", False)

    def made_with(self, options: str) -> Cipher:
        return as_cipher(
            make_cipher(self.factory, parse(f"{self.name}:{options}" if options else self.name))
        )

    def directions(self) -> Iterator[tuple[str, Cipher]]:
        yield "encrypting", self.cipher
        try:
            yield "decrypting", inverse(self.cipher)
        except NoInverseError:
            return


def _coder(cipher: Cipher) -> Coder:
    return Coder(cipher, longest_coded(MAX_LINE))


def _coded(coder: Coder, body: bytes, when: str) -> bytes | None:
    """Return the ciphertext of `body`, or None if it is rejected."""
    try:
        return coder.code(body, b"\r\n")
    except InputError:
        return None
    except CodingError as error:
        raise ConformanceError(f"{when} {_shown(body)}: {error}") from error
    except Exception as error:
        raise ConformanceError(
            f"{when} {_shown(body)}: raised {type(error).__name__}: {error}; a line that has "
            "no code is rejected by InputError"
        ) from error


def _shown(body: bytes) -> str:
    return repr(body) if len(body) <= 40 else f"{body[:30]!r}… ({len(body)} bytes)"


def _expect(when: str, got: object, expected: object) -> None:
    if got != expected:
        raise ConformanceError(f"{when}: got {got!r}, expected {expected!r}")


# The checks. The docstring of each is the promise that it checks.


def check_lines(subject: _Subject) -> None:
    """Every line is coded as one line of bytes, or rejected by InputError."""
    for when, cipher in subject.directions():
        coder = _coder(cipher)
        for body in LINES:
            _coded(coder, body, when)


def check_stretches(subject: _Subject) -> None:
    """A cipher that says ``stretches = True`` codes many lines at once as one by one."""
    for when, cipher in subject.directions():
        if not codes_stretches(cipher):
            continue
        at_once, by_line = _coder(cipher), _coder(cipher)
        endings = [b"\r\n", b"\n"]
        text = b"".join(body + endings[i % 2] for i, body in enumerate(LINES[:-1]))
        batch = at_once.code_batch(text, lines_of(text))
        if batch is None:
            raise ConformanceError(
                f"{when} {_shown(text)} at once: it failed, did not keep every line ending in "
                "its place, or has a transform that can't be copied"
            )
        expected = b"".join(
            (_coded(by_line, body, when) or b"") + endings[i % 2]
            for i, body in enumerate(LINES[:-1])
        )
        _expect(f"{when} many lines at once", bytes(batch.coded), expected)


def check_blocks(subject: _Subject) -> None:
    """A transform with a method ``block`` codes many lines at once as one by one."""
    if subject.is_random:
        return
    for when, cipher in subject.directions():
        at_once, by_line = _coder(cipher), _coder(cipher)
        if codes_stretches(cipher) or at_once.batch_bounds() is None:
            continue
        bodies = [body for body in LINES[:-1] if b"\r" not in body]
        for _ in range(2):  # the second time, from the state that the first has left
            got = _coded_at_once(at_once, bodies, when)
            for body, code in zip(bodies, got, strict=True):
                _expect(f"{when} {_shown(body)} in a block", code, _coded(by_line, body, when))


def _coded_at_once(coder: Coder, bodies: list[bytes], when: str) -> list[bytes | None]:
    """Return the ciphertext of each body, or None if it is rejected."""
    text = b"".join(body + (b"\n" if i % 2 else b"\r\n") for i, body in enumerate(bodies))
    try:
        batch = coder.code_batch(text, lines_of(text))
    except CodingError as error:
        raise ConformanceError(f"{when} {len(bodies)} lines in a block: {error}") from error
    except Exception as error:
        raise ConformanceError(
            f"{when} {len(bodies)} lines in a block: raised {type(error).__name__}: {error}; a "
            "line that has no code is rejected by its number"
        ) from error
    assert batch is not None  # no body has a CR
    return [
        None if number in batch.rejected else line.rstrip(b"\r\n")
        for number, line in enumerate(lines_of(batch.coded))
    ]


def check_vectors(subject: _Subject) -> None:
    """Every vector holds, both ways, whole and in pieces."""
    for vector in subject.vectors:
        cipher = subject.made_with(vector.options)
        about = f"the vector from {vector.source!r}"
        if not subject.is_random:
            got = _through_session(cipher, vector.plaintext)
            _expect(f"{about}, encrypting", got, vector.ciphertext)
        if subject.is_lossy:
            continue
        try:
            back = inverse(cipher)
        except NoInverseError:
            continue
        _expect(f"{about}, decrypting", _through_session(back, vector.ciphertext), vector.plaintext)


def _through_session(cipher: Cipher, text: str) -> str:
    def rejected(line: int, reason: InputError) -> None:
        raise ConformanceError(f"line {line} of {text!r} is rejected: {safe_text(reason)}")

    coded = []
    for size in (1, max(1, len(text))):
        session = Session(cipher, reply=ReplyMode.FILTER, max_line=None, on_rejected=rejected)
        data = text.encode()
        pieces = []
        for start in range(0, len(data), size):
            pieces.append(session.receive(data[start : start + size]))
            while session.has_more:
                pieces.append(session.resume())
        coded.append(b"".join([*pieces, session.end()]).decode(errors="backslashreplace"))
        if session.failure is not None:
            raise ConformanceError(f"coding {text!r}: raised {session.failure!r}")
    _expect(f"{text!r} in pieces", coded[0], coded[1])
    return coded[1]


def check_determinism(subject: _Subject) -> None:
    """The same lines have the same code on every connection."""
    if subject.is_random:
        return
    for when, cipher in subject.directions():
        one, two = _coder(cipher), _coder(cipher)
        first = [_coded(one, body, when) for body in LINES]
        for body, expected in zip(LINES, first, strict=True):
            _expect(f"{when} {_shown(body)} again", _coded(two, body, when), expected)


def check_connections(subject: _Subject) -> None:
    """Two connections at a time do not touch each other's state."""
    if subject.is_random:
        return
    for when, cipher in subject.directions():
        alone = _coder(cipher)
        expected = [_coded(alone, body, when) for body in LINES]
        one, two = _coder(cipher), _coder(cipher)
        for body, code in zip(LINES, expected, strict=True):
            _expect(f"{when} {_shown(body)} beside another", _coded(one, body, when), code)
            _coded(two, body[::-1], when)
            _coded(two, body, when)


def check_state(subject: _Subject) -> None:
    """The state can be copied, and the copy goes on as the original would."""
    for when, cipher in subject.directions():
        if not is_stateful(cipher) or subject.is_random:
            continue
        transform = new_transform(cipher)
        for body in LINES:
            kept = snapshot(transform)
            if kept is None:
                raise ConformanceError(
                    f"{when}: the transform can't be copied; keep its state as plain data in "
                    "attributes of its own, not in a closure or a generator"
                )
            code, *after = [_answer(transform, line) for line in (body, *LINES[3:8])]
            again = [_answer(kept, line) for line in (body, *LINES[3:8])]
            _expect(f"{when} {_shown(body)} with a copy of the state", again, [code, *after])


def _answer(transform: Transform, body: bytes) -> bytes | None:
    try:
        return transform(body)
    except InputError:
        return None


def check_rejection(subject: _Subject) -> None:
    """A line that is rejected leaves the state as it was."""
    if subject.is_random:
        return
    for when, cipher in subject.directions():
        for rejected in LINES:
            with_it, without = _coder(cipher), _coder(cipher)
            for body in LINES[:8]:
                if _coded(with_it, rejected, when) is not None:
                    break  # it is not
                _expect(
                    f"{when} {_shown(body)} after the rejected {_shown(rejected)}",
                    _coded(with_it, body, when),
                    _coded(without, body, when),
                )


def check_options(subject: _Subject) -> None:
    """An option that is no good is refused by its name."""
    for option in options_of(subject.factory):
        for text in ("", "no good", "\0", "-1000000", "1e999", "ß"):
            quoted = text.replace("\\", "\\\\")
            try:
                subject.made_with(f'{option.name}="{quoted}"')
            except BadOptionError as error:
                if error.option is None:
                    raise ConformanceError(
                        f"{option.name}={text!r} is refused with {error!s}, which does not name "
                        "an option; raise OptionError"
                    ) from error
            except Exception as error:
                raise ConformanceError(
                    f"{option.name}={text!r} raises {type(error).__name__}: {error}; expected "
                    "OptionError, or a cipher"
                ) from error


def check_round_trip(subject: _Subject) -> None:
    """What is encrypted and decrypted comes back, unless the cipher says ``lossy = True``."""
    if subject.is_lossy:
        return
    try:
        back = _coder(inverse(subject.cipher))
    except NoInverseError:
        return
    there = _coder(subject.cipher)
    for body in LINES:
        code = _coded(there, body, "encrypting")
        if code is not None:
            got = _coded(back, code, "decrypting")
            _expect(f"{_shown(body)}, encrypted to {_shown(code)} and decrypted", got, body)


def check_time(subject: _Subject) -> None:
    """A line of text takes no more than 20 ms."""
    for when, cipher in subject.directions():
        coder = _coder(cipher)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            _coded(coder, LINES[6], when)
            times.append(time.perf_counter() - start)
        if min(times) > _MOST_SECONDS_A_LINE:
            raise ConformanceError(
                f"{when} {_shown(LINES[6])} takes {min(times) * 1000:.0f} ms, and holds up "
                "every other connection for so long"
            )


CHECKS: dict[str, Callable[[_Subject], None]] = {
    "lines": check_lines,
    "stretches": check_stretches,
    "blocks": check_blocks,
    "vectors": check_vectors,
    "determinism": check_determinism,
    "connections": check_connections,
    "state": check_state,
    "rejection": check_rejection,
    "options": check_options,
    "round-trip": check_round_trip,
    "time": check_time,
}


class CipherTests:
    """The checks as tests for pytest: inherit from this, and set `factory`.

    `options` are those of :func:`outcomes`.
    """

    factory: ClassVar[Callable[..., Any]]
    options: ClassVar[str | None] = None


def _test_of(check: Callable[[_Subject], None]) -> Callable[[CipherTests], None]:
    def test(self: CipherTests) -> None:
        factory = type(self).factory
        options = _usual_options(factory) if self.options is None else self.options
        check(_Subject(factory, options))

    test.__doc__ = check.__doc__
    return test


for _name, _check in CHECKS.items():
    setattr(CipherTests, f"test_{_name.replace('-', '_')}", _test_of(_check))


def installed(package: str) -> dict[str, Any]:
    """Return the factory of each cipher in a package, by the cipher's name.

    So a package can test its ciphers as users get them: through its entry points.

    Raises:
      ConformanceError: no package of that name is installed, it has no ciphers, or one of them
        has an invalid or reserved name.
      SelectionError: one of its ciphers can't be imported; the message says why.

    >>> sorted(installed("cipherecho"))
    ['rot13']
    """
    registry = Registry()
    name = normalized_name(package)
    entries = [entry for entry in registry.entries if normalized_name(entry.package) == name]
    if not entries:
        raise ConformanceError(
            f"got the package {package!r}, expected one that is installed and has entry points "
            "in the group cipherecho.ciphers"
        )
    for entry in entries:
        if registry.status(entry) in ("bad name", "reserved"):
            raise ConformanceError(
                f"got a cipher of the name {entry.name!r}, expected small letters, digits and "
                "hyphens, and no name of a cipher of cipherecho itself"
            )
    return {entry.name: registry.factory(entry) for entry in entries}


@contextmanager
def registered(name: str, factory: Callable[..., Any]) -> Iterator[None]:
    """Install `factory` as the cipher `name` while the block runs.

    Every :class:`~cipherecho.ciphers.registry.Registry` that is made in the block finds it in a
    package ``registered-NAME``, whose metadata is on ``sys.path``.

    >>> from cipherecho.registry import Registry
    >>> from cipherecho.rot13 import Rot13
    >>> with registered("mine", Rot13):
    ...     Registry().find("mine").package
    'registered-mine'
    """
    module = f"_cipherecho_registered_{normalized_name(name).replace('-', '_')}"
    holder = type(sys)(module)
    holder.factory = factory  # type: ignore[attr-defined]
    holder.__spec__ = importlib.machinery.ModuleSpec(module, None)
    with tempfile.TemporaryDirectory() as directory:
        metadata = Path(
            directory, f"registered_{normalized_name(name).replace('-', '_')}-0.dist-info"
        )
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: registered-{normalized_name(name)}\nVersion: 0\n"
        )
        (metadata / "entry_points.txt").write_text(
            f"[cipherecho.ciphers]\n{name} = {module}:factory\n"
        )
        sys.modules[module] = holder
        sys.path.insert(0, directory)
        try:
            yield
        finally:
            sys.path.remove(directory)
            del sys.modules[module]
