"""Whom a certificate is for, and when it expires, also where Python can't decode it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.network.x509 import expiry, holder
from tests.helpers.certificates import ODD, Authority

# Whom it is for.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(tmp_path_factory.mktemp("certificates"))


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.mark.parametrize(("name", "shown"), [("alice", "CN=alice"), ("Ärla\n", "CN=Ärla\n")])
def test_a_common_name_comes_first(name: str, shown: str, authority: Authority) -> None:
    certificate, _ = authority.write_client(name)
    assert holder(der_of(certificate.read_bytes())) == shown


@pytest.mark.parametrize("kind", ODD)
def test_what_python_can_not_decode_is_read_as_far_as_it_can_be(
    kind: str, authority: Authority
) -> None:
    certificate, _ = authority.write_odd_client(kind)
    assert holder(der_of(certificate.read_bytes())) == ODD[kind]


def test_part_of_a_certificate_names_nobody_or_the_same(authority: Authority) -> None:
    der = der_of(authority.write_client("alice")[0].read_bytes())
    assert {holder(der[:size]) for size in range(len(der))} == {"", "CN=alice"}


@given(st.binary())
def test_what_is_no_certificate_names_nobody(data: bytes) -> None:
    assert holder(b"\x30\x82" + data) == ""


# When it expires.

KEY = ec.generate_private_key(ec.SECP256R1())


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
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


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


@pytest.mark.parametrize("der", [b"", b"no certificate", b"\x30\x80", b"\x30\x84" + b"\xff" * 20])
def test_what_is_no_certificate_has_no_date(der: bytes) -> None:
    assert expiry(der) is None


def test_every_cut_of_a_certificate_has_its_date_or_none() -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    der = certificate(expires)
    for size in range(len(der)):
        assert expiry(der[:size]) in (None, expires.timestamp())


def test_a_date_that_is_none_is_none() -> None:
    der = certificate(datetime(2030, 1, 1, tzinfo=UTC))
    for date in (b"300101000000+", b"30010100000\xff", b"301301000000Z", b"3z0101000000Z"):
        assert expiry(der.replace(b"300101000000Z", date)) is None
