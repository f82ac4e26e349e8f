"""Which certificates, keys and versions TLS uses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["ClientAuth", "TlsSettings", "TlsVersion"]


class ClientAuth(StrEnum):
    """Whether a client has to show a certificate."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class TlsVersion(StrEnum):
    """A version of the protocol; older ones than these are broken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True)
class TlsSettings:
    """What the TLS endpoints of a listener need."""

    certificate: Path
    """A PEM file: the server's certificate, then those between it and a root."""
    key: Path | None = None
    """A PEM file with its key, not encrypted; None if that is in the same file."""
    client_ca: Path | None = None
    """A PEM file with the roots of clients' certificates; None to ask for no certificate."""
    client_auth: ClientAuth = ClientAuth.REQUIRED
    """Whether a client may go without a certificate; ignored without `client_ca`."""
    minimum: TlsVersion = TlsVersion.TLS_1_3
    """The oldest version that a client may speak."""
