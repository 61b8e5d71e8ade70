"""Resources of others' operators fit the schemas of their definitions, which are too large to be kept here.

    CRDS=folder make k8s-test

with the YAML of the CustomResourceDefinitions in it: those that the cluster has, for example, by `kubectl get crd NAME
--output yaml`. Without it this is left out.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.k8s.manifests import OVERLAYS, Resource, documents, everything, kustomize, label

pytestmark = pytest.mark.k8s
FOLDER = os.environ.get("CRDS")


def strict(schema: Any) -> Any:
    """A schema that refuses fields it does not name, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def misfits(resource: Resource, definition: Resource) -> list[str]:
    """What a resource has that its definition does not take. `metadata` is the API's own."""
    version = resource["apiVersion"].rpartition("/")[2]
    [schema] = [each["schema"] for each in definition["spec"]["versions"] if each["name"] == version]
    body = {key: value for key, value in resource.items() if key != "metadata"}
    validator = Draft202012Validator(strict(schema["openAPIV3Schema"]))
    return [f"{label(resource)}: {error.json_path}: {error.message}" for error in validator.iter_errors(body)]


@pytest.mark.skipif(FOLDER is None, reason="CRDS names no folder of CustomResourceDefinitions")
def test_custom_resources_fit_their_definitions() -> None:
    """Of the overlays, and of all components as files."""
    given = [each for file in Path(str(FOLDER)).glob("*.yaml") for each in documents(file.read_text())]
    definitions = {each["spec"]["names"]["kind"]: each for each in given}
    resources = [*everything(), *(each for overlay in OVERLAYS for each in documents(kustomize(overlay)))]
    ours = [each for each in resources if each["kind"] in ("HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject")]
    assert {each["kind"] for each in ours} <= set(definitions)
    assert not [problem for each in ours for problem in misfits(each, definitions[each["kind"]])]


def test_a_misfit_is_found() -> None:
    """A misspelt field, a missing one, a wrong type."""
    spec = {"type": "object", "required": ["b"], "properties": {"b": {"type": "integer"}, "c": {"type": "string"}}}
    schema = {"type": "object", "properties": {"apiVersion": {}, "kind": {}, "metadata": {}, "spec": spec}}
    definition = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}
    made = {"apiVersion": "a.io/v1", "kind": "A", "metadata": {"name": "a"}}
    assert not misfits(made | {"spec": {"b": 1, "c": "x"}}, definition)
    for bad in ({"b": 1, "d": 2}, {"c": "x"}, {"b": "1"}):
        assert misfits(made | {"spec": bad}, definition)
