"""Finds lines that are too slow for the event loop, and codes them in threads."""
