"""The manifests for Kubernetes: valid by its schemas, and in agreement with each other.

No cluster runs here.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cipherecho.cli.configuration.option_types import SizeType
from cipherecho.settings.endpoint import TcpEndpoint, parse_endpoint
from tests.helpers.certificates import Authority
from tests.helpers.running import run

EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy"
KUBERNETES = EXAMPLES / "kubernetes"
CONFIGURATION = KUBERNETES / "cipherecho.toml"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))

# The oldest of the versions that are looked after, and a newer one.
VERSIONS = ["1.29", "1.34"]


def manifest(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


KUSTOMIZATION = manifest("kustomization")
DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
SETTINGS = tomllib.loads(CONFIGURATION.read_text())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KUSTOMIZATION["resources"])
def test_a_manifest_is_valid(name: str, version: str) -> None:
    document = manifest(name.removesuffix(".yaml"))
    kubernetes_validate.validate(document, version, strict=True)


def test_all_files_are_applied() -> None:
    (configuration,) = KUSTOMIZATION["configMapGenerator"]
    named = {*KUSTOMIZATION["resources"], *configuration["files"], "kustomization.yaml"}
    assert named == {path.name for path in KUBERNETES.iterdir()}


def test_the_configuration_is_right(tmp_path: Path) -> None:
    certificate, key = Authority.at(tmp_path).write_server("tls")
    mounted = mounts()["tls"]
    text = CONFIGURATION.read_text()
    for name, file in (("tls.crt", certificate), ("tls.key", key)):
        assert f"{mounted}/{name}" in text
        text = text.replace(f"{mounted}/{name}", str(file))
    (tmp_path / CONFIGURATION.name).write_text(text)
    ended = run("--check-config", "--config", tmp_path / CONFIGURATION.name)
    assert ended.status == 0, ended.stderr


def mounts() -> dict[str, str]:
    """Return where each volume is, by its name."""
    assert all(mount["readOnly"] for mount in CONTAINER["volumeMounts"])
    return {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}


def test_what_is_mounted_is_there() -> None:
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    assert volumes.keys() == mounts().keys()
    (configuration,) = KUSTOMIZATION["configMapGenerator"]
    assert volumes["configuration"]["configMap"]["name"] == configuration["name"]
    path = f"{mounts()['configuration']}/{CONFIGURATION.name}"
    assert CONTAINER["args"] == ["--config", path]


def test_the_ports_are_those_of_the_configuration() -> None:
    (listener,) = SETTINGS["listener"]
    endpoints = {
        name: parse_endpoint(url)
        for name, url in {"lines": listener["url"], "metrics": SETTINGS["metrics"]}.items()
    }
    for name, endpoint in endpoints.items():
        assert isinstance(endpoint, TcpEndpoint)
        assert (endpoint.host, endpoint.port) == ("0.0.0.0", PORTS[name])  # noqa: S104
    assert PORTS.keys() == endpoints.keys()
    assert [port["targetPort"] for port in manifest("service")["spec"]["ports"]] == ["lines"]
    policy = manifest("network-policy")["spec"]
    allowed = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert sorted(allowed) == sorted(PORTS)
    assert policy["egress"] == []


def test_probes_ask_what_they_are_for() -> None:
    asked = {kind: CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness")}
    assert asked == {
        "liveness": {"path": "/livez", "port": "metrics"},
        "readiness": {"path": "/readyz", "port": "metrics"},
    }


def test_there_is_time_to_drain_and_to_end() -> None:
    probe = CONTAINER["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < SETTINGS["drain-delay"]
    needed = SETTINGS["drain-delay"] + SETTINGS["grace"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > needed


def test_there_is_memory_for_all_that_strangers_can_do() -> None:
    """By the formula of the guide, which has a third more than was measured."""
    guide = (EXAMPLES.parent.parent / "docs" / "how-to" / "limits.md").read_text(encoding="utf-8")
    formula = r"> (\d+) MiB \+ `--max-buffered` \+ `--max-connections` . \d+ KiB, or . (\d+) KiB"
    found = re.search(formula, guide)
    assert found is not None
    base, each = map(int, found.groups())
    buffered = SizeType().convert(SETTINGS["max-buffered"], None, None) / 1024**2
    needed = base + buffered + SETTINGS["max-connections"] * each / 1024
    resources = CONTAINER["resources"]
    assert int(resources["limits"]["memory"].removesuffix("Mi")) >= 4 / 3 * needed
    assert f"{base} MiB" in (KUBERNETES / "deployment.yaml").read_text()
    assert f"{each} KiB" in (KUBERNETES / "deployment.yaml").read_text()


def test_everything_means_the_same_pods() -> None:
    labels = POD["metadata"]["labels"]
    (spread,) = POD["spec"]["topologySpreadConstraints"]
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
        manifest("service")["spec"]["selector"],
        manifest("disruption-budget")["spec"]["selector"]["matchLabels"],
        manifest("network-policy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    target = manifest("autoscaler")["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": DEPLOYMENT["apiVersion"],
        "kind": DEPLOYMENT["kind"],
        "name": DEPLOYMENT["metadata"]["name"],
    }
    assert "replicas" not in DEPLOYMENT["spec"]


def test_a_pod_may_do_no_more_than_it_has_to() -> None:
    pod, container = POD["spec"]["securityContext"], CONTAINER["securityContext"]
    (user,) = re.findall(
        r"^USER (.*)$", (EXAMPLES / "container" / "Containerfile").read_text(), re.M
    )
    assert pod["runAsNonRoot"]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["automountServiceAccountToken"] is False


def test_the_variables_of_the_service_are_not_taken_for_options() -> None:
    assert POD["spec"]["enableServiceLinks"] is False
