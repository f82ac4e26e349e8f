"""Whom a certificate is for, also where Python can't decode it."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from cipherecho.network.certificate_holder import holder
from tests.helpers.certificates import ODD, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.at(tmp_path_factory.mktemp("certificates"))


def der_of(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

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
