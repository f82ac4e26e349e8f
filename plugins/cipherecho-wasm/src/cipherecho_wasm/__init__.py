"""Ciphers in WebAssembly for cipherecho: each can compute, and nothing else."""

__version__ = "0.1.0"
