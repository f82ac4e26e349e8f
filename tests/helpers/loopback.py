"""Addresses of this machine that nobody else uses, for servers whose ports are written down."""

from __future__ import annotations

import random
import sys

import pytest

__all__ = ["own_network"]


def own_network() -> str:
    """Return the first three numbers of 254 addresses that nobody else listens at: ``127.9.8``.

    Linux has all of 127.0.0.0/8, so that a fixed port is free there, whatever else runs.
    """
    if sys.platform != "linux":
        pytest.skip("this machine has only one loopback address; this test needs several")
    # Not from what pytest seeds: tests that run at the same time must differ.
    pick = random.SystemRandom()
    return f"127.{pick.randint(1, 254)}.{pick.randint(1, 254)}"
