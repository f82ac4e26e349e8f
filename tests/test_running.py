"""Programs are tested as a user starts them, however the tests were started."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from tests.helpers.running import run_shell

HERE = Path(__file__)

SHOW = """
import signal
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print([signal.getsignal(one) for one in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_program_begins_with_no_signal_ignored_or_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True)
    default = "<Handlers.SIG_DFL: 0>"
    assert done.stdout.decode().splitlines() == [
        "True",
        f"[{default}, {default}, {default}]",
        "set()",
    ]


def test_the_same_in_a_background_job_and_below_nohup() -> None:
    test = f"{HERE}::{test_a_program_begins_with_no_signal_ignored_or_blocked.__name__}"
    python = shlex.quote(sys.executable)
    ended = run_shell(
        f"trap '' INT QUIT HUP; exec {python} -m pytest -q -p no:cacheprovider {shlex.quote(test)}",
        cwd=HERE.parent.parent,
    )
    assert ended.status == 0, ended.stdout.decode()
