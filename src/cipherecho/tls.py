"""TLS for listeners: certificates and keys, and who has to show one."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from cipherecho.certificate import expiry

__all__ = ["Certificates", "ClientAuth", "TlsError", "TlsSettings", "TlsVersion"]


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
    """What the TLS listeners of a service need."""

    certificate: Path
    """A PEM file: the server's certificate, then those between it and a root."""
    key: Path | None = None
    """A PEM file with its key, not encrypted; None if that is in the same file."""
    client_ca: Path | None = None
    """A PEM file with the roots of clients' certificates; None to ask for no certificate."""
    client_auth: ClientAuth = ClientAuth.REQUIRED
    """Whether a client may go without a certificate; of no account without `client_ca`."""
    minimum: TlsVersion = TlsVersion.TLS_1_3
    """The oldest version that a client may speak."""


class TlsError(Exception):
    """A file that TLS needs can't be used; `path` is which one."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(problem)


class Certificates:
    """The certificates and keys of TLS listeners, as their files had them when last loaded.

    Whether the certificate has expired is not looked at: clients say so, and go on or not.

    Args:
      settings: where the files are, and what is asked of clients.

    Raises:
      TlsError: a file is missing, can't be read or doesn't hold what it should; the key is
        encrypted, or is not that of the certificate.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context, self._expires = _load(settings)
        """What a connection that is accepted now begins TLS with; and until when it is good."""

    def reload(self) -> None:
        """Load the files again, for connections from now on; those that are open keep theirs.

        A session that a client had from the old files is not resumed with the new ones, so
        that it has to show a certificate that they allow.

        Raises:
          TlsError: as when they were first loaded; `context` stays what it was.
        """
        self.context, self._expires = _load(self._settings)

    def expires(self) -> int:
        """Return when the certificate in use expires, in seconds since 1970."""
        return self._expires


# Forward secrecy and authenticated encryption; this is for TLS 1.2, as 1.3 has nothing else.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_VERSIONS = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}

_VERIFICATION = {
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
    ClientAuth.OPTIONAL: ssl.CERT_OPTIONAL,
}

# OpenSSL takes some more labels than these, which no tool has written for decades.
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")


def _load(settings: TlsSettings) -> tuple[ssl.SSLContext, int]:
    """Return the context, and when the certificate expires, in seconds since 1970."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # No tickets for TLS 1.3: making two cost more than what resuming spares (258 µs and 211
    # instead of 219, measured), and a client that closes without having read them resets the
    # connection.  1.2 has its own, which can't be done without: instead of them OpenSSL
    # would remember the sessions.
    context.num_tickets = 0
    # No tickets for TLS 1.3: making two cost more than what resuming spares (258 µs and 211
    # instead of 219, measured), and a client that closes without having read them resets the
    # connection.  1.2 has its own, which can't be done without: instead of them OpenSSL
    # would remember the sessions.
    context.num_tickets = 0
    # Many clients end without TLS's own end. What they sent until then is answered, as by
    # plain TCP, while OpenSSL 3 would take it for an attack and send nothing any more.
    # (A line that an attacker cut short is answered as it came; there is nothing to win.)
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    expires = _load_own(context, settings.certificate, settings.key or settings.certificate)
    if settings.client_ca is not None:
        _load_client_ca(context, settings.client_ca)
        context.verify_mode = _VERIFICATION[settings.client_auth]
    return context, expires


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> int:
    # OpenSSL does not say which file it means, so what people get wrong is looked for first.
    pem = _expect(_CERTIFICATE, certificate, "certificate", "a certificate (BEGIN CERTIFICATE)")
    _expect(_KEY, key, "key", "its key (BEGIN PRIVATE KEY)")

    def refuse() -> NoReturn:  # OpenSSL would ask for the password at the terminal
        raise TlsError(
            key,
            f"the TLS key in {str(key)!r} is encrypted, expected one that needs no password; "
            f"write one with: openssl pkey -in {key} -out FILE",
        )

    try:
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(
                key,
                f"the TLS key in {str(key)!r} is not that of the first certificate in "
                f"{str(certificate)!r}; give the files that were made together",
            ) from error
        raise TlsError(
            certificate,
            f"can't use the TLS certificate in {str(certificate)!r} with the key in "
            f"{str(key)!r}: {_said(error)}; look at them with: openssl x509 -text -in "
            f"{certificate}; openssl pkey -check -in {key}",
        ) from error
    return expiry(pem)


def _load_client_ca(context: ssl.SSLContext, path: Path) -> None:
    _expect(_CERTIFICATE, path, "client CA", "the certificates of roots (BEGIN CERTIFICATE)")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(
            path,
            f"can't use the TLS client CA in {str(path)!r}: {_said(error)}; "
            f"look at it with: openssl x509 -text -in {path}",
        ) from error


def _expect(label: re.Pattern[bytes], path: Path, what: str, contents: str) -> bytes:
    """Return what is in a file, having looked for a label in it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TlsError(
            path,
            f"can't read the TLS {what} {str(path)!r}: {error.strerror}; "
            "give a file that this user may read",
        ) from error
    if not label.search(data):
        raise TlsError(
            path,
            f"the TLS {what} file {str(path)!r} has no PEM block of {contents}; give one that has",
        )
    return data


def _said(error: ssl.SSLError) -> str:
    """Return what OpenSSL said, in words."""
    return (error.reason or str(error)).replace("_", " ").lower()
