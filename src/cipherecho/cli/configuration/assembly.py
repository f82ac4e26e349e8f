"""One configuration, joined from the command line, the environment and the settings file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import click

from cipherecho.cli.configuration.cipher_choice import PLUGINS_VARIABLE
from cipherecho.cli.configuration.file_layers import layers_of_file
from cipherecho.cli.configuration.layers import Layer, Layers, Setting, values_of
from cipherecho.cli.configuration.listener_ciphers import ciphers_or_loading
from cipherecho.cli.configuration.option_types import written_size
from cipherecho.cli.configuration.problems import Problems, SettingsError
from cipherecho.cli.configuration.tls_files import TlsFiles, refuse_unused_tls
from cipherecho.cli.configuration.toml_file import SettingsFile, read_settings_file
from cipherecho.cli.configuration.unread_variables import unread_variables
from cipherecho.cli.program import Program
from cipherecho.connections.buffers import least_buffered
from cipherecho.host.extras import ExtraMissingError, require
from cipherecho.host.plan import Plan
from cipherecho.service_manager.environment import VariableError
from cipherecho.service_manager.inherited_sockets import inherited_sockets, why_not_activated
from cipherecho.settings.endpoint import Endpoint, FdEndpoint, parse_endpoint
from cipherecho.settings.limits import Limits
from cipherecho.settings.listener import DEFAULT_ENDPOINT, Listener
from cipherecho.settings.process import ProcessSettings
from cipherecho.settings.trusted_proxies import TrustedProxies

__all__ = ["Configuration", "configuration_of"]


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
        self._problems = Problems()
        self._layers = Layers(ctx, self._problems)
        self._tls = TlsFiles(self._problems)
        read = {PLUGINS_VARIABLE, *(str(one.envvar) for one in self._layers.options.values())}
        self._warnings = list(unread_variables(os.environ, read))

    def configuration(self) -> Configuration:
        merged = self._layers.merged
        file = self._file()
        top, tables = layers_of_file(file, self._layers, self._problems) if file else ({}, [])
        of_process = merged(top)
        self._use_form(of_process["log-format"].value)
        layers = [merged(top, table) for table in tables or [{}]]
        listeners = [self._listener(layer) for layer in layers]
        process = ProcessSettings(**values_of(ProcessSettings, of_process))
        longest = max((one["max-line"] for one in layers), key=lambda one: one.value)
        _refuse_little_room(of_process["max-buffered"], longest, self._problems)
        ciphers, loading = ciphers_or_loading(process.sandbox, layers, self._problems)
        _refuse_duplicates([one["listen"] for one in layers], self._problems)
        if not self._problems:  # or a mistake elsewhere may be why nothing uses them
            refuse_unused_tls(listeners, [top, *tables, self._layers.given], self._problems)
        if process.metrics is not None:
            self._require_metrics(of_process["metrics"].where)
        if self._problems:
            # A variable that is not read may be why something is missing.
            raise self._problems.error(f"warning: {one}" for one in self._warnings)
        return Configuration(
            Plan(listeners, ciphers, self._tls.certificates, loading),
            process,
            "\n".join(map(_summary, listeners, layers)),
            settings_file=file,
            warnings=list(dict.fromkeys(self._warnings)),
        )

    def _file(self) -> SettingsFile | None:
        given = self._layers.given.get("config")
        try:
            return read_settings_file(given.value) if given else None
        except SettingsError as error:
            # Without it, everything else may look wrong.
            raise self._problems.error(error.problems) from error

    def _use_form(self, form: str) -> None:
        """Have what is wrong from here on said in the form of the log, unless people asked."""
        program = self._ctx.find_object(Program)  # there is none if nobody is to be told
        if program is not None and self._ctx.params["check_config"] is not True:
            program.messages.use(form)

    def _require_metrics(self, where: str) -> None:
        try:
            require("metrics")
        except ExtraMissingError as error:
            self._problems.refuse(where, error)

    def _listener(self, settings: Layer) -> Listener:
        listen = settings["listen"]
        endpoints = listen.value if listen.where else self._endpoints_unasked()
        tls = self._tls.load(endpoints, settings)
        values = values_of(Listener, settings)
        return Listener(
            **values | {"endpoints": endpoints, "proxies": TrustedProxies(values["proxies"])},
            limits=Limits(**values_of(Limits, settings)),
            tls=tls,
        )

    def _endpoints_unasked(self) -> Sequence[Endpoint]:
        """Return where to listen when nothing says where: on sockets that are handed over."""
        try:
            activated = [FdEndpoint(str(one.number)) for one in inherited_sockets()]
        except VariableError as error:
            self._problems.refuse("", error)
            return []
        reason = why_not_activated()
        if reason:
            self._warnings.append(f"{reason}; listening on {DEFAULT_ENDPOINT} instead")
        return activated or [parse_endpoint(DEFAULT_ENDPOINT)]


def _refuse_little_room(room: Setting, longest: Setting, problems: Problems) -> None:
    """Refuse a bound that one client passes with one line."""
    least = least_buffered(longest.value)
    if room.value >= least:
        return
    now, line = written_size(room.value), written_size(longest.value)
    needed = f"{written_size(least)}, 4 times as much as the longest line may have"
    if room.where:
        problems.refuse(room.where, f"got {now}, expected at least {needed}")
    else:
        problems.refuse(
            longest.where,
            f"got {line}, which needs a larger max-buffered (now {now}): give it too, with at "
            f"least {needed}",
        )


def _refuse_duplicates(listens: Iterable[Setting], problems: Problems) -> None:
    """Refuse what the system would, since two can't listen at one endpoint."""
    seen: dict[Endpoint, str] = {}
    for endpoints, where in listens:
        for endpoint in endpoints if where else ():
            if getattr(endpoint, "port", None) == 0:
                continue
            # Whether it has TLS makes no difference to the system.
            plain = replace(endpoint, tls=False)
            if plain in seen:
                problems.refuse(where, f"{endpoint} is taken by {seen[plain]}")
            seen[plain] = where


def _summary(listener: Listener, settings: Layer) -> str:
    """Return a line for each endpoint of a listener."""
    names = ", ".join(one.name for one in settings["cipher"].value)
    what = f"{names}, decrypting" if settings["decrypt"].value else names
    return "\n".join(f"{endpoint}: {what}" for endpoint in listener.endpoints)
