"""What is to be served: options, environment and file become listeners.

Three layers give each option its value, the strongest last: the file, the environment, the
command line.  In the file, what a ``[[listener]]`` table does not have comes from the top of
the file; an option of the environment or the command line wins over every table, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from cipherecho.cipher import Cipher
from cipherecho.ciphers.specification import SelectionError
from cipherecho.cli.configuration.cipher_choice import PLUGINS_VARIABLE, installed
from cipherecho.cli.configuration.option_types import (
    NumberType,
    Option,
    SizeType,
    SwitchType,
    written_size,
)
from cipherecho.cli.configuration.problems import SettingsError
from cipherecho.cli.configuration.server_options import Refused
from cipherecho.cli.configuration.toml_file import LISTENER, SettingsFile, read_settings_file
from cipherecho.cli.configuration.unread_variables import unread_variables
from cipherecho.cli.program import Program
from cipherecho.connections.buffers import least_buffered
from cipherecho.host.extras import ExtraMissingError, require
from cipherecho.host.plan import Plan
from cipherecho.host.sandbox.confinement import Loading
from cipherecho.network.certificates import Certificates, PemFiles, TlsError
from cipherecho.printable import printable, safe_text
from cipherecho.service_manager.environment import VariableError
from cipherecho.service_manager.inherited_sockets import inherited_sockets, why_not_activated
from cipherecho.settings.declaration import declarations
from cipherecho.settings.endpoint import Endpoint, FdEndpoint, parse_endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import DEFAULT_ENDPOINT, Listener
from cipherecho.settings.process import ProcessSettings, Sandbox
from cipherecho.settings.tls import TlsSettings
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["LISTENER_KEYS", "PROCESS_KEYS", "Configuration", "configuration_of"]

_TLS_KEYS = tuple(one.name for one in declarations(TlsSettings))

PROCESS_KEYS = (
    *(one.name for one in declarations(Limits) if one.of_process),
    *(one.name for one in declarations(ProcessSettings)),
)
"""The keys of a file that can't stand in a listener's table."""

LISTENER_KEYS = (
    "cipher",
    "decrypt",
    *(one.name for one in declarations(Listener) if one.name != "listen"),
    *_TLS_KEYS,
    *(one.name for one in declarations(Limits) if not one.of_process),
)
"""The keys of a listener's table, but for ``url``, which is ``listen`` at the top."""

_IN_SANDBOX = (
    "; in the sandbox, a plugin can read modules, the system's libraries, and files that its "
    "options name"
)

_TOP = {key: key for key in ("listen", *LISTENER_KEYS, *PROCESS_KEYS)}
_TABLE = {key: key for key in LISTENER_KEYS} | {"url": "listen"}


@dataclass(frozen=True)
class Configuration:
    """What a process serves, and what it is told about itself."""

    plan: Plan
    process: ProcessSettings
    summary: str
    """What is served where, in lines for people, without keys."""
    settings_file: SettingsFile | None
    """Where settings came from, if they came from a file."""
    warnings: Sequence[str]
    """What may be other than people think, though nothing is wrong."""


class _Setting(NamedTuple):
    """The value of an option, and what gave it, for complaints: "" if nothing did."""

    value: Any
    where: str


_Layer = dict[str, _Setting]
"""Settings by the names of their options, without the dashes in front."""


def configuration_of(ctx: click.Context) -> Configuration:
    """Return what the options in `ctx`, the environment and the file ask for.

    Certificates are loaded for it, and ciphers if there is to be no sandbox; no socket is
    opened.

    Raises:
      SettingsError: with all that is wrong.
    """
    return _Assembly(ctx).configuration()


class _Assembly:
    def __init__(self, ctx: click.Context) -> None:
        self._ctx = ctx
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._registry = installed()
        self._pem_files = PemFiles()
        self._certificates: dict[TlsSettings, Certificates] = {}
        self._file: SettingsFile | None = None
        self._options = {
            one.opts[0].removeprefix("--"): one
            for one in ctx.command.params
            if isinstance(one, Option)
        }
        self._defaults: _Layer = {}
        self._given: _Layer = {}
        by_parameter = {option.name: (key, option) for key, option in self._options.items()}
        for name, value in ctx.params.items():  # those of the command line first
            if name not in by_parameter:
                continue
            key, option = by_parameter[name]
            source = ctx.get_parameter_source(name)
            if isinstance(value, Refused):  # the others are looked at all the same
                self._problems.append(value.problem)
                value, source = option.process_value(ctx, option.get_default(ctx)), None
            if source is ParameterSource.COMMANDLINE:
                self._given[key] = _Setting(value, option.opts[0])
            elif source is ParameterSource.ENVIRONMENT:
                self._given[key] = _Setting(value, str(option.envvar))
            else:
                self._defaults[key] = _Setting(value, "")
        read = {PLUGINS_VARIABLE, *(str(one.envvar) for one in self._options.values())}
        self._warnings += unread_variables(os.environ, read)

    def configuration(self) -> Configuration:
        top, tables = self._read(self._given.get("config"))
        self._use_form(self._merged(top)["log-format"].value)
        layers = [self._merged(top, table) for table in tables or [{}]]
        listeners = [self._listener(layer) for layer in layers]
        of_process = self._merged(top)
        process = ProcessSettings(**_values(ProcessSettings, of_process))
        self._refuse_little_room(of_process["max-buffered"], [one["max-line"] for one in layers])
        ciphers, loading = self._ciphers_or_loading(process.sandbox, layers)
        self._refuse_duplicates(layers)
        if not self._problems:  # or a mistake elsewhere may be why nothing uses them
            self._refuse_unused_tls(listeners, [top, *tables, self._given])
        if process.metrics is not None:
            self._require_metrics(of_process["metrics"].where)
        if self._problems:
            # A variable that is not read may be why something is missing.
            warnings = [f"warning: {one}" for one in self._warnings]
            raise SettingsError(dict.fromkeys([*self._problems, *warnings]))
        return Configuration(
            Plan(listeners, ciphers, self._certificates, loading),
            process,
            "\n".join(map(_summary, listeners, layers)),
            settings_file=self._file,
            warnings=list(dict.fromkeys(self._warnings)),
        )

    def _use_form(self, form: str) -> None:
        """Have what is wrong from here on said in the form of the log, unless people asked."""
        program = self._ctx.find_object(Program)  # there is none if nobody is to be told
        if program is not None and self._ctx.params["check_config"] is not True:
            program.messages.use(form)

    def _refuse(self, where: str, problem: object) -> None:
        self._problems.append(f"{where}: {problem}" if where else str(problem))

    def _require_metrics(self, where: str) -> None:
        try:
            require("metrics")
        except ExtraMissingError as error:
            self._refuse(where, error)

    def _merged(self, *layers: _Layer) -> _Layer:
        merged = dict(self._defaults)
        for layer in (*layers, self._given):
            merged.update(layer)
        return merged

    # The file.

    def _read(self, config: _Setting | None) -> tuple[_Layer, list[_Layer]]:
        """Return the settings at the top of the file, and those of each listener's table."""
        if config is None:
            return {}, []
        try:
            file = self._file = read_settings_file(config.value)
        except SettingsError as error:
            # Without it, everything else may look wrong.
            raise SettingsError([*self._problems, *error.problems]) from error
        document = dict(file.document)
        tables = document.pop(LISTENER, [])
        if LISTENER in file.document and not _are_tables(tables):
            self._refuse(file.where(LISTENER), f"expected tables, each begun by [[{LISTENER}]]")
            tables = []
        top = self._layer(file, document, _TOP)
        layers = [self._layer(file, one, _TABLE, number) for number, one in enumerate(tables, 1)]
        for number, one in enumerate(tables, 1):
            if "url" not in one:
                self._refuse(file.where("url", number), "is missing, expected where to listen")
        if tables:
            self._refuse_listen_beside_tables(top)
        return top, layers

    def _refuse_listen_beside_tables(self, top: _Layer) -> None:
        for layer in (top, self._given):
            if "listen" in layer:
                self._refuse(
                    layer.pop("listen").where,
                    f"got it together with [[{LISTENER}]] tables, expected one or the other: each "
                    "table has a url of its own",
                )

    def _layer(
        self,
        file: SettingsFile,
        table: Mapping[str, Any],
        keys: Mapping[str, str],
        number: int | None = None,
    ) -> _Layer:
        layer: _Layer = {}
        for key, given in table.items():
            where = file.where(key, number)
            if key not in keys:
                self._refuse(where, _unknown(key, keys))
                continue
            value = self._converted(keys[key], given, where, file.path.parent)
            if value is not None:
                layer[keys[key]] = _Setting(value, where)
        return layer

    def _converted(self, key: str, given: Any, where: str, directory: Path) -> Any:
        """Return what a value of the file stands for, None if it is refused."""
        option = self._options[key]
        several = given if option.multiple and isinstance(given, list) else [given]
        if not several and key != "proxy-from":
            self._refuse(where, "got an empty list, expected one or more")
            return None
        expected = _kind(option)
        values = []
        for one in several:
            if type(one) not in expected.types:  # a bool is an int, but not here
                self._refuse(where, f"got {_as_written(one)}, expected {expected.words}")
                continue
            try:
                value = option.type.convert(one, option, None)
            except click.UsageError as error:
                self._refuse(where, error.message)
            else:
                values.append(directory / value if isinstance(value, Path) else value)
        if len(values) < len(several):
            return None
        return tuple(values) if option.multiple else values[0]

    # What it comes to.

    def _listener(self, settings: _Layer) -> Listener:
        listen = settings["listen"]
        endpoints = listen.value if listen.where else self._endpoints_unasked()
        tls = self._tls(endpoints, settings)
        values = _values(Listener, settings)
        return Listener(
            **values | {"endpoints": endpoints, "proxies": TrustedProxies(values["proxies"])},
            limits=Limits(**_values(Limits, settings)),
            tls=tls,
        )

    def _endpoints_unasked(self) -> Sequence[Endpoint]:
        """Return where to listen when nothing says where: on sockets that are handed over."""
        try:
            activated = [FdEndpoint(str(one.number)) for one in inherited_sockets()]
        except VariableError as error:
            self._refuse("", error)
            return []
        reason = why_not_activated()
        if reason:
            self._warnings.append(f"{reason}; listening on {DEFAULT_ENDPOINT} instead")
        return activated or [parse_endpoint(DEFAULT_ENDPOINT)]

    def _ciphers_or_loading(
        self, sandbox: Sandbox, layers: Iterable[_Layer]
    ) -> tuple[Callable[[], Sequence[Cipher]], Loading]:
        """Return what returns the ciphers, and what is read for it.

        In a sandbox, plugins are imported later; until then, their metadata has to do.
        """
        if sandbox is Sandbox.OFF:
            ciphers = self._ciphers(layers)
            return lambda: ciphers, Loading()
        modules, values, companions = set(), [], set()
        for settings in layers:
            specifications, where = settings["cipher"]
            for one in specifications:
                values += [one.first or "", *(value for _, value in one.options)]
                try:
                    entry = self._registry.find(one.name, one.distribution)
                except SelectionError as error:
                    self._refuse(where, error)
                else:
                    modules.add(entry.module.partition(".")[0])
                    companions.add(self._registry.companion(entry))
        return (
            partial(self._ciphers_late, layers),
            Loading(modules, values, [one for one in companions if one]),
        )

    def _ciphers(self, layers: Iterable[_Layer], *, late: bool = False) -> Sequence[Cipher]:
        """Return the ciphers of those whose plugins do not fail."""
        ciphers = []
        for settings in layers:
            specifications, where = settings["cipher"]
            try:
                cipher = self._registry.load_chain(
                    specifications, decrypt=settings["decrypt"].value
                )
            except SelectionError as error:
                hint = _IN_SANDBOX if late and isinstance(error.__cause__, PermissionError) else ""
                self._refuse(where, f"{error}{hint}")
            else:
                ciphers.append(cipher)
        return ciphers

    def _ciphers_late(self, layers: Iterable[_Layer]) -> Sequence[Cipher]:
        ciphers = self._ciphers(layers, late=True)
        if self._problems:
            raise SettingsError(dict.fromkeys(self._problems))
        return ciphers

    def _tls(self, endpoints: Iterable[Endpoint], settings: _Layer) -> TlsSettings | None:
        with_tls = next((one for one in endpoints if one.tls), None)
        if with_tls is None:
            return None
        certificate, client_auth = settings["tls-cert"], settings["tls-client-auth"]
        if certificate.value is None:
            self._refuse(settings["listen"].where, f"{with_tls} needs a certificate: give tls-cert")
            return None
        if client_auth.where and settings["tls-client-ca"].value is None:
            self._refuse(
                client_auth.where, "no client is asked for a certificate: give tls-client-ca too"
            )
        tls = TlsSettings(**_values(TlsSettings, settings))
        try:
            if tls not in self._certificates:
                self._certificates[tls] = Certificates(tls, self._pem_files)
        except TlsError as error:
            given = (settings[key] for key in _TLS_KEYS)
            where = next((one.where for one in given if one.value == error.path), "")
            self._refuse(where, error)
            return None
        return tls

    def _refuse_little_room(self, room: _Setting, lines: Iterable[_Setting]) -> None:
        """Refuse a bound that one client passes with one line."""
        longest = max(lines, key=lambda one: one.value)
        least = least_buffered(longest.value)
        if room.value >= least:
            return
        now, line = written_size(room.value), written_size(longest.value)
        needed = f"{written_size(least)}, 4 times as much as the longest line may have"
        if room.where:
            self._refuse(room.where, f"got {now}, expected at least {needed}")
        else:
            self._refuse(
                longest.where,
                f"got {line}, which needs a larger max-buffered (now {now}): give it too, with at "
                f"least {needed}",
            )

    def _refuse_unused_tls(self, listeners: Iterable[Listener], layers: Iterable[_Layer]) -> None:
        """Refuse what is there to protect clients when nothing of it takes effect."""
        if any(listener.tls for listener in listeners):
            return
        for layer in layers:
            for key in _TLS_KEYS:
                if key in layer:
                    self._refuse(
                        layer[key].where,
                        "nothing is served by TLS, expected an endpoint such as tls://HOST:PORT",
                    )

    def _refuse_duplicates(self, layers: Iterable[_Layer]) -> None:
        """Refuse what the system would, since two can't listen at one endpoint."""
        seen: dict[Endpoint, str] = {}
        for endpoints, where in (layer["listen"] for layer in layers):
            for endpoint in endpoints if where else ():
                if getattr(endpoint, "port", None) == 0:
                    continue
                # Whether it has TLS makes no difference to the system.
                plain = replace(endpoint, tls=False)
                if plain in seen:
                    self._refuse(where, f"{endpoint} is taken by {seen[plain]}")
                seen[plain] = where


def _values(of: type, settings: _Layer) -> dict[str, Any]:
    """Return what the fields of settings are given that declare an option."""
    values = {}
    for one in declarations(of):
        value = settings[one.name].value
        if isinstance(one.default, StrEnum):
            value = type(one.default)(value)
        elif isinstance(one.default, bool):
            value = one.default != value  # a flag turns it around
        values[one.attribute] = value
    return values


class _Kind(NamedTuple):
    """What the value of an option is in TOML."""

    types: tuple[type, ...]
    words: str


def _kind(option: Option) -> _Kind:
    if option.is_flag:
        return _Kind((bool,), "true or false")
    if isinstance(option.type, SizeType):
        return _Kind((int, float, str), option.type.expected)
    if isinstance(option.type, NumberType):
        return _Kind((int, float), option.type.expected)
    if isinstance(option.type, SwitchType):
        return _Kind((bool, str), option.type.expected)
    return _Kind((str,), "text in quotes")


def _as_written(value: object) -> str:
    """Return what a value of a TOML document is, for a complaint about its type."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case int() | float() | str():
            return printable(safe_text(value, repr))
        case _:
            return f"the date or time {value}"


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _unknown(key: str, keys: Mapping[str, str]) -> str:
    """Return what is wrong with a key that is none of `keys`."""
    if key in PROCESS_KEYS:
        return f"is of the whole process, expected it above every [[{LISTENER}]]"
    if key in ("config", "check-config"):
        return "is no key of the file, expected it as an option or a variable"
    from difflib import get_close_matches

    # What listen is at the top is url in a table.
    swapped = {"listen": "url", "url": "listen"}.get(key)
    near = [swapped] if swapped in keys else get_close_matches(key, [*keys, LISTENER], n=1)
    hint = f"did you mean {near[0]}?" if near else "cipherecho --help has all options"
    return f"there is no such key; {hint}"


def _summary(listener: Listener, settings: _Layer) -> str:
    """Return a line for each endpoint of a listener."""
    names = ", ".join(one.name for one in settings["cipher"].value)
    what = f"{names}, decrypting" if settings["decrypt"].value else names
    return "\n".join(f"{endpoint}: {what}" for endpoint in listener.endpoints)
