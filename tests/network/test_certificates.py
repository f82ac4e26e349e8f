"""Certificates and keys: what is loaded, what is refused, and what clients may do."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives import serialization

from cipherecho.network.certificates import Certificates, PemFiles, TlsError
from cipherecho.settings.file_contents import read_file
from cipherecho.settings.tls import ClientAuth, TlsSettings, TlsVersion
from tests.helpers.certificates import Authority
from tests.helpers.running import PATIENCE, tool


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.at(tmp_path / "ca")


class Conversation:
    """A server and a client in memory, who shake hands."""

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        session: ssl.SSLSession | None = None,
    ) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, server_hostname="localhost")
        if session is not None:
            self.client.session = session
        for _ in range(3):  # there and back again, and there
            for side in self.client, self.server:
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()

    def exchange(self) -> bytes:
        """Have the server send some bytes; return what the client got."""
        self.server.write(b"hello")
        return self.client.read(100)


def test_a_certificate_and_its_key_may_be_in_one_file(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.write_server()
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    certificates = Certificates(TlsSettings(both))
    assert Conversation(certificates.context, authority.trusting()).exchange() == b"hello"


def test_tls_1_3_is_spoken(authority: Authority) -> None:
    certificates = Certificates(TlsSettings(*authority.write_server()))
    talk = Conversation(certificates.context, authority.trusting())
    assert talk.exchange() == b"hello"
    assert talk.server.version() == "TLSv1.3"
    assert talk.server.compression() is None


@pytest.mark.parametrize(
    ("minimum", "version", "accepted"),
    [
        (TlsVersion.TLS_1_3, ssl.TLSVersion.TLSv1_2, False),
        (TlsVersion.TLS_1_2, ssl.TLSVersion.TLSv1_2, True),
        (TlsVersion.TLS_1_2, ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_an_older_version_is_spoken_on_request_alone(
    authority: Authority, minimum: TlsVersion, version: ssl.TLSVersion, accepted: bool
) -> None:
    certificates = Certificates(TlsSettings(*authority.write_server(), minimum=minimum))
    client = authority.trusting()
    client.minimum_version = client.maximum_version = version
    if accepted:
        assert Conversation(certificates.context, client).exchange() == b"hello"
    else:
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            Conversation(certificates.context, client)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_what_is_older_than_1_2_is_never_spoken(authority: Authority) -> None:
    settings = TlsSettings(*authority.write_server(), minimum=TlsVersion.TLS_1_2)
    client = authority.trusting()
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")  # or the client refuses to speak it itself
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        Conversation(Certificates(settings).context, client)


def test_every_cipher_of_1_2_has_forward_secrecy_and_authenticated_encryption(
    authority: Authority,
) -> None:
    certificates = Certificates(TlsSettings(*authority.write_server(), minimum=TlsVersion.TLS_1_2))
    offered = [one for one in certificates.context.get_ciphers() if one["protocol"] == "TLSv1.2"]
    assert offered
    for one in offered:
        assert re.fullmatch("ECDHE-.*(GCM|POLY1305).*", one["name"])
        assert one["aead"]


# Client certificates.


@pytest.mark.parametrize("auth", ClientAuth)
def test_a_client_with_a_certificate_of_the_client_ca_is_served(
    authority: Authority, tmp_path: Path, auth: ClientAuth
) -> None:
    clients = Authority.at(tmp_path / "clients")
    settings = TlsSettings(*authority.write_server(), client_ca=clients.root, client_auth=auth)
    client = authority.trusting(clients.write_client("alice"))
    talk = Conversation(Certificates(settings).context, client)
    assert talk.exchange() == b"hello"
    assert (("commonName", "alice"),) in (talk.server.getpeercert() or {})["subject"]


@pytest.mark.parametrize(
    ("auth", "refusal"),
    [(ClientAuth.REQUIRED, "PEER_DID_NOT_RETURN_A_CERTIFICATE"), (ClientAuth.OPTIONAL, None)],
)
def test_a_client_may_go_without_if_that_is_optional(
    authority: Authority, auth: ClientAuth, refusal: str | None
) -> None:
    settings = TlsSettings(*authority.write_server(), client_ca=authority.root, client_auth=auth)
    context = Certificates(settings).context
    if refusal is None:
        assert Conversation(context, authority.trusting()).exchange() == b"hello"
    else:
        with pytest.raises(ssl.SSLError, match=refusal):
            Conversation(context, authority.trusting())


@pytest.mark.parametrize("auth", ClientAuth)
@pytest.mark.parametrize("fault", ["other root", "expired"])
def test_a_client_with_a_wrong_certificate_is_refused(
    authority: Authority, tmp_path: Path, auth: ClientAuth, fault: str
) -> None:
    if fault == "expired":
        certificate = authority.write_expired_client()
    else:
        certificate = Authority.at(tmp_path / "other").write_client("mallory")
    settings = TlsSettings(*authority.write_server(), client_ca=authority.root, client_auth=auth)
    with pytest.raises(ssl.SSLCertVerificationError):
        Conversation(Certificates(settings).context, authority.trusting(certificate))


# Files that can't be used.


def refused(settings: TlsSettings, path: Path) -> str:
    """Return what is said of `settings`, having checked that it names the file at fault."""
    with pytest.raises(TlsError) as caught:
        Certificates(settings)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert ";" in str(caught.value), "what to do is said after the problem"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.write_server()
    missing = tmp_path / "missing.pem"
    for settings, what in (
        (TlsSettings(missing, key), "certificate"),
        (TlsSettings(certificate, missing), "key"),
        (TlsSettings(certificate, key, client_ca=missing), "client CA"),
    ):
        assert refused(settings, missing) == (
            f"can't read the TLS {what} {str(missing)!r}: No such file or directory; "
            "give a file that this user may read"
        )


def test_a_file_that_can_not_be_read_is_named(authority: Authority, tmp_path: Path) -> None:
    _, key = authority.write_server()
    assert "Is a directory" in refused(TlsSettings(tmp_path, key), tmp_path)


def test_a_file_without_what_it_should_hold_is_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.write_server()
    assert "no PEM block of a certificate" in refused(TlsSettings(key, key), key)
    assert "no PEM block of its key" in refused(TlsSettings(certificate, certificate), certificate)
    assert "no PEM block of its key" in refused(TlsSettings(certificate), certificate)
    assert "no PEM block of the certificates of roots" in refused(
        TlsSettings(certificate, key, client_ca=key), key
    )
    binary = tmp_path / "certificate.der"
    binary.write_bytes(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
    assert "no PEM block of a certificate" in refused(TlsSettings(binary, key), binary)


def test_a_file_whose_contents_are_damaged_is_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.write_server()
    damaged = tmp_path / "damaged.pem"
    damaged.write_text(certificate.read_text().replace("M", "?"))
    assert "can't use the TLS certificate" in refused(TlsSettings(damaged, key), damaged)
    settings = TlsSettings(certificate, key, client_ca=damaged)
    assert "can't use the TLS client CA" in refused(settings, damaged)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.write_server("one")
    _, key = authority.write_server("other")
    message = refused(TlsSettings(certificate, key), key)
    assert f"is not that of the first certificate in {str(certificate)!r}" in message


def test_an_encrypted_key_is_refused_and_no_password_asked_for(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.write_server()
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    message = refused(TlsSettings(certificate, encrypted), encrypted)
    assert "is encrypted, expected one that needs no password" in message
    assert f"openssl pkey -in {encrypted}" in message


@pytest.mark.parametrize("what", ["certificate", "key", "client CA"])
def test_a_pipe_that_nobody_writes_to_is_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(
        "cipherecho.network.certificates.read_file", partial(read_file, seconds=0.05)
    )
    silent = tmp_path / "silent.pem"
    os.mkfifo(silent)
    certificate, key = authority.write_server()
    settings = {
        "certificate": TlsSettings(silent, key),
        "key": TlsSettings(certificate, silent),
        "client CA": TlsSettings(certificate, key, client_ca=silent),
    }[what]
    message = refused(settings, silent)
    assert f"can't read the TLS {what}" in message
    assert "its end did not come within 0.05 seconds" in message


# What OpenSSL takes.


@pytest.mark.parametrize("form", ["plain", "trusted", "X509"])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"# the -----BEGIN CERTIFICATE----- block below is renewed by cron\n",
        b"# -----BEGIN CERTIFICATE-----\n#\xfc\n# -----END CERTIFICATE-----\r\n",
        "commented out",
        "key",
    ],
)
def test_when_it_expires_is_said_of_the_certificate_that_is_served(
    authority: Authority, before: bytes | str, form: str
) -> None:
    certificate, key = authority.write_server()
    pem = certificate.read_bytes()
    if form == "trusted":
        shown: list[str | Path] = [
            tool("openssl"),
            "x509",
            "-in",
            certificate,
            "-addtrust",
            "serverAuth",
        ]
        pem = subprocess.check_output([*shown, "-trustout"], timeout=PATIENCE)
    elif form == "X509":
        pem = pem.replace(b"N CERT", b"N X509 CERT").replace(b"D CERT", b"D X509 CERT")
    if before == "commented out":
        before = b"".join(b"#" + line for line in authority.old.splitlines(keepends=True))
    elif before == "key":
        before = key.read_bytes()
    assert isinstance(before, bytes)
    certificate.write_bytes(before + pem + authority.old)
    certificates = Certificates(TlsSettings(certificate, key))
    assert Conversation(certificates.context, authority.trusting()).exchange() == b"hello"
    assert certificates.expires() == authority.expires.timestamp()


def test_when_it_expires_is_said_though_clients_must_show_a_certificate(
    authority: Authority,
) -> None:
    settings = TlsSettings(*authority.write_server(), client_ca=authority.root)
    assert Certificates(settings).expires() == authority.expires.timestamp()


@pytest.mark.parametrize("in_memory", [True, False])
def test_files_may_be_pipes_which_are_read_once(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    if not in_memory:  # as on other systems
        monkeypatch.setattr("cipherecho.network.certificates._memory_file", lambda: None)
    certificate, key = authority.write_server()
    settings = TlsSettings(tmp_path / "certificate", tmp_path / "key", client_ca=authority.root)
    for pipe, file in ((settings.certificate, certificate), (settings.key, key)):
        assert pipe
        os.mkfifo(pipe)
        Thread(target=pipe.write_bytes, args=(file.read_bytes(),), daemon=True).start()
    files = PemFiles()
    client = authority.trusting(authority.write_client("alice"))
    for certificates in (Certificates(settings, files), Certificates(settings, files)):
        assert Conversation(certificates.context, client).exchange() == b"hello"
        assert certificates.lasting == [authority.root]
        certificates.reload(PemFiles(certificates.pipes))
        assert Conversation(certificates.context, client).exchange() == b"hello"


# Loading them again.


def shown_by(certificates: Certificates, client: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a new connection is shown."""
    return Conversation(certificates.context, client).client.getpeercert(binary_form=True)


def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on(
    authority: Authority,
) -> None:
    certificates = Certificates(TlsSettings(*authority.write_server()))
    client = authority.trusting()
    before = shown_by(certificates, client)
    talk = Conversation(certificates.context, client)
    authority.write_server()
    certificates.reload(PemFiles())
    assert shown_by(certificates, client) != before
    assert talk.exchange() == b"hello"


@pytest.mark.parametrize("file", ["certificate", "key", "root"])
def test_what_was_loaded_stays_if_what_there_is_now_is_wrong(
    authority: Authority, file: str
) -> None:
    certificate, key = authority.write_server()
    certificates = Certificates(TlsSettings(certificate, key, client_ca=authority.root))
    client = authority.trusting(authority.write_client("alice"))
    before = shown_by(certificates, client)
    path = {"certificate": certificate, "key": key, "root": authority.root}[file]
    path.write_text("in the middle of being written")
    with pytest.raises(TlsError) as caught:
        certificates.reload(PemFiles())
    assert caught.value.path == path
    assert shown_by(certificates, client) == before


def test_a_session_of_tls_1_3_is_not_resumed(authority: Authority) -> None:
    certificates = Certificates(TlsSettings(*authority.write_server()))
    client = authority.trusting()
    talk = Conversation(certificates.context, client)
    assert talk.exchange() == b"hello"
    assert talk.client.session is not None
    assert not talk.client.session.has_ticket
    again = Conversation(certificates.context, client, talk.client.session)
    assert again.exchange() == b"hello"
    assert not again.client.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_a_new_root_refuses_can_not_resume_its_session(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    clients = Authority.at(tmp_path / "clients")
    certificates = Certificates(
        TlsSettings(*authority.write_server(), client_ca=clients.root, minimum=TlsVersion.TLS_1_2)
    )
    client = authority.trusting(clients.write_client("alice"))
    client.minimum_version = client.maximum_version = version
    talk = Conversation(certificates.context, client)
    assert talk.exchange() == b"hello"
    session = talk.client.session
    resumed = Conversation(certificates.context, client, session).client.session_reused
    assert resumed is (version is ssl.TLSVersion.TLSv1_2)  # or this test shows nothing

    certificates.reload(PemFiles())
    assert not Conversation(certificates.context, client, session).client.session_reused

    Authority.at(tmp_path / "clients")  # another root, in the same file
    certificates.reload(PemFiles())
    with pytest.raises(ssl.SSLCertVerificationError):
        Conversation(certificates.context, client, session)
