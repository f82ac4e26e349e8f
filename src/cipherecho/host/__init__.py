"""The server's process: signals, log, sandbox, metrics."""
