"""Checks that the packages of an optional part are installed."""

from __future__ import annotations

from importlib.util import find_spec

from cipherecho.errors import CipherechoError

__all__ = ["ExtraMissingError", "require"]

# Each extra's packages: the name to import, and the name for pip.
_PACKAGES = {"metrics": {"h11": "h11", "prometheus_client": "prometheus-client"}}


class ExtraMissingError(CipherechoError):
    """A package is not installed that an optional part needs.

    `extra` is the part's name for pip, and `missing` is the package.
    """

    def __init__(self, extra: str, missing: str) -> None:
        self.extra = extra
        self.missing = missing
        # Not "pip install cipherecho[…]": cipherecho may come from a checkout that pip can't find.
        packages = " ".join(_PACKAGES[extra].values())
        super().__init__(
            f"the package {missing} is not installed, which {extra} need; "
            f"install what is missing: pip install {packages}"
        )


def require(extra: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Raises:
      ExtraMissingError: one of them is not installed.
    """
    for package in _PACKAGES[extra]:
        if find_spec(package) is None:
            raise ExtraMissingError(extra, package)
