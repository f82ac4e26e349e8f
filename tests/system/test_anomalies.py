"""What anomalies.py does whole, in little: some steps of each scenario fail, and nothing else does.

python3 -m tests.system.anomalies                  has them all fail
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from cipherecho.server.welcome import Welcome
from tests.helpers.certificates import Authority
from tests.system.anomalies import ERRORS, SCENARIOS, Scenario, at_once, play

SAMPLE = 2


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    authority = Authority.at(tmp_path_factory.mktemp("ca"))
    authority.write_server()
    with at_once():
        yield authority


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_a_step_that_fails_costs_one_client(
    scenario: Scenario, express: bool, authority: Authority
) -> None:
    steps = play(scenario, authority, None, ERRORS[0], express=express)
    assert steps
    for number, step in enumerate(Random(scenario.name).sample(steps, SAMPLE)):  # noqa: S311
        error = ERRORS[number % len(ERRORS)]
        try:
            play(scenario, authority, step, error, express=express)
        except BaseException as failure:
            failure.add_note(f"{error()!r} at {step}")
            raise


def test_without_the_boundary_it_is_noticed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_through(welcome: Welcome, client: object, fault: BaseException) -> None:
        raise fault

    monkeypatch.setattr(Welcome, "_fail", let_through)
    [scenario] = [one for one in SCENARIOS if one.name == "TLS"]
    steps = play(scenario, authority, None, ERRORS[0], express=False)
    step = next(step for step in steps if "peer_subject" in step[0])
    with pytest.raises((AssertionError, OSError, BaseExceptionGroup)):
        play(scenario, authority, step, ERRORS[0], express=False)
