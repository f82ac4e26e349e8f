"""The process on its machine: signals, log, sandbox, metrics."""
