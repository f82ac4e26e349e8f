"""Certificates for the tests, made on the spot, and clients that trust them or have one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID, NameOID

ODD = {
    "Latin-1 in a DNS name": "DNS=m\xfcller.example",
    "Latin-1 in an e-mail address": "email=m\xfcller@example.org",
    "a list for an address": "CN=alice",
}
"""Certificates that OpenSSL takes and Python can't decode, and what can be read of each."""


@dataclass(frozen=True)
class Authority:
    """A root of trust, whose files are in a directory."""

    directory: Path
    ca: trustme.CA

    @classmethod
    def at(cls, directory: Path) -> Authority:
        """Return a new one, with its files in `directory`."""
        directory.mkdir(exist_ok=True)
        authority = cls(directory, trustme.CA())
        authority.ca.cert_pem.write_to_path(str(authority.root))
        return authority

    @property
    def root(self) -> Path:
        """The file with its own certificate."""
        return self.directory / "root.pem"

    @property
    def expires(self) -> datetime:
        """When the certificates of servers expire."""
        return datetime(2039, 1, 2, 3, 4, 5, tzinfo=UTC)

    @property
    def old(self) -> bytes:
        """A certificate that was replaced, in PEM."""
        leaf = self.ca.issue_cert("localhost", not_after=datetime(2038, 1, 1, tzinfo=UTC))
        return leaf.cert_chain_pems[0].bytes()

    @property
    def server(self) -> tuple[Path, Path]:
        """The files of the server's certificate, once it was made."""
        return self.directory / "server.pem", self.directory / "server.key"

    def write_server(self, name: str = "server") -> tuple[Path, Path]:
        """Make a certificate for this machine; return its file and that of its key."""
        return self._write(
            self.ca.issue_cert("localhost", "127.0.0.1", not_after=self.expires), name
        )

    def write_client(self, common_name: str | None) -> tuple[Path, Path]:
        """Make a certificate for a client, with a name or none; return what `write_server` does."""
        leaf = self.ca.issue_cert("client@example.org", common_name=common_name)
        return self._write(leaf, f"client {common_name}")

    def write_expired_client(self) -> tuple[Path, Path]:
        """Make one that expired yesterday."""
        now = datetime.now(UTC)
        leaf = self.ca.issue_cert(
            "client@example.org",
            not_before=now - timedelta(days=2),
            not_after=now - timedelta(days=1),
        )
        return self._write(leaf, "expired")

    def write_odd_client(self, kind: str) -> tuple[Path, Path]:
        """Make one of `ODD`; what is wrong with it is put in after it was made."""
        key = ec.generate_private_key(ec.SECP256R1())
        ca_key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        ca = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        names, extension, before, after = _odd(kind)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(extension, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        to_be_signed = certificate.tbs_certificate_bytes.replace(before, after)
        signature = ca_key.sign(to_be_signed, ec.ECDSA(hashes.SHA256()))
        # ecdsa-with-SHA256, 1.2.840.10045.4.3.2 (RFC 5758, 3.2)
        algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        der = _der(0x30, to_be_signed + algorithm + _der(0x03, b"\0" + signature))
        files = self.directory / f"{kind}.pem", self.directory / f"{kind}.key"
        files[0].write_text(ssl.DER_cert_to_PEM_cert(der))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def trusting(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this root, and shows `certificate` if asked."""
        context = ssl.create_default_context(cafile=self.root)
        # Builds of Python differ in whether clients notice an end that TLS did not tell of.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def _write(self, leaf: trustme.LeafCert, name: str) -> tuple[Path, Path]:
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        [pem] = leaf.cert_chain_pems
        pem.write_to_path(str(certificate))
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key


def _odd(kind: str) -> tuple[list[x509.NameAttribute[Any]], x509.ExtensionType, bytes, bytes]:
    """Return the subject and an extension of a certificate, and what to replace by what in it."""
    name = x509.NameAttribute(NameOID.COMMON_NAME, "alice")
    if kind == "a list for an address":  # X.520 makes it a SEQUENCE of texts
        address = x509.NameAttribute(NameOID.POSTAL_ADDRESS, "12 Main St")
        text = _der(0x0C, b"12 Main St")
        within = _der(0x30, _der(0x0C, b"Main St."))
        assert len(text) == len(within)
        return [address, name], x509.BasicConstraints(ca=False, path_length=None), text, within
    if kind == "Latin-1 in a DNS name":
        alternative = _der(0x82, b"m\xfcller.example")
    else:
        alternative = _der(0x81, b"m\xfcller@example.org")
    extension = x509.UnrecognizedExtension(
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME, _der(0x30, alternative)
    )
    return [], extension, b"", b""


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content
