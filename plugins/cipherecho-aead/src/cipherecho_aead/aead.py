r"""Authenticated encryption of single lines, on the package ``cryptography``.

The code of a body is base64 text (RFC 4648, section 4, with padding) of::

    nonce (12 bytes, random) || ciphertext (as long as the body) || tag (16 bytes)

with ``cipherecho-aead 1 chacha20-poly1305``, or the other algorithm, as associated data: a
line of one algorithm, or of a later version of this format, is not taken for another.
That one text may stand in front of it which the contract forces: as many CRs as the body
holds, since a cipher may not make a CR that the line did not hold, and decrypting would.

There is no attribute ``vectors``.  A line has another code each time, so vectors could hold
for decryption only, and even those would need a key file with the right mode and owner,
which a package can't install.  The known answers are in
:mod:`cipherecho_aead.known_answers`: the tests put them through :func:`sealed` and
:func:`opened`, which :class:`Aead` is made of, with nonces of their own.

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
"""What encrypts under one key, given a nonce, a plaintext and associated data."""

ALGORITHMS: dict[str, type[ChaCha20Poly1305] | type[AESGCM]] = {
    "chacha20-poly1305": ChaCha20Poly1305,
    "aes-256-gcm": AESGCM,
}

# The only size that RFC 8439 has, and the one that NIST SP 800-38D, section 5.2.1.1,
# recommends; what a GCM nonce of another size is hashed to may collide as well.
_NONCE_BYTES = 12

_TAG_BYTES = 16


@dataclass(frozen=True, eq=False)  # two with the same path may hold different keys
class Aead:
    """Encrypts each line under a secret key, and refuses what was tampered with.

    This one is no toy.  AEAD is authenticated encryption with associated data: without the
    key, nobody reads a line, changes it, or makes one up that decrypts.  Daniel Bernstein
    made Poly1305 in 2005 and ChaCha20 in 2008, and RFC 7539 joined them in 2015 (now RFC 8439).
    David McGrew and John Viega made GCM, which NIST adopted for AES in 2007.  Either is
    what TLS 1.3 uses.  Each line gets a random nonce of 96 bits, so the same line has
    another code each time, and goes out as base64: nonce, ciphertext, tag.

    What it does not hide: how long each line is, how many there are, when they come, and
    how many carriage returns are inside a line, which stand in front of its code.  What it
    does not notice: lines that are left out, repeated, replayed or put in another order,
    and another line ending.  The machine that runs it has the key and sees every line; so
    does the network between a client and this server, unless that is TLS or a Unix socket.
    Whoever can connect to a server that decrypts can have everything decrypted.  If a
    nonce ever came twice, those two lines could be read and others forged, so encrypt at
    most 2**32 lines with one key, on all machines together, and then make a new one: until
    then, the chance of it is below one in 2**32.  Nothing here counts them.

    The key is made by: cipherecho-aead new-key PATH
    """

    key_file: Annotated[
        Path,
        "the file with the key: 64 hexadecimal digits, for the eyes of its owner only; "
        "cipherecho-aead new-key makes one",
    ]
    algorithm: Annotated[
        Literal["chacha20-poly1305", "aes-256-gcm"],
        "how lines are encrypted; both are good, and AES is the faster one where the "
        "processor has instructions for it",
    ] = "chacha20-poly1305"
    _primitive: Primitive = field(init=False, repr=False)

    secure = True
    random = True

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise OptionError("algorithm", self.algorithm, f"one of {', '.join(ALGORITHMS)}")
        # The key stays in here, whose repr does not show it and which can't be pickled.
        primitive = ALGORITHMS[self.algorithm](read_key(self.key_file))
        object.__setattr__(self, "_primitive", primitive)

    def encrypt(self, body: bytes) -> bytes:
        """Return the code of `body`, which may be any bytes, with a fresh nonce.

        It is 4 characters for each 3 bytes that are begun, of 28 more than `body` has, and
        a CR for each CR in `body` before those.
        """
        # From the kernel, so that processes that were forked have no common sequence.
        nonce = os.urandom(_NONCE_BYTES)
        return sealed(self._primitive, nonce, body, label_of(self.algorithm))

    def decrypt(self, body: bytes) -> bytes:
        """Return the line that `body` is the code of.

        Raises:
          InputError: it is the code of none: it is not base64, is too short, was encrypted
            with another key or algorithm, or was changed.
        """
        return opened(self._primitive, body, label_of(self.algorithm))


def label_of(algorithm: str) -> bytes:
    """Return the associated data of every line that `algorithm` encrypts."""
    return f"cipherecho-aead 1 {algorithm}".encode()


def sealed(primitive: Primitive, nonce: bytes, body: bytes, label: bytes) -> bytes:
    """Return the code of `body` with the associated data `label`.

    A nonce must not be used twice with one key.
    """
    code = binascii.b2a_base64(nonce + primitive.encrypt(nonce, body, label), newline=False)
    return b"\r" * body.count(b"\r") + code


def opened(primitive: Primitive, coded: bytes, label: bytes) -> bytes:
    """Return the body that :func:`sealed` made `coded` of.

    Raises:
      InputError: it made it of none, with this key and label.
    """
    code = coded.lstrip(b"\r")
    try:
        message = binascii.a2b_base64(code)
    except binascii.Error:
        message = b""
    # Decoding skips foreign characters and ignores unused bits. Exactly one text is
    # right for each message, or lines could be changed without notice.
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
    # The CRs in front are bound to those in the body; a LF can only be in it if another
    # program encrypted it, and it would make two lines of one.
    if body is None or body.count(b"\r") != len(coded) - len(code) or b"\n" in body:
        raise InputError(
            "got a line that was encrypted with another key or algorithm, or changed since, "
            "expected one as aead encrypted it"
        ) from None
    return body
