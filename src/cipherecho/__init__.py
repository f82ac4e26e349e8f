"""A TCP line server that echoes each line, followed by its ciphertext.

Public, and kept where they are:

=========================  ====================================================
``cipherecho.cipher``      the contract: all that the author of a cipher imports
``cipherecho.testing``     the conformance kit for such authors
``cipherecho.session``     one client's conversation: bytes in, replies out
``cipherecho.registry``    a cipher by its name
``cipherecho.server``      the server as a task of your own Trio program
``cipherecho.printable``   text from strangers, made fit for a terminal or a log
``cipherecho.errors``      the root of all errors that these raise
``cipherecho.commands``    commands of plugins that fail as ``cipherecho`` does
``cipherecho.companion``   processes beside the server, for plugins that need one
=========================  ====================================================

Everything else may move.  The folders are floors, and imports go down: ``cli`` (words in, exit
statuses out), ``host`` (the process on its machine), ``server`` (accepting, admission, shutdown),
``connections`` (one connection's life), ``network`` (sockets, TLS), ``settings`` (plain data),
``service_manager`` (systemd and its like), and ``ciphers`` (from a name to a cipher that codes
lines).

This package itself imports nothing, so that each part is paid for only when it is used.
"""

__version__ = "0.1.0"
