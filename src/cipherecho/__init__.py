"""A TCP line server that answers each line with the line and its cipher.

This package imports nothing on its own, so that each part is paid for only
when it is used.  The parts, from the top layer down (each imports only from
those below it):

==========================  =================================================
``cipherecho.cli``          the command line
``cipherecho.server.serving``       listeners, connections, limits, shutdown, on Trio
``cipherecho.session``      bytes in, reply bytes out; no event loop
``cipherecho.ciphers.registry``     which ciphers are installed; loads the one asked for
``cipherecho.cipher``       the contract: what a plugin author imports
==========================  =================================================
"""

__version__ = "0.1.0"
