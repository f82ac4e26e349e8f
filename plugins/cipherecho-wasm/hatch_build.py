"""Sets the long description as the checkout does for all of its packages.

A source distribution has no checkout around it; there, hatchling takes what PKG-INFO has.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LongDescription(MetadataHookInterface):
    """Sets the long description of this package."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it, in what becomes the metadata of the package."""
        hook = runpy.run_path(str(Path(self.root).parents[1] / "hatch_build.py"))
        metadata["readme"] = hook["long_description"](Path(self.root))
