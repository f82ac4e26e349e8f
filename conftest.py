"""What all tests have in common, those of the plugins and the examples in docstrings included."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import settings

# A busy machine may take any time for one example. Each run tries others, so that a few are
# enough for one, and --thorough tries many.
settings.register_profile("patient", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=300)
settings.load_profile("patient")

# Python itself ignores these, and gives its children the default.
_PYTHONS_OWN = {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ")}


# What waits longest, for other programs or for a time to pass, comes first where several
# processes share the tests out: at the end, nothing would be left to do meanwhile.
_FIRST = ("tests/system", "tests/docs", "tests/fuzz", "tests/cli", "plugins/cipherecho-wasm")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have an option for the run that may take long."""
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run also what is marked so, and try more of what is up to chance",
    )


@pytest.fixture(scope="session")
def thorough(pytestconfig: pytest.Config) -> bool:
    """Whether a test may take long, and is to find what is rare."""
    return bool(pytestconfig.getoption("--thorough"))


def pytest_configure(config: pytest.Config) -> None:
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

    if config.getoption("--thorough"):
        settings.load_profile("thorough")
    if hasattr(config.option, "loadscopereorder"):  # which has files of few tests come last
        config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes share the tests out: three for two processors.

    A third of the time that tests take is waiting.
    """
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return processors + (processors + 1) // 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, and refuse a name that another process would not give a test.

    Several processes share the tests out by their names.
    """
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: this has an address in it; give it an id")
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_FIRST))
