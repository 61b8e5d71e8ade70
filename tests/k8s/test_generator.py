"""What is made from other files is what is committed."""

from pathlib import Path

import pytest
import yaml

from deploy.k8s.generator import DEPLOY, SERVICES, dashboards, generated, http_route, ingress, prometheus_rule
from runcast_local.routes import Routes, load_routes
from tests.k8s.manifests import K8S, of, plain

ROUTES = Routes((("/a/b", "api"), ("/a", "gateway"), ("/", "api")))


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_what_is_committed_is_what_is_made(path: Path) -> None:
    """Else: `make k8s`."""
    assert path.read_text() == generated()[path], f"{path.relative_to(DEPLOY)} is old: make k8s"


def test_routes_become_rules_with_the_longest_prefix_first() -> None:
    """A prefix covers whole parts of a path in all three: PathPrefix, Prefix and the table."""
    rules = http_route(ROUTES)["spec"]["rules"]
    assert [(rule["matches"][0]["path"]["value"], rule["backendRefs"][0]["name"]) for rule in rules] == [
        ("/a/b", "runcast-api"),
        ("/a", "runcast-gateway"),
        ("/", "runcast-api"),
    ]
    paths = ingress(ROUTES)["spec"]["rules"][0]["http"]["paths"]
    assert [(path["path"], path["backend"]["service"]["port"]["number"]) for path in paths] == [
        ("/a/b", 8081),
        ("/a", 8082),
        ("/", 8081),
    ]
    assert {path["pathType"] for path in paths} == {"Prefix"}


def test_the_table_of_the_repository_is_in_the_route() -> None:
    """Every prefix, to its service."""
    table = dict(load_routes(DEPLOY / "routes.toml").table)
    [route] = of(plain(K8S / "components" / "routes-gateway-api"), "HTTPRoute")
    made = {r["matches"][0]["path"]["value"]: r["backendRefs"][0]["name"] for r in route["spec"]["rules"]}
    assert made == {prefix: SERVICES[service][0] for prefix, service in table.items()}


def test_groups_of_all_files_become_one_resource(tmp_path: Path) -> None:
    """As the operator takes them."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": []}]}))
    rule = prometheus_rule([tmp_path / "a.yml", tmp_path / "b.yml"])
    assert [group["name"] for group in rule["spec"]["groups"]] == ["a", "b"]


def test_every_dashboard_is_a_config_map_of_its_own(tmp_path: Path) -> None:
    """One alone would soon be larger than a ConfigMap may be."""
    made = dashboards(tmp_path, [tmp_path / "dashboards" / f"runcast-{name}.json" for name in ("api", "gateway")])
    assert made["configMapGenerator"] == [
        {"name": "runcast-api-dashboard", "files": ["dashboards/runcast-api.json"]},
        {"name": "runcast-gateway-dashboard", "files": ["dashboards/runcast-gateway.json"]},
    ]
    assert "configMapGenerator" not in dashboards(tmp_path, []), "kustomize refuses an empty one"
