"""The manifests of deploy/k8s, as files and as kustomize builds them, and what a rule asks of them."""

import base64
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
COMPONENTS = sorted(path.parent for path in (K8S / "components").glob("*/kustomization.yaml"))
OVERLAYS = sorted(path.parent for path in (K8S / "overlays").glob("*/kustomization.yaml"))
COMPONENT = "app.kubernetes.io/component"
BUILD_S = 60

Resource = dict[str, Any]
Resources = Sequence[Resource]


def documents(text: str) -> list[Resource]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def plain(folder: Path) -> list[Resource]:
    """The resources of a kustomization without kustomize: its files as they are, and what its generators name, without
    the digests. No patch is applied."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = [folder / name for name in kustomization.get("resources", []) if name.endswith(".yaml")]
    found = [resource for file in files for resource in documents(file.read_text())]
    for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for each in kustomization.get(key, []):
            if each.get("behavior") is None:
                field = "data" if kind == "ConfigMap" else "stringData"
                found.append({"kind": kind, "metadata": {"name": each["name"]}, field: _data(folder, each)})
    return found


def _data(folder: Path, generator: dict[str, Any]) -> dict[str, str]:
    lines = [line for name in generator.get("envs", []) for line in (folder / name).read_text().splitlines()]
    pairs = [line.split("=", 1) for line in [*lines, *generator.get("literals", [])] if line and line[0] != "#"]
    return dict(pairs) | {name: (folder / name).read_text() for name in generator.get("files", [])}


def everything() -> list[Resource]:
    """Base and all components."""
    return [resource for folder in (K8S / "base", *COMPONENTS) for resource in plain(folder)]


def kustomize(folder: Path) -> str:
    """What a cluster would be given. Fails where neither kubectl nor kustomize is installed."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    assert shutil.which(command[0]), "kubectl (1.27 or later) or kustomize (5 or later) must be on PATH"
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def label(resource: Resource) -> str:
    """`Kind/name`, as messages show it."""
    return f"{resource['kind']}/{resource['metadata']['name']}"


def of(resources: Resources, *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def workloads(resources: Resources) -> list[Resource]:
    return of(resources, "Deployment", "StatefulSet")


def pod(workload: Resource) -> Resource:
    """Labels and spec of its pods."""
    template: Resource = workload["spec"]["template"]
    return template


def component(workload: Resource) -> str:
    return str(pod(workload)["metadata"]["labels"].get(COMPONENT, ""))


def containers(workload: Resource) -> list[Resource]:
    spec = pod(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def container_ports(workload: Resource) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for each in containers(workload) for port in each.get("ports", [])}


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector, with or without `matchLabels`; an empty one fits everything."""
    wanted = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In", "another operator is not read yet"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return all(labels.get(key) == value for key, value in wanted.items())


def selected(selector: dict[str, Any], resources: Resources) -> list[Resource]:
    """The workloads whose pods a selector fits."""
    return [each for each in workloads(resources) if matches(selector, pod(each)["metadata"]["labels"])]


def config(resources: Resources, kind: str, name: str) -> dict[str, str] | None:
    """What a ConfigMap or Secret holds; None where it is not among the resources."""
    for each in of(resources, kind):
        if each["metadata"]["name"] == name:
            decoded = {} if kind == "ConfigMap" else {k: _decoded(v) for k, v in each.get("data", {}).items()}
            return {**(decoded or each.get("data", {})), **each.get("stringData", {})}
    return None


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()


def environment(container: Resource, resources: Resources) -> dict[str, str | None]:
    """Its variables; None where the value is in a Secret from elsewhere."""
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if key in source:
                found.update(config(resources, kind, source[key]["name"]) or {})
    for each in container.get("env", []):
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        if reference is None:
            found[each["name"]] = each["value"]
            continue
        held = config(resources, "Secret", reference["name"])
        if held is None or reference["key"] in held or not reference.get("optional"):
            found[each["name"]] = (held or {}).get(reference["key"])
    return found


def walk(value: object) -> Iterator[tuple[str, object]]:
    """Every key and value of a resource, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def found(problems: Iterable[str]) -> list[str]:
    return sorted(set(problems))
