"""Companions: processes beside the server that do for a plugin what it may not do itself.

This is the face for plugins of :mod:`cipherecho.host.sandbox.companion`, which has the details.
"""

from __future__ import annotations

from cipherecho.host.sandbox.companion import (
    Companion,
    cache_directory,
    companion,
    give_up_files,
)

__all__ = ["Companion", "cache_directory", "companion", "give_up_files"]
