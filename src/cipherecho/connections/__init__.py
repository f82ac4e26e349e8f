"""Connections, and the two drivers that serve them."""
