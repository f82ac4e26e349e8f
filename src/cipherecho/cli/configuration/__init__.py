"""Command line, environment and settings file, joined into one configuration."""
