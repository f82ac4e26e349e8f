"""Writes the log to standard error."""
