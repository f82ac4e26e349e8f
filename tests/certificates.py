"""Certificates for the tests, made on the spot, and clients that trust them or have one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


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

    def write_server(self, name: str = "server") -> tuple[Path, Path]:
        """Make a certificate for this machine; return its file and that of its key."""
        return self._write(self.ca.issue_cert("localhost", "127.0.0.1"), name)

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

    def trusting(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this root, and shows `certificate` if asked."""
        context = ssl.create_default_context(cafile=self.root)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def _write(self, leaf: trustme.LeafCert, name: str) -> tuple[Path, Path]:
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        [pem] = leaf.cert_chain_pems
        pem.write_to_path(str(certificate))
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key
