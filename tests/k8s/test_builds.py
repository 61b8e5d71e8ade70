"""What kustomize makes of the overlays and of each component: it builds, the API's schemas take it, the rules hold.

Run by `make k8s-test`: it needs kubectl (or kustomize), and the schemas of tests/k8s/requirements.txt.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import COMPONENTS, K8S, OVERLAYS, ROOT, Resource, documents, found, kustomize, label, of, walk
from tests.k8s.test_rules import RULES, Rule

pytestmark = pytest.mark.k8s
VALIDATOR = ROOT / ".venv-k8s" / "bin" / "kubernetes-validate"
KUBERNETES = ("1.30", "1.37")
"""The oldest that has all we use (the sleep of a preStop), and the newest whose schemas there are."""
CUSTOM = {"HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of others' operators, whose schemas are not Kubernetes' own: see test_custom_resources.py."""
VALIDATE_S = 120
VARIANTS = [*OVERLAYS, *COMPONENTS]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """An overlay as it is, a component upon the base and the store that it needs to be whole."""
    folder: Path = request.param
    if folder in OVERLAYS:
        return documents(kustomize(folder))
    made = tmp_path_factory.mktemp(folder.name)
    parts = sorted({folder, K8S / "components" / "dev-store"})
    relative = [os.path.relpath(part.resolve(), made.resolve()) for part in (K8S / "base", *parts)]
    kustomization = {"resources": relative[:1], "components": relative[1:], "namespace": "runcast"}
    (made / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return documents(kustomize(made))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_built_keeps_the_rule(rule: Rule, built: list[Resource]) -> None:
    """Patches, namespaces and digests included."""
    assert not found(rule(built))


@pytest.mark.parametrize("version", KUBERNETES)
def test_what_is_built_fits_the_schemas(version: str, built: list[Resource], tmp_path: Path) -> None:
    """Strictly: a field that the API does not know is refused."""
    known = [resource for resource in built if resource["kind"] not in CUSTOM]
    assert validation(known, version, tmp_path) == ""


def test_a_field_that_is_none_does_not_fit(tmp_path: Path) -> None:
    """A misspelt one, and one with a wrong type."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": "http"}]}}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "b"}}
    assert "spec.ports" in validation([service], KUBERNETES[1], tmp_path)
    assert "podSelectr" in validation([policy | {"spec": {"podSelectr": {}}}], KUBERNETES[1], tmp_path)


def validation(resources: Iterable[Resource], version: str, folder: Path) -> str:
    """What the validator has to say against them."""
    file = folder / "resources.yaml"
    file.write_text(yaml.safe_dump_all(resources))
    command = [VALIDATOR, "--quiet", "--no-warn", "--strict", "-k", version, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=VALIDATE_S, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_everything_is_in_the_namespace(built: list[Resource]) -> None:
    """Nothing lands wherever somebody's kubectl happens to point."""
    spaces = {label(each): each["metadata"].get("namespace") for each in built if each["kind"] != "Namespace"}
    assert not [name for name, space in spaces.items() if space != "runcast"]
    assert [each["metadata"]["name"] for each in of(built, "Namespace")] == ["runcast"]


def test_the_tags_of_images_are_set() -> None:
    """An image without one is `latest`: nobody knows what runs."""
    for overlay in OVERLAYS:
        images = {image for key, image in walk(documents(kustomize(overlay))) if key == "image"}
        tags = {str(image): str(image).rpartition("/")[2].partition(":")[2] for image in images}
        assert tags
        assert not [image for image, tag in tags.items() if tag in ("", "latest")]
