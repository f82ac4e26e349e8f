"""The dashboard and the alert rules know what a server tells, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cipherecho.connections.buffers import Buffers
from cipherecho.connections.counters import Counters, Ended, Refused
from cipherecho.host.metrics import Metrics, Watched
from cipherecho.session import Closed
from tests.helpers.running import PATIENCE, tool

MONITORING = Path(__file__).parents[2] / "examples" / "monitoring"
ALERTS = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))

# What Prometheus adds to all that it reads.
ADDED_LABELS = {"instance", "job"}


def expressions(node: Any = DASHBOARD) -> Iterator[str]:
    """Yield the queries of the dashboard, as Prometheus would get them."""
    if isinstance(node, list):
        for one in node:
            yield from expressions(one)
    elif isinstance(node, dict):
        if "expr" in node:
            yield node["expr"].replace("$__rate_interval", "1m")
        for one in node.values():
            yield from expressions(one)


def told() -> tuple[set[str], set[str]]:
    """Return the names of the metrics of a real exposition, and of their labels."""

    def failed(fault: Exception) -> None:
        pytest.fail(repr(fault))

    counters = Counters()
    counters.refused[Refused.FULL] = counters.closed[Ended.IDLE] = 1
    watched = {"main": Watched(counters, lambda: 1.8e9)}
    text, _ = Metrics(watched, lambda: True, failed, buffers=Buffers()).exposition()
    samples = [
        sample
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
    return {sample.name for sample in samples}, {key for one in samples for key in one.labels}


USED = {"dashboard": " ".join(expressions()), "alerts": ALERTS}


@pytest.mark.parametrize("use", USED)
def test_every_metric_that_is_used_is_told(use: str) -> None:
    used = set(re.findall(r"\b(?:cipherecho|process)_\w+", USED[use]))
    assert len(used) >= 8
    assert not used - told()[0]


def test_every_metric_of_a_server_is_shown() -> None:
    ours = {name for name in told()[0] if name.startswith("cipherecho_")}
    assert not {name for name in ours if name not in USED["dashboard"]}


@pytest.mark.parametrize("use", USED)
def test_every_label_that_is_used_is_told(use: str) -> None:
    groups = re.findall(r"\bby \(([^)]*)\)", USED[use])
    matchers = re.findall(r"\b(\w+)=~?\"", USED[use])
    used = {label for group in groups for label in group.split(", ")} | set(matchers)
    assert {"instance", "listener", "job"} <= used
    assert not used - told()[1] - ADDED_LABELS


def test_alerts_know_the_reasons_by_which_connections_end() -> None:
    assert set(re.findall(r'reason="([^"]*)"', ALERTS)) == {Closed.CIPHER_FAILED, "internal error"}


def test_every_alert_has_an_example() -> None:
    names = re.findall(r"- alert: (\w+)", ALERTS)
    examples = (MONITORING / "alerts_test.yml").read_text(encoding="utf-8")
    assert Counter(names) == Counter(re.findall(r'alertname="(\w+)"', examples))


def promtool(*arguments: str, cwd: Path = MONITORING) -> str:
    """Return what promtool has to say, if it does not complain."""
    done = subprocess.run(
        [tool("promtool"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    rules = len(re.findall(r"- alert:", ALERTS))
    assert f"SUCCESS: {rules} rules found" in promtool("check", "config", "prometheus.yml")


def test_the_alerts_do_what_their_examples_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_prometheus_understands_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"n{n}", "expr": expr} for n, expr in enumerate(expressions())]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    # JSON is YAML too.
    (tmp_path / "rules.yml").write_text(json.dumps(groups), encoding="utf-8")
    found = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert f"SUCCESS: {len(rules)} rules found" in found


# What Grafana would import as it is, and show badly.


def test_the_dashboard_can_be_used_with_any_prometheus() -> None:
    [source, *others] = DASHBOARD["templating"]["list"]
    assert (source["type"], source["name"]) == ("datasource", "datasource")
    expected = {"type": "prometheus", "uid": "${datasource}"}
    parts = [*others, *DASHBOARD["annotations"]["list"], *DASHBOARD["panels"]]
    parts += [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    assert [part for part in parts if part["datasource"] != expected] == []


def test_variables_of_the_dashboard_are_defined() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__all", "__rate_interval"}
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = Counter(
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    )
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) == 23  # Grafana has 24 columns


def test_every_panel_says_what_it_shows() -> None:
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
