"""Certificates, keys and versions for TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cipherecho.settings.declaration import FILE, Heading, option

__all__ = ["ClientAuth", "TlsSettings", "TlsVersion"]


class ClientAuth(StrEnum):
    """Whether a client must present a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class TlsVersion(StrEnum):
    """A version of the protocol; versions before these are broken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True)
class TlsSettings:
    """The settings of a listener's TLS endpoints."""

    certificate: Path = field(
        metadata=option(
            "Server certificate chain (PEM). Required for tls://.",
            FILE,
            under=Heading.TLS,
            name="tls-cert",
        )
    )
    """A PEM file: the server's certificate, followed by the intermediate ones."""
    key: Path | None = field(
        default=None,
        metadata=option(
            "Private key of the server (PEM, not encrypted), if it is in a file of its own.",
            FILE,
            under=Heading.TLS,
            name="tls-key",
        ),
    )
    """A PEM file with its unencrypted key; None if the key is in the same file."""
    client_ca: Path | None = field(
        default=None,
        metadata=option(
            "Ask each client for a certificate issued by one of these authorities (PEM).",
            FILE,
            under=Heading.TLS,
            name="tls-client-ca",
        ),
    )
    """A PEM file with the authorities of clients' certificates; None asks for no certificate."""
    client_auth: ClientAuth = field(
        default=ClientAuth.REQUIRED,
        metadata=option(
            "Whether clients need a certificate (see --tls-client-ca).",
            under=Heading.TLS,
            name="tls-client-auth",
        ),
    )
    """Whether clients need a certificate; ignored without `client_ca`."""
    minimum: TlsVersion = field(
        default=TlsVersion.TLS_1_3,
        metadata=option(
            "Oldest version of TLS that a client may use.", under=Heading.TLS, name="tls-min"
        ),
    )
    """The oldest version that a client may use."""
