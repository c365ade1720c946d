"""deploy/kustomize: what Pod Security "restricted" asks of every pod, and that the base renders."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

BASE = Path(__file__).parents[3] / "deploy" / "kustomize" / "base"
ROLES = ["bridge", "journey", "normalise", "notify", "rollup"]


def objects() -> list[dict[str, Any]]:
    listed = YAML(typ="safe").load(BASE / "kustomization.yaml")["resources"]
    return [document for name in listed for document in YAML(typ="safe").load_all(BASE / name)]


def pods() -> dict[str, dict[str, Any]]:
    return {
        o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in objects() if o["kind"] in ("Deployment", "Job")
    }


def test_one_deployment_and_one_disruption_budget_a_role() -> None:
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert sorted(o["metadata"]["name"] for o in objects() if o["kind"] == kind) == [
            f"stagepost-{r}" for r in ROLES
        ]


@pytest.mark.parametrize("name", sorted(pods()))
def test_every_pod_is_restricted(name: str) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]


def test_only_the_poll_loop_decides_about_a_restart() -> None:
    for name, pod in pods().items():
        if name != "stagepost-topics":
            (container,) = pod["containers"]
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_every_object_follows_the_kubernetes_schema() -> None:
    for document in objects():
        kubernetes_validate.validate(document, desired_version="1.37", strict=True)


def test_kubectl_renders_the_base() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; the other tests read the files themselves")
    done = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rendered = list(YAML(typ="safe").load_all(done.stdout))
    assert sorted(o["metadata"]["name"] for o in rendered if o["kind"] == "Deployment") == [
        f"stagepost-{r}" for r in ROLES
    ]
