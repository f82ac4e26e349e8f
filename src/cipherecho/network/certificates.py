"""TLS for listeners: certificates and keys, and who has to show one."""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NoReturn

from cipherecho.errors import CipherechoError
from cipherecho.network.x509 import expiry
from cipherecho.settings.file_contents import Contents, read_file
from cipherecho.settings.tls import ClientAuth, TlsSettings, TlsVersion

__all__ = ["Certificates", "PemFiles", "TlsError"]


class TlsError(CipherechoError):
    """A file that TLS needs can't be used; `path` is which one."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(problem)


class PemFiles:
    """What files have, each of them read once, however many listeners name it.

    So a pipe can be one of them, and files that are replaced meanwhile are all old or all new.

    Args:
      kept: what is not read, since it is known.
      read: reads a file; this process does if None.
    """

    def __init__(
        self,
        kept: Mapping[Path, Contents] | None = None,
        read: Callable[[Path], Contents] | None = None,
    ) -> None:
        self._read = read or read_file
        self._contents: dict[Path, Contents | OSError] = dict(kept or {})

    def read(self, path: Path) -> Contents:
        """Return what is in a file.

        Raises:
          OSError: it can't be read; it is not tried again, as that may take its time.
        """
        if path not in self._contents:
            try:
                self._contents[path] = self._read(path)
            except OSError as error:
                self._contents[path] = error
        contents = self._contents[path]
        if isinstance(contents, OSError):
            raise contents
        return contents


class Certificates:
    """The certificates and keys of TLS listeners, as their files had them when last loaded.

    Whether the certificate has expired is not looked at: clients say so, and go on or not.

    Args:
      settings: where the files are, and what is asked of clients.
      files: what has been read of them.

    Raises:
      TlsError: a file is missing, can't be read or doesn't hold what it should; the key is
        encrypted, or is not that of the certificate.
    """

    def __init__(self, settings: TlsSettings, files: PemFiles | None = None) -> None:
        self.settings = settings
        self._loaded = _load(settings, files or PemFiles())

    @property
    def context(self) -> ssl.SSLContext:
        """What a connection that is accepted now begins TLS with."""
        return self._loaded.context

    @property
    def lasting(self) -> list[Path]:
        """Their files, without those that can't be read again, as pipes can't."""
        return [path for path, contents in self._loaded.contents.items() if contents.lasting]

    @property
    def pipes(self) -> Mapping[Path, Contents]:
        """What came from files that can't be read again."""
        return {path: one for path, one in self._loaded.contents.items() if not one.lasting}

    @property
    def public_key_file(self) -> Path | None:
        """The file with the key, if every user of the machine may read it."""
        path = self.settings.key or self.settings.certificate
        return path if self._loaded.contents[path].public else None

    def reload(self, files: PemFiles | None = None) -> None:
        """Load the files again, for connections from now on; those that are open keep theirs.

        A session that a client had from the old files is not resumed with the new ones, so
        that it has to show a certificate that they allow.  It may take as long as reading does,
        and may be called in a thread.

        Args:
          files: what has been read of them again, and what of them can't be; all are read anew
            if None, pipes too, which may have nothing left.

        Raises:
          TlsError: as when they were first loaded; `context` stays what it was.
        """
        self._loaded = _load(self.settings, files or PemFiles())

    def expires(self) -> int | None:
        """Return when the certificate in use expires, in seconds since 1970.

        None if it does not say so in a form that can be read.
        """
        return self._loaded.expires


@dataclass(frozen=True)
class _Loaded:
    context: ssl.SSLContext
    expires: int | None
    contents: Mapping[Path, Contents]


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
_A_CERTIFICATE = "a certificate (BEGIN CERTIFICATE)"
_ROOTS = "the certificates of roots (BEGIN CERTIFICATE)"
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")


def _load(settings: TlsSettings, files: PemFiles) -> _Loaded:
    key = settings.key or settings.certificate
    contents = {
        path: _read(path, what, files)
        for path, what in (
            (settings.certificate, "certificate"),
            (key, "key"),
            (settings.client_ca, "client CA"),
        )
        if path is not None
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # No tickets for TLS 1.3: making two cost more than what resuming spares (258 µs and 211
    # instead of 219, measured), and a client that closes without having read them resets the
    # connection.  1.2 has its own, which can't be done without: instead of them OpenSSL
    # would remember the sessions.
    context.num_tickets = 0
    # Many clients end without TLS's own end. What they sent until then is answered, as by
    # plain TCP, while OpenSSL 3 would take it for an attack and send nothing any more.
    # (A line that an attacker cut short is answered as it came; there is nothing to win.)
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    _load_own(context, settings.certificate, key, contents)
    # Before clients are asked for something, which this one does not have.
    served = _served_by(context)
    if settings.client_ca is not None:
        _load_client_ca(context, settings.client_ca, contents)
        context.verify_mode = _VERIFICATION[settings.client_auth]
    return _Loaded(context, None if served is None else expiry(served), contents)


def _read(path: Path, what: str, files: PemFiles) -> Contents:
    try:
        return files.read(path)
    except OSError as error:
        raise TlsError(
            path,
            f"can't read the TLS {what} {str(path)!r}: {error.strerror}; "
            "give a file that this user may read",
        ) from error


def _load_own(
    context: ssl.SSLContext, certificate: Path, key: Path, contents: Mapping[Path, Contents]
) -> None:
    def refuse() -> NoReturn:  # OpenSSL would ask for the password at the terminal
        raise TlsError(
            key,
            f"the TLS key in {str(key)!r} is encrypted, expected one that needs no password; "
            f"write one with: openssl pkey -in {key} -out FILE",
        )

    try:
        with (
            _as_file(certificate, contents) as chain,
            _as_file(key, contents) as private,
        ):
            context.load_cert_chain(chain, private, refuse)
    except ssl.SSLError as error:
        # OpenSSL does not say which file it means, so what people get wrong is looked for.
        _expect(_CERTIFICATE, certificate, contents, "certificate", _A_CERTIFICATE)
        _expect(_KEY, key, contents, "key", "its key (BEGIN PRIVATE KEY)")
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


def _load_client_ca(context: ssl.SSLContext, path: Path, contents: Mapping[Path, Contents]) -> None:
    try:
        with _as_file(path, contents) as roots:
            context.load_verify_locations(roots)
    except ssl.SSLError as error:
        _expect(_CERTIFICATE, path, contents, "client CA", _ROOTS)
        raise TlsError(
            path,
            f"can't use the TLS client CA in {str(path)!r}: {_said(error)}; "
            f"look at it with: openssl x509 -text -in {path}",
        ) from error


def _expect(
    label: re.Pattern[bytes],
    path: Path,
    contents: Mapping[Path, Contents],
    what: str,
    expected: str,
) -> None:
    """Look for a label in a file that OpenSSL has refused."""
    if not label.search(contents[path].data):
        raise TlsError(
            path,
            f"the TLS {what} file {str(path)!r} has no PEM block of {expected}; give one that has",
        )


@contextmanager
def _as_file(path: Path, contents: Mapping[Path, Contents]) -> Iterator[str]:
    """Yield the name of a file that has what `path` had, since OpenSSL is given nothing else.

    It is in memory where that can be: so no key gets to a disk, and it can be done in the
    sandbox, too.
    """
    data = contents[path].data
    descriptor = _memory_file()
    if descriptor is not None:
        try:
            name = f"/proc/self/fd/{descriptor}"
            if os.access(name, os.R_OK):  # not without /proc
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(data)
                yield name
                return
        finally:
            os.close(descriptor)
    if contents[path].lasting:  # rather than a copy of a key
        yield str(path)
        return
    with NamedTemporaryFile() as copy:  # nobody else may read it
        copy.write(data)
        copy.flush()
        yield copy.name


# Not to be executed, which a system may insist on (memfd_create(2)). Python has no name for
# it, and Linux knows it since 6.3.
_NOEXEC_SEAL = 8


def _memory_file() -> int | None:
    """Return the descriptor of a new file in memory, None if there can't be one."""
    if sys.platform == "linux":
        for flags in (_NOEXEC_SEAL, 0):
            with suppress(OSError):
                return os.memfd_create("cipherecho", os.MFD_CLOEXEC | flags)
    return None


def _served_by(context: ssl.SSLContext) -> bytes | None:
    """Return the certificate that clients are shown, as DER; None if no client can be shown it.

    A file can have many blocks, of which OpenSSL takes its pick, and says only here which.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client_context.set_ciphers("ALL:@SECLEVEL=0")  # whatever key it is of
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server) * 3:  # TLS 1.3 takes two, or three of a client's guesses
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return None
        if side is client:
            return client.getpeercert(binary_form=True)
    return None


def _said(error: ssl.SSLError) -> str:
    """Return what OpenSSL said, in words."""
    return (error.reason or str(error)).replace("_", " ").lower()
