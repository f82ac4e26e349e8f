"""First guesses at the command line: what people type who know other programs.

A word or an option that cipherecho doesn't have gets the line to type instead, with the values
that were given.  This is imported only when the command line is wrong.
"""

from __future__ import annotations

import io
import re
import shlex
from collections import deque
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import click

from cipherecho.ciphers.checkout import install_line, package_of
from cipherecho.ciphers.options import options_of
from cipherecho.ciphers.registry import Registry
from cipherecho.ciphers.specification import (
    Specification,
    SpecificationError,
    UnnamedValueError,
    parse,
)
from cipherecho.cli.guessed_words import COMMANDS_GUESSED, SERVE_GUESSED, SOCAT, options_guessed
from cipherecho.settings.endpoint import DEFAULT_PORT, EndpointError, parse_endpoint

__all__ = ["WrongLineError", "complaint", "missing_file_hint", "with_names"]

_PORT = str(DEFAULT_PORT)

# With a port, a scheme, or only digits and dots; not any word, which can be a host's name too.
_LIKE_A_PLACE = re.compile(r".*:[0-9]*|.*://.*|unix:.*|[0-9.]+|\[.*\]|::|\*|localhost")


class WrongLineError(click.UsageError):
    """Words and options that make no sense together: `problem` says why."""

    def __init__(self, problem: str, expected: str, ctx: click.Context) -> None:
        self.problem = problem
        super().__init__(f"{problem}; {expected}", ctx)


def complaint(error: click.UsageError, arguments: Sequence[str]) -> str:
    """Return what to say of `error`, with the line to type instead of `arguments` if it is clear.

    `arguments` are those of the whole command line.
    """
    match error:
        case WrongLineError():
            problem = error.problem
        case click.NoSuchOption():
            problem = f"there is no option {error.option_name}"
        case click.MissingParameter(ctx=click.Context(info_name=str(command))):
            example = "my-cipher" if command == "new" else "rot13"
            return f"{error.format_message()} Type, for example: cipherecho {command} {example}"
        case _:
            return error.format_message()
    assert error.ctx is not None
    line = _line_for(arguments, error.ctx)
    return f"{problem}; type{line}" if line else error.format_message()


def missing_file_hint(name: object, arguments: Sequence[str], ctx: click.Context) -> str:
    """Return a hint if `name`, a file that ``apply`` can't find, may be a text to encrypt."""
    if arguments[:1] != ["apply"] or not isinstance(name, str) or re.search(r"[./\\]", name):
        return ""
    line = _line_for(arguments, ctx)
    return f"; to encrypt a text, type{line}" if line else ""


class _UnclearError(Exception):
    """Nobody can tell what is meant."""


def _line_for(arguments: Sequence[str], ctx: click.Context) -> str | None:
    """Return the line that `arguments` are a guess at, None if that is not clear."""
    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    try:
        return _Reading(arguments, root, ctx).line()
    except (_UnclearError, SpecificationError):
        return None


class _Reading:
    """A wrong command line, read as its author may have meant it."""

    def __init__(self, arguments: Sequence[str], root: click.Group, ctx: click.Context) -> None:
        self._commands = root.list_commands(ctx)
        self._command = ""
        self._options: list[str] = []
        self._ciphers: list[str] = []
        self._cipher_options: dict[str, str] = {}
        self._urls: list[str] = []
        self._hosts: list[str] = []
        self._ports: list[str] = []
        self._tls = False
        self._files: list[str] = []
        self._texts: list[str] = []
        self._output: str | None = None
        self._packages: dict[str, None] = {}
        words = deque(arguments)
        self._take_command(words)
        command = root.get_command(ctx, self._command) if self._command else root
        assert command is not None
        self._flags = {
            name: option.is_flag or isinstance(option.flag_value, str)
            for option in command.params
            if isinstance(option, click.Option)
            for name in option.opts
        }
        self._guesses = options_guessed(self._command)
        operands = list(self._take_options(words))
        if not self._command:
            rest = deque(operands)
            self._take_command(rest)
            operands = list(rest)
        if self._ciphers:
            self._give_options_to_cipher()
        self._take_operands(operands)
        self._give_options_to_cipher()
        command = root.get_command(ctx, self._command) if self._command else root
        assert command is not None
        self._known_options = {"--help", *(name for one in command.params for name in one.opts)}

    def _take_command(self, words: deque[str]) -> None:
        """Take the command at the beginning of `words`, if there is one."""
        if not words or words[0].startswith("-"):
            return
        first = words[0].lower()
        near = get_close_matches(first, self._commands, n=1)
        if first in SERVE_GUESSED:
            words.popleft()
        elif first == "help":
            words.popleft()
            self._options.append("--help")
            self._take_command(words)
        elif first == "version":
            words[0] = "--version"
        elif first in COMMANDS_GUESSED or (near and not self._cipher(first)):
            words.popleft()
            self._command, *options = COMMANDS_GUESSED.get(first, "".join(near)).split()
            self._options += options

    # Options.

    def _take_options(self, words: deque[str]) -> list[str]:
        """Take all options from `words`; return the other words."""
        others: list[str] = []
        while words:
            word = words.popleft()
            if word == "--":
                others += words
                break
            if word == "-" or not word.startswith("-"):
                others.append(word)
            else:
                self._take_option(word, words)
        return others

    def _take_option(self, word: str, words: deque[str]) -> None:
        name, equals, value = word.partition("=")
        name = self._known(name)
        if name not in self._flags and name not in self._guesses and not name.startswith("--"):
            letters = name[1:]
            if f"-{letters[:1]}" not in self._guesses:
                raise _UnclearError
            # Letters in one word, or a letter and its value.
            name = f"-{letters[0]}"
            if self._guesses[name][0] == "flag":
                words.appendleft(f"-{letters[1:]}")
            else:
                equals, value = "=", word[2:]

        def given() -> str:
            if equals:
                return value
            if not words:
                raise _UnclearError
            return words.popleft()

        if name in self._flags:
            if name in ("--cipher", "--listen") and self._command in ("", "apply"):
                self._take_value(name, given())
            elif equals or self._flags[name]:
                self._options.append(f"{name}={value}" if equals else name)
            else:
                self._options += [name, given()]
            return
        kind, ours = self._guesses.get(name, ("cipher option", name.removeprefix("--")))
        if kind == "flag":
            self._options += ours.split()
        elif kind == "tls":
            self._tls = True
        elif kind == "command":
            self._command = ours
        elif kind == "value" and ours != "--cipher":
            self._options += [ours, given()]
            self._tls = self._tls or ours in ("--tls-cert", "--tls-key")
        else:
            self._take_value(ours if kind == "value" else kind, given(), ours)

    def _known(self, name: str) -> str:
        """Return the name of an option as it is known: --max_line and -listen are others' ways."""
        folded = name.replace("_", "-")
        long = f"-{folded}" if len(folded) > 2 and not folded.startswith("--") else folded
        for one in (name, folded, folded.lower(), long):
            if one in self._flags or one in self._guesses:
                return one
        return name

    def _take_value(self, kind: str, value: str, ours: str = "") -> None:
        match kind:
            case "--cipher":
                self._ciphers.append(self._cipher(value, certain=True) or value)
            case "cipher option":
                self._cipher_options[ours] = value
            case "host":
                self._hosts.append(value)
            case "port":
                self._ports.append(value)
            case "--listen":
                if not self._take_place(value, certain=True):
                    raise _UnclearError
            case "unix":
                self._urls.append(f"unix://{value}")
            case "file":
                self._files.append(value)
            case "text":
                self._texts.append(value)
            case "output":
                self._output = value

    # Operands.

    def _take_operands(self, words: Sequence[str]) -> None:
        for word in words:
            if self._command in ("check", "ciphers"):
                self._files.append(self._cipher(word) or word)
            elif self._command == "new" or (self._command and _exists(word)):
                self._files.append(word)
            elif cipher := self._cipher(word):
                self._ciphers.append(cipher)
            elif self._ciphers and _is_whole(f"{self._ciphers[-1]}:{word}"):
                self._ciphers[-1] += f":{word}"
            elif self._command or not self._take_place(word):
                (self._files if _exists(word) else self._texts).append(word)
        encrypts = self._texts or self._files
        if not self._command and encrypts:
            if not self._ciphers and self._texts:
                raise _UnclearError
            self._command = "apply"
        if self._command and (self._hosts or self._ports or self._urls or self._tls):
            raise _UnclearError

    def _cipher(self, text: str, *, certain: bool = False) -> str | None:
        """Return the specification that `text` is or is meant to be, if there is such a cipher."""
        try:
            specification = parse(text)
        except SpecificationError as error:
            if error.instead is None:
                return None
            return self._cipher(error.instead, certain=certain)
        name = specification.name
        if any(one.name == name for one in Registry().entries):
            return text
        if name in package_of:
            self._packages[package_of[name]] = None
            return text
        return text if certain else None

    def _give_options_to_cipher(self) -> None:
        """Write options such as --key LEMON behind the name of the cipher that takes them."""
        if self._tls and "key" in self._cipher_options:
            self._options += ["--tls-key", self._cipher_options.pop("key")]
        if not self._cipher_options:
            return
        if len(self._ciphers) != 1:
            raise _UnclearError
        specification = parse(self._ciphers[0])
        names = _options_of(specification)
        for name, value in self._cipher_options.items():
            if name not in names or (name == names[0] and specification.first is not None):
                raise _UnclearError
            specification = (
                replace(specification, first=value)
                if name == names[0]
                else replace(specification, options=(*specification.options, (name, value)))
            )
        self._ciphers = [str(specification)]
        self._cipher_options.clear()

    # Where to listen.

    def _take_place(self, text: str, *, certain: bool = False) -> bool:
        """Take a place to listen, in any form; return whether `text` is one."""
        if socat := SOCAT.fullmatch(text):
            self._tls = self._tls or bool(socat["tls"])
            self._urls += [f"unix://{socat['path']}"] if socat["path"] else []
            self._ports += [socat["port"]] if socat["port"] else []
            return True
        if text.isascii() and text.isdigit():
            self._ports.append(text)
            return True
        if not certain and not _LIKE_A_PLACE.fullmatch(text):
            return False
        try:
            parse_endpoint(text)
        except EndpointError as error:
            if error.instead is None:
                return False
            if error.instead.endswith(f":{_PORT}") and not text.endswith(_PORT):
                self._hosts.append(error.instead.removesuffix(f":{_PORT}"))
            else:
                self._urls.append(error.instead)
            return True
        self._urls.append(text)
        return True

    def _endpoints(self) -> list[str]:
        hosts, ports = self._hosts, self._ports
        if len(hosts) > 1 and len(ports) > 1:
            raise _UnclearError
        pairs = [(host, port) for host in hosts or [""] for port in ports or [""] if host or port]
        urls = [*self._urls, *(self._joined(host, port) for host, port in pairs)]
        if self._tls:
            urls = [_with_tls(url) for url in urls or [f"127.0.0.1:{_PORT}"]]
        with suppress(EndpointError):
            for url in urls:
                parse_endpoint(url)
            return urls
        raise _UnclearError

    def _joined(self, host: str, port: str) -> str:
        if not host:
            return port
        try:
            parse_endpoint(host)
        except EndpointError as error:
            whole = error.instead or host
        else:
            whole = host
        bare = whole.removesuffix(f":{_PORT}")
        return f"{bare}:{port}" if port else whole

    # The line.

    def line(self) -> str:
        """Return the line to type, and before it where, if that matters."""
        words = ["cipherecho", *([self._command] if self._command else [])]
        for cipher in self._ciphers:
            words += ["--cipher", cipher]
        for url in self._endpoints():
            words += ["--listen", url]
        names = {one.partition("=")[0] for one in self._options if one.startswith("--")}
        if not names <= self._known_options:
            raise _UnclearError
        line = shlex.join([*words, *self._options, *self._files])
        if self._texts:
            line = f"echo {shlex.join(self._texts)} | {line}"
        if self._output is not None:
            line += f" {'>' if self._command else '2>>'} {shlex.quote(self._output)}"
        if not self._packages:
            return f": {line}"
        return f", in a checkout: {' && '.join([*map(install_line, self._packages), line])}"


def _exists(path: str) -> bool:
    with suppress(OSError, ValueError):  # too long a name, and such
        return Path(path).exists()
    return False


def _with_tls(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return f"tls://{f'127.0.0.1:{url}' if url.isdigit() else url}"
    return f"tls://{rest}" if scheme == "tcp" else f"tls+{url}"


def with_names(error: SpecificationError) -> SpecificationError:
    """Return the error that says what to type instead, with the names that values lack."""
    if error.instead is not None:
        try:
            parse(error.instead)
        except SpecificationError as nested:  # as for affine=5,8
            return with_names(nested)
    if not isinstance(error, UnnamedValueError):
        return error
    head = parse(error.name)
    names = _options_of(head)
    named = {name for name, _ in error.values if name is not None}
    free = [name for name in names if name not in named]
    unnamed = [value for name, value in error.values if name is None]
    if len(names) == 1 and not named:
        whole = replace(head, first=",".join(unnamed))
    elif len(unnamed) <= len(free) and error.values[0][0] is None:
        first, *others = error.values
        rest = iter(free[1:])
        options = [(name or next(rest), value) for name, value in others]
        whole = replace(head, first=first[1], options=tuple(options))
    else:
        return error
    problem = f"each value after the first needs its name: type {whole}"
    if len(names) == 1:
        problem = f"a comma inside a value needs quotes: type '{whole}'"
    return SpecificationError(error.text, problem, str(whole))


def _options_of(specification: Specification) -> list[str]:
    """Return the names of the options of a cipher, none if it can't be imported."""
    with suppress(Exception), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        registry = Registry()
        entry = registry.find(specification.name, specification.distribution)
        return [option.name for option in options_of(registry.factory(entry))]
    return []


def _is_whole(text: str) -> bool:
    """Return whether `text` is a cipher with all the options that it needs."""
    with suppress(Exception), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        Registry().load(parse(text))
        return True
    return False
