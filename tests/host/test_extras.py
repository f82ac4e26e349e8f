"""Packages that are installed only if somebody asks for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cipherecho
from cipherecho.host.extras import require
from tests.helpers.running import PATIENCE


def test_what_is_installed_is_found_and_not_imported() -> None:
    code = """
import sys
from cipherecho.host.extras import require
require("metrics")
sys.exit("h11" in sys.modules)
"""
    assert (
        subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False).returncode == 0
    )
    require("metrics")


def test_what_is_not_installed_is_named_with_what_to_do() -> None:
    # With -S there are the standard library, and what the path is given here.
    code = f"""
import sys
sys.path.append({str(Path(cipherecho.__file__).parent.parent)!r})
from cipherecho.host.extras import ExtraMissingError, require
try:
    require("metrics")
except ExtraMissingError as error:
    print(error.extra, error.missing, error, sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "metrics",
        "h11",
        "the package h11 is not installed, which metrics need; "
        "install what is missing: pip install h11 prometheus-client",
    ]
