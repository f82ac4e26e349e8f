"""The published interface between host and guest, in WIT, and its version.

Nothing of WebAssembly is imported here.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["INTERFACE", "adapter", "wit"]

INTERFACE = "cipherecho:plugin/cipher@1.0.0"
"""What a guest exports: package, interface and version."""


def wit() -> str:
    """Return the text of the interface, for a toolchain to build a guest against."""
    return (files(__package__) / "wit" / "cipher.wit").read_text(encoding="utf-8")


def adapter() -> str:
    """Return the component, as text, that stands between the host and any guest."""
    return (files(__package__) / "adapter.wat").read_text(encoding="utf-8")
