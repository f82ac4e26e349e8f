"""What a contributor runs and CI runs alike; ``nox --list`` shows it.

``nox`` alone is what a change has to pass.  Each session has an environment of its own under
``.nox``, which is kept: ``nox -R -s types`` does not even look whether it is up to date.  What
stands after ``--`` goes to the program that the session runs: ``nox -s tests -- tests/ciphers -x``.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PLUGINS = sorted(str(path.parent) for path in Path("plugins").glob("*/pyproject.toml"))
WORKFLOWS = sorted(map(str, Path(".github/workflows").iterdir()))


def _install(session: nox.Session, extras: str, *more: str) -> None:
    """Install cipherecho with `extras` and all plugins here, so that changes count at once."""
    plugins = [argument for plugin in PLUGINS for argument in ("-e", plugin)]
    session.install("-e", f".[{extras}]", *plugins, *more)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for slips, in seconds: style, imports, spelling, dead code, the workflow."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("typos")
    session.run("vulture")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of everything that is Python here."""
    _install(session, "lint,tests")
    session.run("mypy")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests as the README does, or those that are named after `--`."""
    _install(session, "tests")
    session.run("pytest", "-n", "auto", "--dist", "loadfile", *session.posargs)
