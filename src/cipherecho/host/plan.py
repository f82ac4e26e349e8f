"""What a process serves, from before there are sockets and ciphers."""

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
    """The listeners of a process, and where their certificates and ciphers come from."""

    listeners: Sequence[Listener]
    """If they want more connections together than the process may have descriptors, each gets
    its share."""
    ciphers: Callable[[], Sequence[Cipher]]
    """Returns the cipher of each listener.  With a sandbox, it imports plugins, and is called
    once, in the sandbox; it raises what is wrong with them."""
    certificates: Mapping[TlsSettings, Certificates] = field(default_factory=dict)
    """What the files of each listener's TLS settings have."""
    loading: Loading = field(default_factory=Loading)
    """What `ciphers` reads in the sandbox."""
