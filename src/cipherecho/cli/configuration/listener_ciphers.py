"""The cipher of each listener: made now, or in the sandbox once the process is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cipherecho.cipher import Cipher
from cipherecho.ciphers.specification import SelectionError
from cipherecho.cli.configuration.cipher_choice import installed
from cipherecho.cli.configuration.layers import Layer
from cipherecho.cli.configuration.problems import Problems
from cipherecho.host.sandbox.confinement import Loading
from cipherecho.settings.process import Sandbox

__all__ = ["ciphers_or_loading"]

_IN_SANDBOX = (
    "; in the sandbox, a plugin can read modules, the system's libraries, and files that its "
    "options name"
)


def ciphers_or_loading(
    sandbox: Sandbox, layers: Sequence[Layer], problems: Problems
) -> tuple[Callable[[], Sequence[Cipher]], Loading]:
    """Return what returns the ciphers, and what is read for it.

    In a sandbox, plugins are imported later; until then, their metadata has to do.
    """
    return _Ciphers(layers, problems).made_or_to_load(sandbox)


class _Ciphers:
    def __init__(self, layers: Sequence[Layer], problems: Problems) -> None:
        self._layers = layers
        self._problems = problems
        self._registry = installed()

    def made_or_to_load(self, sandbox: Sandbox) -> tuple[Callable[[], Sequence[Cipher]], Loading]:
        if sandbox is Sandbox.OFF:
            ciphers = self._made()
            return lambda: ciphers, Loading()
        modules, values, companions = set(), [], set()
        for settings in self._layers:
            specifications, where = settings["cipher"]
            for one in specifications:
                values += [one.first or "", *(value for _, value in one.options)]
                try:
                    entry = self._registry.find(one.name, one.distribution)
                except SelectionError as error:
                    self._problems.refuse(where, error)
                else:
                    modules.add(entry.module.partition(".")[0])
                    companions.add(self._registry.companion(entry))
        return (
            self._made_late,
            Loading(modules, values, [one for one in companions if one]),
        )

    def _made(self, *, late: bool = False) -> Sequence[Cipher]:
        """Return the ciphers of those whose plugins do not fail."""
        ciphers = []
        for settings in self._layers:
            specifications, where = settings["cipher"]
            try:
                cipher = self._registry.load_chain(
                    specifications, decrypt=settings["decrypt"].value
                )
            except SelectionError as error:
                hint = _IN_SANDBOX if late and isinstance(error.__cause__, PermissionError) else ""
                self._problems.refuse(where, f"{error}{hint}")
            else:
                ciphers.append(cipher)
        return ciphers

    def _made_late(self) -> Sequence[Cipher]:
        ciphers = self._made(late=True)
        if self._problems:
            raise self._problems.error()
        return ciphers
