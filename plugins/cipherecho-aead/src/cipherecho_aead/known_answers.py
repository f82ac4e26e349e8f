"""Known answers for both algorithms, from their specifications, and for the whole format."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KNOWN_ANSWERS", "KNOWN_LINES", "KnownAnswer", "KnownLine"]


@dataclass(frozen=True)
class KnownAnswer:
    """A published ciphertext; everything in hexadecimal, and `ciphertext` includes the tag."""

    algorithm: str
    key: str
    nonce: str
    associated_data: str
    plaintext: str
    ciphertext: str
    source: str


@dataclass(frozen=True)
class KnownLine:
    """A coded line that decrypts to `plaintext` with `key`, written as in a key file."""

    algorithm: str
    key: str
    plaintext: bytes
    coded: bytes
    source: str


KNOWN_ANSWERS = (
    KnownAnswer(
        "chacha20-poly1305",
        key="808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce="070000004041424344454647",
        associated_data="50515253c0c1c2c3c4c5c6c7",
        plaintext=(
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
            b"the future, sunscreen would be it."
        ).hex(),
        ciphertext="d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691",
        source="RFC 8439 (2018), section 2.8.2",
    ),
    KnownAnswer(
        "aes-256-gcm",
        key="00" * 32,
        nonce="00" * 12,
        associated_data="",
        plaintext="",
        ciphertext="530f8afbc74536b9a963b4f1c4cb738b",
        source="McGrew and Viega, The Galois/Counter Mode of Operation (GCM), appendix B, "
        "test case 13",
    ),
    KnownAnswer(
        "aes-256-gcm",
        key="feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce="cafebabefacedbaddecaf888",
        associated_data="feedfacedeadbeeffeedfacedeadbeefabaddad2",
        plaintext="d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        ciphertext="522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b",
        source="McGrew and Viega, The Galois/Counter Mode of Operation (GCM), appendix B, "
        "test case 16",
    ),
)

_COUNTED = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
_OURS = "our own: made by this package when it was new, so that it goes on to decrypt"

KNOWN_LINES = (
    KnownLine(
        "chacha20-poly1305",
        _COUNTED,
        plaintext=b"Attack at dawn!",
        coded=b"AAECAwQFBgcICQoLyI98YUp8hSHDo1uS73MvX6QVS0uF5h8fu3EeJlQceA==",
        source=_OURS,
    ),
    KnownLine(
        "chacha20-poly1305",
        _COUNTED,
        plaintext=b"",
        coded=b"DA0ODxAREhMUFRYXm0OsjeiIZJnd2rk8htCKlA==",
        source=_OURS,
    ),
    KnownLine(
        "aes-256-gcm",
        _COUNTED,
        plaintext=b"Attack at dawn!",
        coded=b"AAECAwQFBgcICQoLBnaieqaO4nr5YfPqxodZtTkB7G6txovCZgR7QJAadA==",
        source=_OURS,
    ),
    KnownLine(
        "aes-256-gcm",
        _COUNTED,
        plaintext=b"50%\r100%\r\xff",
        coded=b"\r\rDA0ODxAREhMUFRYXrc5M1U5GzHY61QnVBx68HVZu1LRDuJg5Wvo=",
        source=_OURS,
    ),
)
