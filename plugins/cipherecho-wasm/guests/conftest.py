"""Keeps the tests from importing what only a toolchain can import."""

collect_ignore = ["vigenere"]
