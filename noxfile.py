"""What a contributor runs and CI runs alike; ``nox --list`` shows it.

``nox`` alone is what a change has to pass.  Each session has an environment of its own under
``.nox``, which is kept: ``nox -R -s types`` does not even look whether it is up to date.  What
stands after ``--`` goes to the program that the session runs: ``nox -s tests -- tests/ciphers -x``.
"""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests"]

SHARED = ["-n", "auto", "--dist", "loadfile"]  # shared out to all cores, as in the README
PLUGINS = sorted(str(path.parent) for path in Path("plugins").glob("*/pyproject.toml"))
WORKFLOWS = sorted(map(str, Path(".github/workflows").iterdir()))


def _install(session: nox.Session, extras: str, *more: str) -> None:
    """Install cipherecho with `extras` and all plugins here, so that changes count at once."""
    plugins = [argument for plugin in PLUGINS for argument in ("-e", plugin)]
    # A test installs a package, for which uv makes no pip.
    session.install("-e", f".[{extras}]", *plugins, "pip", *more)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for slips, in seconds: style, imports, spelling, dead code, the workflow."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo")
    session.run("typos")
    session.run("vulture")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of everything that is Python here."""
    _install(session, "lint,tests", "nox")  # for this file
    session.run("mypy")
    for plugin in PLUGINS:  # each has its own conftest.py, and other modules with equal names
        session.run("mypy", f"{plugin}/tests")
    with session.chdir("benchmarks"):  # whose modules import each other as scripts do
        session.run("mypy", "--config-file=../pyproject.toml", "--cache-dir=../.mypy_cache", ".")


@nox.session
def windows(session: nox.Session) -> None:
    """Check types as on Windows: what it lacks is behind a look at the platform."""
    _install(session, "lint,tests")
    session.run("mypy", "--platform", "win32", "src", "plugins/cipherecho-classical/src")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests as the README does, or those that are named after `--`."""
    _install(session, "tests")
    session.run("pytest", *SHARED, *session.posargs)


@nox.session
def system(session: nox.Session) -> None:
    """Run the tests that start other programs: HAProxy, systemd, containers and their like."""
    _install(session, "tests")
    session.run("pytest", *SHARED, "tests/system", *session.posargs)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of each dependency that pyproject.toml admits."""
    _install(session, "tests", "--resolution", "lowest-direct")
    session.run("pytest", *SHARED, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure which branches the tests take; fewer than pyproject.toml asks for is a failure."""
    _install(session, "tests", "coverage>=7.10")
    # What these happen to reach is not tested by them.
    others = ["--ignore=tests/docs", "--ignore=tests/fuzz", "--ignore=tests/system"]
    # A process in the sandbox, or out of disk, can't write down what it has reached, and to note
    # it takes memory.
    others += ["-k", "not (sandbox or takes_part or no_more_memory or is_not_copied)"]
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *SHARED, *others, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def anomalies(session: nox.Session) -> None:
    """Make every step of what is done for clients fail; the tests do some of that."""
    _install(session, "tests")
    session.run("python", "-m", "tests.system.anomalies", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/docs; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "docs", "build/docs")


@nox.session
def packaging(session: nox.Session) -> None:
    """Build what would be published, and start it where nothing else is installed."""
    session.install("build[uv]>=1.2", "twine>=6.1")
    built = Path(session.create_tmp(), "dist")
    rmtree(built, ignore_errors=True)
    for project in [".", *PLUGINS]:
        session.run("python", "-m", "build", "--installer", "uv", "--outdir", str(built), project)
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))
    session.install("--force-reinstall", *map(str, built.glob("*.whl")))
    session.run("cipherecho", "check", "rot13")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Run the benchmark in little, which tells that it works and that every reply is right."""
    little = ["--quick", "--text-mb", "10", "--peers", "epoll,cipherecho-wasm"]
    output = ["--output", session.create_tmp()]
    session.run("python3", "benchmarks/run.py", *little, *output, *session.posargs, external=True)
