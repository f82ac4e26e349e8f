"""Companions: processes beside the server that do for a plugin what it may not do itself.

In the sandbox a plugin can't write files, and what takes much time or memory takes it from the
whole server.  So a plugin's package may name a function that runs in a process of its own while
ciphers are made, by an entry point with the name of the cipher::

    [project.entry-points."cipherecho.companions"]
    wasm = "cipherecho_wasm.compiler:serve"

The function is called with two binary files, one to read requests from and one to write answers
to, and with a directory that it alone may write to, or None.  It returns when there are no more
requests.  The process starts before the server confines itself, and shares nothing with it.
Before the package is imported, the process confines itself: it can read modules, and use the
files in that directory.

The plugin reaches its companion by :func:`companion`.
"""

from __future__ import annotations

from cipherecho.host.sandbox.companion import (
    Companion,
    cache_directory,
    companion,
    give_up_files,
)

__all__ = ["Companion", "cache_directory", "companion", "give_up_files"]
