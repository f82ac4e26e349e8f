"""Sockets, TLS and PROXY headers: bytes from strangers."""
