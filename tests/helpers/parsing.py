"""What has to hold of every text that is parsed."""

from __future__ import annotations

from cipherecho.ciphers.specification import SpecificationError, parse
from cipherecho.settings.endpoint import EndpointError, parse_endpoint

__all__ = ["SCHEMES", "check_endpoint", "check_specification"]

SCHEMES = (
    "tcp://",
    "tls://",
    "unix:///",
    "tls+unix:///",
    "fd://",
    "tls+fd://",
    "vsock://",
    "tls+vsock://",
)


def check_specification(text: str) -> None:
    """Check that a text is refused, or that what it is parsed to is shown as text for it."""
    try:
        specification = parse(text)
    except SpecificationError:
        return
    assert parse(str(specification)) == specification


def check_endpoint(text: str) -> None:
    """Check that a text is refused, or that the endpoint it is parsed to is shown right."""
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    shown = str(endpoint)
    assert parse_endpoint(shown) == endpoint
    # With its scheme, whatever was left out: it is what clients are told.
    assert shown.startswith(SCHEMES)
