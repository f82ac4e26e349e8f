"""What a process will serve, known before it opens sockets and makes ciphers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cipherecho.cipher import Cipher
from cipherecho.host.sandbox.confinement import Loading
from cipherecho.network.certificates import Certificates
from cipherecho.settings.listener import Listener
from cipherecho.settings.tls import TlsSettings

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The listeners of a process, with their certificates and the function that makes ciphers."""

    listeners: Sequence[Listener]
    """If together they want more connections than the process may have descriptors, each gets its
    share."""
    ciphers: Callable[[], Sequence[Cipher]]
    """Returns the cipher of each listener, and raises what is wrong with them.  With a sandbox, it
    is called once, inside the sandbox, and imports the plugins there."""
    certificates: Mapping[TlsSettings, Certificates] = field(default_factory=dict)
    """The certificates loaded from the files in each listener's TLS settings."""
    loading: Loading = field(default_factory=Loading)
    """The modules and files that `ciphers` may read in the sandbox."""
