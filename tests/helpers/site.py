"""Directories on the import path, with distributions that are really installed there."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Site"]


class Site:
    """A directory on the import path, into which distributions are installed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(
        self, package: str, ciphers: Mapping[str, str], *, version: str = "1.0", **modules: str
    ) -> Path:
        """Install `package` with entry points and the source of modules.

        Returns its dist-info directory.
        """
        for name, source in modules.items():
            (self.path / f"{name}.py").write_text(source)
        info = self.path / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        points = "".join(f"{name} = {value}\n" for name, value in ciphers.items())
        (info / "entry_points.txt").write_text(f"[cipherecho.ciphers]\n{points}")
        importlib.invalidate_caches()
        return info

    def leave_behind(self, name: str) -> Path:
        """Make an empty dist-info directory, as a half-done uninstall leaves it."""
        info = self.path / f"{name}.dist-info"
        info.mkdir()
        importlib.invalidate_caches()
        return info
