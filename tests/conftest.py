"""What drives connections: a test that asks for it runs with each driver."""

from __future__ import annotations

import pytest

from cipherecho.connections.express_lane import has_express_lane

_NO_LANE = pytest.mark.skipif(not has_express_lane(), reason="the express lane needs epoll")


@pytest.fixture(params=["task", pytest.param("lane", marks=_NO_LANE)])
def driver(request: pytest.FixtureRequest) -> str:
    """What drives connections: ``task``, a task for each, or ``lane``, one for all."""
    return str(request.param)


@pytest.fixture
def express(driver: str) -> bool:
    """Whether there is an express lane, as `serve` takes it."""
    return driver == "lane"
