"""Parts that need packages which are installed only if somebody asks for them."""

from __future__ import annotations

from importlib.util import find_spec

from cipherecho.errors import CipherechoError

__all__ = ["ExtraMissingError", "require"]

# As they are imported, and as pip knows them.
_PACKAGES = {"metrics": {"h11": "h11", "prometheus_client": "prometheus-client"}}


class ExtraMissingError(CipherechoError):
    """A part was asked for, and a package that it needs is not installed.

    `extra` is what pip knows the part by, and `missing` is the package.
    """

    def __init__(self, extra: str, missing: str) -> None:
        self.extra = extra
        self.missing = missing
        # Not the extra of cipherecho, which may have come from a checkout that pip can't find.
        packages = " ".join(_PACKAGES[extra].values())
        super().__init__(
            f"the package {missing} is not installed, which {extra} need; "
            f"install what is missing: pip install {packages}"
        )


def require(extra: str) -> None:
    """Find the packages of an extra, and import none of them.

    Raises:
      ExtraMissingError: one of them is not installed.
    """
    for package in _PACKAGES[extra]:
        if find_spec(package) is None:
            raise ExtraMissingError(extra, package)
