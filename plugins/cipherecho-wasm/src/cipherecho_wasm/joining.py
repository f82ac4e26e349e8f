"""A guest joined with the adapter that stands between the host and any guest."""

from __future__ import annotations

from functools import cache

from wasmtime import wat2wasm

from cipherecho_wasm.interface import adapter

__all__ = ["adapter_code", "joined"]

_MAGIC = b"\0asm"
_PREAMBLE_BYTES = 8
_COMPONENT_SECTION = 4


def joined(guest: bytes) -> bytes:
    """Return the adapter with `guest`, in binary or as text, as its first component.

    Raises:
      WasmtimeError: `guest` is text that can't be parsed.
    """
    if not guest.startswith(_MAGIC):
        guest = bytes(wat2wasm(guest))
    whole = adapter_code()
    # The preamble, the section's number, its size in one byte, and an empty component.
    size = whole[_PREAMBLE_BYTES + 1]
    after = _PREAMBLE_BYTES + 2 + size
    return (
        whole[:_PREAMBLE_BYTES]
        + bytes([_COMPONENT_SECTION])
        + _leb128(len(guest))
        + guest
        + whole[after:]
    )


@cache
def adapter_code() -> bytes:
    """Return the adapter in binary."""
    return bytes(wat2wasm(adapter()))


def _leb128(number: int) -> bytes:
    """Return `number` as the format writes sizes: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
