"""The abuse of ``python -m tests.system.abuse``, in short."""

from __future__ import annotations

import pytest

from cipherecho.connections.express_lane import has_express_lane
from tests.system.abuse import abuse


@pytest.mark.skipif(not has_express_lane(), reason="/proc is looked at, which Linux has")
def test_clients_who_behave_do_not_notice_those_who_do_not(express: bool) -> None:
    report = abuse(3, 1, express=express)
    assert report.faults == []
