"""The log on standard error."""
