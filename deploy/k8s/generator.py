"""What of deploy/k8s is made from other files of deploy: routes, agents, alerting rules, the list of dashboards.

`make k8s` writes them; a test holds that what is committed is what this makes.
"""

from pathlib import Path
from typing import Any

import yaml

from runcast_local.routes import Routes, load_routes

DEPLOY = Path(__file__).parents[1]
SERVICES = {"api": ("runcast-api", 8081), "gateway": ("runcast-gateway", 8082)}
"""Service and port of whoever a route names; tests compare them with the Services."""

Resource = dict[str, Any]


def http_route(routes: Routes) -> Resource:
    """Of the Gateway API. `0s`: no request times out; streams last long, and the services have bounds."""
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
            "timeouts": {"request": "0s"},
            "backendRefs": [{"name": SERVICES[service][0], "port": SERVICES[service][1]}],
        }
        for prefix, service in routes.table
    ]
    spec = {"parentRefs": [{"name": "runcast"}], "rules": rules}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "runcast"},
        "spec": spec,
    }


def ingress(routes: Routes) -> Resource:
    paths = [
        {
            "path": prefix,
            "pathType": "Prefix",
            "backend": {"service": {"name": SERVICES[service][0], "port": {"number": SERVICES[service][1]}}},
        }
        for prefix, service in routes.table
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "runcast"},
        "spec": {"ingressClassName": "traefik", "rules": [{"http": {"paths": paths}}]},
    }


def prometheus_rule(files: list[Path]) -> Resource:
    """The groups of all files, in their order."""
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "runcast"},
        "spec": {"groups": groups},
    }


def dashboards(folder: Path, files: list[Path]) -> Resource:
    """A kustomization of deploy/grafana: a ConfigMap for each dashboard, with the label for Grafana's sidecar. There is
    no digest in their names: an old one that stays behind would be a second dashboard."""
    options = {"disableNameSuffixHash": True, "labels": {"grafana_dashboard": "1"}}
    made: Resource = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    made["generatorOptions"] = options
    if files:
        made["configMapGenerator"] = [
            {"name": f"{file.stem}-dashboard", "files": [str(file.relative_to(folder))]} for file in files
        ]
    return made


def generated(deploy: Path = DEPLOY) -> dict[Path, str]:
    """Text of every file that is made, by its path."""
    routes = load_routes(deploy / "routes.toml")
    grafana, components = deploy / "grafana", deploy / "k8s" / "components"
    rules = sorted((deploy / "prometheus" / "rules").glob("*.yml"))
    boards = sorted((grafana / "dashboards").rglob("*.json"))
    table, alerts = "deploy/routes.toml", "deploy/prometheus/rules"
    agents = (deploy / "agents.toml").read_text()
    return {
        deploy / "k8s" / "base" / "agents.toml": marked(agents, "deploy/agents.toml"),
        components / "routes-gateway-api" / "http-route.yaml": text(http_route(routes), table),
        components / "routes-ingress" / "ingress.yaml": text(ingress(routes), table),
        components / "monitoring" / "prometheus-rule.yaml": text(prometheus_rule(rules), alerts),
        grafana / "kustomization.yaml": text(dashboards(grafana, boards), "deploy/grafana/dashboards"),
    }


def text(resource: Resource, source: str) -> str:
    return marked(yaml.safe_dump(resource, sort_keys=False, width=120, allow_unicode=True), source)


def marked(body: str, source: str) -> str:
    return f"# Made from {source} by `make k8s`: change that, not this.\n{body}"


def main() -> None:
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
