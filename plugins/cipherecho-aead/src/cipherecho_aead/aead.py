r"""Authenticated encryption of single lines, on the package ``cryptography``.

The ciphertext of a body is base64 (RFC 4648, section 4, with padding) of::

    nonce (12 bytes, random) || ciphertext (as long as the body) || tag (16 bytes)

with ``cipherecho-aead 1 chacha20-poly1305``, or the other algorithm, as associated data, so
that a line of one algorithm, or of a later version of this format, doesn't decrypt as another.
As many CRs as the body has come before the base64: the contract lets a cipher return no more CRs
than it was given, and decrypting returns those of the body.

The class has no ``vectors``.  A line has another ciphertext each time, so vectors could only
decrypt, and even those would need a key file with the right mode and owner, which a
package can't install.  The known answers are in :mod:`cipherecho_aead.known_answers`: the
tests put them, with their nonces, through :func:`sealed` and :func:`opened`, which do the
work of :class:`Aead`.

>>> from tempfile import TemporaryDirectory
>>> from cipherecho_aead.keyfile import create_key
>>> with TemporaryDirectory() as directory:
...     key_file = Path(directory, "aead.key")
...     create_key(key_file)
...     cipher = Aead(key_file)
>>> coded = cipher.encrypt(b"Attack at dawn!")
>>> len(coded), cipher.decrypt(coded)
(60, b'Attack at dawn!')
"""

from __future__ import annotations

import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from cipherecho.cipher import InputError, OptionError
from cipherecho_aead.keyfile import read_key

__all__ = ["ALGORITHMS", "Aead", "Primitive", "label_of", "opened", "sealed"]

Primitive: TypeAlias = ChaCha20Poly1305 | AESGCM
"""An algorithm with its key: encrypts a plaintext with a nonce and associated data."""

ALGORITHMS: dict[str, type[ChaCha20Poly1305] | type[AESGCM]] = {
    "chacha20-poly1305": ChaCha20Poly1305,
    "aes-256-gcm": AESGCM,
}

# The only size in RFC 8439, and the one that NIST SP 800-38D, section 5.2.1.1, recommends:
# GCM hashes a nonce of another size, and hashes may collide too.
_NONCE_BYTES = 12

_TAG_BYTES = 16


@dataclass(frozen=True, eq=False)  # two with the same path may hold different keys
class Aead:
    """Encrypts each line with a secret key, and rejects lines that were tampered with.

    This is real encryption.  AEAD is authenticated encryption with associated data: without the
    key, nobody can read a line, change it, or make up one that decrypts.  Daniel Bernstein
    designed Poly1305 in 2005 and ChaCha20 in 2008, and RFC 7539 joined them in 2015 (now
    RFC 8439).  David McGrew and John Viega designed GCM, which NIST adopted for AES in 2007.
    TLS 1.3 uses both.  Each line gets a random nonce of 96 bits, so the same line has another
    ciphertext each time.  A reply is base64: nonce, ciphertext, tag.

    It doesn't hide the length of a line, how many lines there are, when they come, and how many
    carriage returns are inside a line, which stand before its ciphertext.  It doesn't notice
    lines that are left out, repeated, replayed or put in another order, and another line
    ending.  The machine that runs it has the key and sees every line; so does the network
    between a client and this server, unless the connection is TLS or a Unix socket.  Anybody
    who can connect to a server that decrypts can decrypt everything.  If a nonce occurred
    twice, an attacker could read those two lines and forge others.  So encrypt at most 2**32
    lines with one key, on all machines together, and then make a new key: until then, the
    chance of a repeated nonce is below one in 2**32.  The cipher doesn't count the lines.

    To make a key: cipherecho-aead new-key PATH
    """

    key_file: Annotated[
        Path,
        "the file with the key: 64 hexadecimal digits, which only its owner can read; "
        "cipherecho-aead new-key makes one",
    ]
    algorithm: Annotated[
        Literal["chacha20-poly1305", "aes-256-gcm"],
        "how lines are encrypted; both are good, and AES is faster if the processor has "
        "instructions for it",
    ] = "chacha20-poly1305"
    _primitive: Primitive = field(init=False, repr=False)

    secure = True
    random = True

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise OptionError("algorithm", self.algorithm, f"one of {', '.join(ALGORITHMS)}")
        # Only this object keeps the key: its repr doesn't show it, and it can't be pickled.
        primitive = ALGORITHMS[self.algorithm](read_key(self.key_file))
        object.__setattr__(self, "_primitive", primitive)

    def encrypt(self, body: bytes) -> bytes:
        """Return the ciphertext of `body`, which may be any bytes, with a fresh nonce.

        Base64 makes 4 characters of every 3 bytes or part of them, and `body` grows by 28 bytes
        before that.  A CR for each CR in `body` comes first.
        """
        # From the kernel, so that forked processes don't share a sequence.
        nonce = os.urandom(_NONCE_BYTES)
        return sealed(self._primitive, nonce, body, label_of(self.algorithm))

    def decrypt(self, body: bytes) -> bytes:
        """Return the line that was encrypted to `body`.

        Raises:
          InputError: `body` doesn't decrypt: it is not base64, is too short, was encrypted
            with another key or algorithm, or was changed.
        """
        return opened(self._primitive, body, label_of(self.algorithm))


def label_of(algorithm: str) -> bytes:
    """Return the associated data of every line that `algorithm` encrypts."""
    return f"cipherecho-aead 1 {algorithm}".encode()


def sealed(primitive: Primitive, nonce: bytes, body: bytes, label: bytes) -> bytes:
    """Return the ciphertext of `body` with the associated data `label`.

    Never use a nonce twice with the same key.
    """
    code = binascii.b2a_base64(nonce + primitive.encrypt(nonce, body, label), newline=False)
    return b"\r" * body.count(b"\r") + code


def opened(primitive: Primitive, coded: bytes, label: bytes) -> bytes:
    """Return the body that :func:`sealed` encrypted to `coded`.

    Raises:
      InputError: no body encrypts to `coded` with this key and label.
    """
    code = coded.lstrip(b"\r")
    try:
        message = binascii.a2b_base64(code)
    except binascii.Error:
        message = b""
    # Decoding skips foreign characters and ignores unused bits. Only one text may stand for a
    # message, or somebody could change lines unnoticed.
    if not code or binascii.b2a_base64(message, newline=False) != code:
        raise InputError(
            f"got {len(coded)} bytes that are not base64, expected a line that aead encrypted"
        )
    if len(message) < _NONCE_BYTES + _TAG_BYTES:
        raise InputError(
            f"got base64 of {len(message)} bytes, expected at least "
            f"{_NONCE_BYTES + _TAG_BYTES}: the nonce and the tag"
        )
    try:
        body = primitive.decrypt(message[:_NONCE_BYTES], message[_NONCE_BYTES:], label)
    except InvalidTag:
        body = None
    # There must be as many CRs in front as in the body. A body with a LF comes from another
    # program, and would make two lines of one.
    if body is None or body.count(b"\r") != len(coded) - len(code) or b"\n" in body:
        raise InputError(
            "got a line that was encrypted with another key or algorithm, or changed since, "
            "expected one as aead encrypted it"
        ) from None
    return body
