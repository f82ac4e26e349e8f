"""The published interface between host and guest, in WIT, and its version.

This module doesn't import Wasmtime.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["INTERFACE", "adapter", "wit"]

INTERFACE = "cipherecho:plugin/cipher@1.0.0"
"""A guest's export: package, interface and version."""


def wit() -> str:
    """Return the text of the interface, which toolchains build guests against."""
    return (files(__package__) / "wit" / "cipher.wit").read_text(encoding="utf-8")


def adapter() -> str:
    """Return the component, as text, that stands between the host and any guest."""
    return (files(__package__) / "adapter.wat").read_text(encoding="utf-8")
