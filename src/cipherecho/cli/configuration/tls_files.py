"""The TLS settings of each listener, and the certificates that their files have."""

from __future__ import annotations

from collections.abc import Iterable

from cipherecho.cli.configuration.layers import TLS_KEYS, Layer, values_of
from cipherecho.cli.configuration.problems import Problems
from cipherecho.network.certificates import Certificates, PemFiles, TlsError
from cipherecho.settings.endpoint import Endpoint
from cipherecho.settings.listener import Listener
from cipherecho.settings.tls import TlsSettings

__all__ = ["TlsFiles", "refuse_unused_tls"]


class TlsFiles:
    """Loads certificates, each once however many listeners have them."""

    def __init__(self, problems: Problems) -> None:
        self.certificates: dict[TlsSettings, Certificates] = {}
        self._problems = problems
        self._pem_files = PemFiles()

    def load(self, endpoints: Iterable[Endpoint], settings: Layer) -> TlsSettings | None:
        """Return what listeners with some settings need; None without TLS, or if it is refused."""
        with_tls = next((one for one in endpoints if one.tls), None)
        if with_tls is None:
            return None
        certificate, client_auth = settings["tls-cert"], settings["tls-client-auth"]
        if certificate.value is None:
            self._problems.refuse(
                settings["listen"].where, f"{with_tls} needs a certificate: give tls-cert"
            )
            return None
        if client_auth.where and settings["tls-client-ca"].value is None:
            self._problems.refuse(
                client_auth.where, "no client is asked for a certificate: give tls-client-ca too"
            )
        tls = TlsSettings(**values_of(TlsSettings, settings))
        try:
            if tls not in self.certificates:
                self.certificates[tls] = Certificates(tls, self._pem_files)
        except TlsError as error:
            given = (settings[key] for key in TLS_KEYS)
            where = next((one.where for one in given if one.value == error.path), "")
            self._problems.refuse(where, error)
            return None
        return tls


def refuse_unused_tls(
    listeners: Iterable[Listener], layers: Iterable[Layer], problems: Problems
) -> None:
    """Refuse what is there to protect clients when nothing of it takes effect."""
    if any(listener.tls for listener in listeners):
        return
    for layer in layers:
        for key in TLS_KEYS:
            if key in layer:
                problems.refuse(
                    layer[key].where,
                    "nothing is served by TLS, expected an endpoint such as tls://HOST:PORT",
                )
