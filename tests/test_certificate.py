"""When a certificate expires, for certificates that others make."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cipherecho.certificate import expiry

from .running import PATIENCE, tool

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(expires: datetime, names: int = 1) -> bytes:
    """Return a certificate, long if it has many names."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1950, 1, 1))
        .not_valid_after(expires.replace(tzinfo=None))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(f"{n}.example") for n in range(names)]),
            critical=False,
        )
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "expires",
    [
        datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(1999, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(1950, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2050, 1, 1, tzinfo=UTC),  # from here on, four digits for the year
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),  # for ever (RFC 5280, 4.1.2.5)
    ],
)
@pytest.mark.parametrize("names", [1, 10, 5000])
def test_it_is_the_date_that_the_certificate_was_made_with(expires: datetime, names: int) -> None:
    assert expiry(certificate(expires, names)) == expires.timestamp()


def test_it_is_of_the_first_certificate_of_a_file() -> None:
    first = datetime(2030, 1, 1, tzinfo=UTC)
    chain = certificate(first) + certificate(first + timedelta(days=1000))
    for before in (b"", KEY_PEM, b"# a comment\r\n"):
        assert expiry(before + chain) == first.timestamp()
        assert expiry((before + chain).replace(b"\n", b"\r\n")) == first.timestamp()


@pytest.mark.parametrize("form", [[], ["-trustout"]])
def test_it_is_what_openssl_says(tmp_path: Path, form: list[str]) -> None:
    openssl = tool("openssl")
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(certificate(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)))

    def said(*arguments: str) -> bytes:
        command = [openssl, "x509", "-in", pem, *arguments]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
        return done.stdout

    pem.write_bytes(said("-addtrust", "serverAuth", *form))
    date = said("-noout", "-enddate").decode().strip().removeprefix("notAfter=")
    expected = datetime.strptime(date, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert expiry(pem.read_bytes()) == expected.timestamp()


@pytest.mark.parametrize("pem", [b"", b"no certificate\n", KEY_PEM])
def test_a_file_without_a_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"^got no certificate in PEM, expected one$"):
        expiry(pem)
