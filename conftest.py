"""What all tests have in common, those of the plugins and the examples in docstrings included."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import pytest
from hypothesis import settings

# A busy machine may take any time for one example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# Where other runs have tried more: --hypothesis-profile=brief
settings.register_profile("brief", deadline=None, max_examples=20)

# Python itself ignores these, and gives its children the default.
_PYTHONS_OWN = {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ")}


def pytest_configure() -> None:
    """Start programs under test as a shell does: no signal is ignored, and bytecode is kept.

    A shell has its background jobs ignore SIGINT, and `nohup` SIGHUP.  The tests send such
    signals to the programs that they start.  For pytest itself nothing changes.
    """
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            # Handlers are not inherited, and this one does as little.
            signal.signal(number, lambda number, frame: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    # Each of the hundreds of programs under test would compile all of its modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuse a name of a test that another process would not give it.

    Several processes share the tests out by their names.
    """
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: this has an address in it; give it an id")
