"""What the figures depend on: the machine, the system, and the versions of everything.

No names of hosts, users or folders.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from prepare import CHECKOUT, Tools

_PYTHON_VERSIONS = """
import importlib.metadata, platform, ssl
print("python", platform.python_implementation(), platform.python_version())
print("openssl", *ssl.OPENSSL_VERSION.split()[1:2])
for name in ("cipherecho", "trio", "uvloop", "matplotlib"):
    print(name, importlib.metadata.version(name))
"""


def description(tools: Tools) -> dict[str, str | int]:
    """Return facts by name, as they go into the JSON."""
    facts: dict[str, str | int] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "system": f"{platform.system()} {platform.release()}",
        "c_library": " ".join(platform.libc_ver()),
    }
    for line in _first_lines(str(tools.python), "-c", _PYTHON_VERSIONS):
        name, _, version = line.partition(" ")
        facts[name] = version
    commit = _first_lines("git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "HEAD")
    if commit:
        changed = _first_lines("git", "-C", str(CHECKOUT), "status", "--porcelain", "src")
        facts["commit"] = commit[0] + (", and changes to src" if changed else "")
    for name, command in {
        "cc": ["cc", "--version"],
        "go": ["go", "version"],
        "ncat": ["ncat", "--version"],
        "socat": ["socat", "-V"],
        "tr": ["tr", "--version"],
    }.items():
        lines = [line for line in _first_lines(*command) if re.search(r"\d\.\d", line)]
        if lines:
            facts[name] = lines[0]
    return facts


def _processor() -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return model[1] if model else platform.machine()


def _first_lines(*command: str) -> list[str]:
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(  # noqa: S603
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.splitlines()[:20] if done.returncode == 0 else []
