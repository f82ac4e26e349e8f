"""Fuzz what takes bytes or text from others, for as long as you like, guided by coverage.

::

    pip install atheris
    python tests/fuzz/fuzz.py proxy --seconds 60

The targets are those of fuzz_targets.py.  A finding ends it with a status that is not 0,
and is written to a file, with which ``--replay FILE`` shows it again, also without atheris.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

# As a script, this file is in no package.
ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

NAMES = ["session", "specification", "proxy", "endpoint"]

# Longer inputs are slower, and every rule has its cases in shorter ones; the longest header
# and the longest line have tests of their own.
LONGEST_INPUT = 400

# In seconds. An input that takes so long is a finding: the others take a millisecond.
LONGEST_RUN = 10


def main() -> None:
    """Fuzz or replay, as the arguments say."""
    parser = argparse.ArgumentParser(description="Fuzz what takes bytes or text from others.")
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--corpus", type=Path, help="where inputs that reach something new stay")
    parser.add_argument("--findings", type=Path, default=Path(), help="where findings are written")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="check this one input")
    arguments = parser.parse_args()
    if arguments.replay:
        replay(arguments.target, arguments.replay.read_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        corpus = arguments.corpus or Path(temporary)
        # libFuzzer ends its process, and would leave the directory behind.
        child = os.fork()
        if not child:
            fuzz(arguments.target, arguments.seconds, corpus, arguments.findings)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def replay(name: str, data: bytes) -> None:
    """Check one input, and say that it passed, or let what is wrong be raised."""
    from tests.fuzz.fuzz_targets import TARGETS

    TARGETS[name].check(data)
    print(f"{data!r} passed")


def fuzz(name: str, seconds: int, corpus: Path, findings: Path) -> None:
    """Fuzz a target; ends the process, with a status that is not 0 after a finding."""
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit(
            "fuzz.py needs atheris, which has wheels for CPython up to 3.14 on x86-64 Linux: "
            "pip install atheris"
        )
    # What is imported in here says which branches are taken, also those of what makes an
    # input of bytes, so that each form of input is kept.
    with atheris.instrument_imports(include=["cipherecho", "tests.fuzz.fuzz_targets"]):
        from tests.fuzz.fuzz_targets import TARGETS

    target = TARGETS[name]
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / digest(seed)).write_bytes(seed)

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            file = findings / f"crash-{digest(data)}"  # as libFuzzer names it
            print(f"\nfinding: {data!r}", file=sys.stderr)
            print(f"again: python tests/fuzz/fuzz.py {name} --replay {file}", file=sys.stderr)
            raise

    options = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT,
        "timeout": LONGEST_RUN,
        "artifact_prefix": f"{findings}/",
        "print_final_stats": 1,
    }
    flags = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], check)
    atheris.Fuzz()


def digest(data: bytes) -> str:
    """Return what libFuzzer names an input after."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    main()
