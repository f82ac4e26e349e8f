"""Set-up: a virtual environment, the project in it, and the compiled programs.

All of it is kept beside this file, is ignored by Git, and is made again only when what it is made
from has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
BUILD = HERE / "build"

PACKAGES = ("uvloop", "matplotlib")
PROJECT = f"{CHECKOUT}[metrics]"
WASM_PLUGIN = CHECKOUT / "plugins" / "cipherecho-wasm"
PROFILER = "py-spy"


class SetupError(Exception):
    """Something that is needed is not there; the message says what, and what to do."""


@dataclass(frozen=True)
class Tools:
    """What the measurements run.

    Attributes:
      python: the interpreter of the virtual environment, with everything installed.
      cipherecho: the command, as a user would have it.
      py_spy: the profiler; it may not be installed.
      load: the load generator.
      tls_load: the same over TLS; None where there is no OpenSSL.
      certificate: what every server shows, on P-256 and signed by itself, if there is `tls_load`.
      key: the key of that.
      epoll: the peer in C.
      go_peer: the peer in Go; None where there is no Go.
    """

    python: Path
    cipherecho: Path
    py_spy: Path
    load: Path
    tls_load: Path | None
    certificate: Path
    key: Path
    epoll: Path
    go_peer: Path | None


def prepare(python: str, *, profiler: bool) -> Tools:
    """Make what is missing.

    Raises:
      SetupError: the interpreter, a compiler or a package can't be had.
    """
    if sys.platform != "linux":
        raise SetupError(f"got {sys.platform}, expected Linux, whose /proc the figures come from")
    version = _output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    environment = HERE / f".venv-{version}"
    if not (environment / "bin" / "python").exists():
        _say(f"making a virtual environment for Python {version}")
        _run([python, "-m", "venv", environment])
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    pip.append("--disable-pip-version-check")
    sources = [CHECKOUT / "pyproject.toml", *(CHECKOUT / "src").rglob("*.py")]
    sources += [WASM_PLUGIN / "pyproject.toml", *(WASM_PLUGIN / "src").rglob("*.[pw][ya]*")]
    if _has_changed(environment / "installed", sources, [*PACKAGES, PROJECT]):
        _say(f"installing the project and {' and '.join(PACKAGES)}")
        _run([*pip, *PACKAGES])
        _run([*pip, PROJECT, WASM_PLUGIN])  # their dependencies too
        # The version may be the same.
        _run([*pip, "--force-reinstall", "--no-deps", CHECKOUT, WASM_PLUGIN])
        _remember(environment / "installed", sources, [*PACKAGES, PROJECT])
    if profiler and not (environment / "bin" / PROFILER).exists():
        _say(f"installing {PROFILER}")
        _run([*pip, PROFILER])
    certificate, key = BUILD / "certificate.pem", BUILD / "key.pem"
    return Tools(
        python=environment / "bin" / "python",
        cipherecho=environment / "bin" / "cipherecho",
        py_spy=environment / "bin" / PROFILER,
        load=_compiled("load", HERE / "load.c"),
        tls_load=_tls_load(certificate, key),
        certificate=certificate,
        key=key,
        epoll=_compiled("epoll", HERE / "peers" / "epoll.c"),
        go_peer=_go_peer(),
    )


def revision(python: str, commit: str) -> Path:
    """Return the command of an earlier commit, installed in an environment of its own.

    Raises:
      SetupError: there is no such commit, or it can't be installed.
    """
    name = _output(["git", "-C", str(CHECKOUT), "rev-parse", "--short", f"{commit}^{{commit}}"])
    folder = BUILD / f"commit-{name}"
    environment = folder / "environment"
    if not (folder / "installed").exists():
        _say(f"installing commit {name}")
        source = folder / "source"
        shutil.rmtree(folder, ignore_errors=True)
        source.mkdir(parents=True)
        archive = folder / "source.tar"
        _run(["git", "-C", CHECKOUT, "archive", "--output", archive, name])
        shutil.unpack_archive(archive, source)
        _run([python, "-m", "venv", environment])
        _run([environment / "bin" / "python", "-m", "pip", "install", "-q", f"{source}[metrics]"])
        (folder / "installed").touch()
    return environment / "bin" / "cipherecho"


def _compiled(name: str, source: Path, *options: str) -> Path:
    program = BUILD / name
    if _has_changed(BUILD / f"{name}.made", [source], options) or not program.exists():
        _say(f"compiling {' '.join([str(source.relative_to(HERE)), *options])}")
        BUILD.mkdir(exist_ok=True)
        _run([_compiler(), "-O2", "-o", program, source, *options])
        _remember(BUILD / f"{name}.made", [source], options)
    return program


def _compiler() -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        raise SetupError("there is no C compiler (cc): install one, such as the package gcc")
    return compiler


def _tls_load(certificate: Path, key: Path) -> Path | None:
    """Return the load that speaks TLS, and make a certificate; None where that can't be done."""
    openssl = shutil.which("openssl")
    if openssl is None or not _has_header("openssl/ssl.h"):
        _say(
            "there is no OpenSSL here, or not all of it: the rows of TLS are left out; "
            "for them, install the packages openssl and libssl-dev"
        )
        return None
    load = _compiled("load-tls", HERE / "load.c", "-DTLS", "-lssl", "-lcrypto")
    if not (certificate.exists() and key.exists()):
        _say("making a certificate")
        command: list[str | Path] = [openssl, "req", "-x509", "-days", "3650", "-nodes"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
        _run(command)
    return load


def _has_header(name: str) -> bool:
    command = [_compiler(), "-E", "-include", name, "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def _go_peer() -> Path | None:
    go = shutil.which("go")
    if go is None:
        _say("there is no Go here: its rows are left out")
        return None
    program = BUILD / "go-peer"
    folder = HERE / "peers" / "go"
    sources = [folder / "main.go", folder / "go.mod"]
    if _has_changed(BUILD / "go-peer.made", sources) or not program.exists():
        _say("compiling peers/go")
        try:
            _run([go, "build", "-o", program, "."], folder)
        except SetupError as error:
            _say(f"{error}\nthe rows of Go are left out")
            return None
        _remember(BUILD / "go-peer.made", sources)
    return program


def _digest(sources: Iterable[Path], more: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(more).encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _has_changed(stamp: Path, sources: Iterable[Path], more: Sequence[str] = ()) -> bool:
    return not stamp.exists() or stamp.read_text() != _digest(sources, more)


def _remember(stamp: Path, sources: Iterable[Path], more: Sequence[str] = ()) -> None:
    stamp.write_text(_digest(sources, more))


def _run(command: Sequence[str | Path], folder: Path | None = None) -> None:
    parts = [str(part) for part in command]
    # What is installed must not depend on what the caller's own environment has.
    surroundings = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(  # noqa: S603
        parts, cwd=folder, env=surroundings, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SetupError(f"{' '.join(parts)} failed:\n{done.stdout}{done.stderr}".rstrip())


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603
            command, text=True, capture_output=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"{' '.join(command)} failed: {error}") from error


def _say(words: str) -> None:
    print(f"set-up: {words}", file=sys.stderr, flush=True)
