"""Rules: what names something names what is there. Each takes resources and gives its problems, in words."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from runcast_service.admin import admin_app
from tests.k8s.manifests import (
    Resource,
    Resources,
    component,
    config,
    container_ports,
    containers,
    environment,
    label,
    of,
    pod,
    selected,
    walk,
    workloads,
)

FROM_ELSEWHERE = {"runcast-stores"}
"""Secrets that whoever runs a cluster makes."""
OURS = ("api", "worker", "gateway")


def ports(resources: Resources) -> Iterator[str]:
    """A process listens where its container says, on all addresses."""
    for workload in workloads(resources):
        if component(workload) not in OURS:
            continue
        for container in containers(workload):
            env = environment(container, resources)
            named = {"http": env.get("RUNCAST_PORT"), "admin": env.get("RUNCAST_ADMIN_PORT")}
            told = {name: port for name, port in named.items() if port is not None}
            if told != {name: str(port) for name, port in container_ports(workload).items()}:
                yield f"{label(workload)}: ports {container_ports(workload)}, settings {told}"
            if env.get("RUNCAST_HOST") != "0.0.0.0":
                yield f"{label(workload)}: RUNCAST_HOST={env.get('RUNCAST_HOST')} is not reached from outside"


def services(resources: Resources) -> Iterator[str]:
    """A Service leads to exactly one workload, to a port of it, and not to the admin port."""
    for service in of(resources, "Service"):
        behind = selected(service["spec"]["selector"], resources)
        if len(behind) != 1:
            yield f"{label(service)}: selects {[label(each) for each in behind]}"
        for port in service["spec"]["ports"]:
            for workload in behind:
                if port["targetPort"] not in set(container_ports(workload)) - {"admin"}:
                    yield f"{label(service)}: no port {port['targetPort']} in {label(workload)}"
                elif port["port"] != container_ports(workload)[port["targetPort"]]:
                    yield f"{label(service)}: port {port['port']} is another number than its container's"


def probes(resources: Resources) -> Iterator[str]:
    """By the admin port, at paths that it answers; liveness never asks for the store, readiness does."""
    known = {str(getattr(route, "path", "")) for route in admin_app(_never, CollectorRegistry()).routes}
    asked = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for workload in workloads(resources):
        for container in containers(workload):
            for kind, path in asked.items():
                get = container.get(kind, {}).get("httpGet")
                if component(workload) in OURS and get != {"path": path, "port": "admin"}:
                    yield f"{label(workload)}: {kind} asks {get}"
                if get is not None and get["path"] not in known:
                    yield f"{label(workload)}: {get['path']} is no path of the admin port"


async def _never() -> str | None:
    raise AssertionError("only the routes are asked for")


def selectors(resources: Resources) -> Iterator[str]:
    """A workload selects its own pods alone; budgets, spreads and monitors select some; what scales has a target."""
    names = {label(each) for each in workloads(resources)}
    for workload in workloads(resources):
        if selected(workload["spec"]["selector"], resources) != [workload]:
            yield f"{label(workload)}: its selector does not fit its own pods alone"
        for spread in pod(workload)["spec"].get("topologySpreadConstraints", []):
            if selected(spread["labelSelector"], resources) != [workload]:
                yield f"{label(workload)}: its spread counts other pods than its own"
    for each in of(resources, "PodDisruptionBudget"):
        if len(selected(each["spec"]["selector"], resources)) != 1:
            yield f"{label(each)}: does not select one workload"
    for each in of(resources, "PodMonitor"):
        scraped = selected(each["spec"]["selector"], resources)
        ports = {endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]}
        if sorted(map(component, scraped)) not in (sorted(OURS), ["store-exporter"]):
            yield f"{label(each)}: selects {[label(workload) for workload in scraped]}"
        yield from (f"{label(each)}: {label(w)} lacks its ports" for w in scraped if ports - set(container_ports(w)))
    for each in of(resources, "HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        if f"{target.get('kind', 'Deployment')}/{target['name']}" not in names:
            yield f"{label(each)}: no {target['name']} to scale"


def references(resources: Resources) -> Iterator[str]:
    """ConfigMaps, Secrets, claims and accounts that pods name are among the resources, or made by whoever runs it."""
    there = {(each["kind"], each["metadata"]["name"]) for each in resources}
    for workload in workloads(resources):
        spec = pod(workload)["spec"]
        wanted = {("ServiceAccount", spec["serviceAccountName"])}
        for key, value in walk(spec):
            if isinstance(value, dict) and not value.get("optional"):
                kinds = {"configMapRef": "ConfigMap", "configMap": "ConfigMap", "persistentVolumeClaim": ""}
                kinds |= {"secretKeyRef": "Secret", "secretRef": "Secret"}
                if key == "persistentVolumeClaim":
                    wanted.add(("PersistentVolumeClaim", value["claimName"]))
                elif key in kinds and value.get("name") not in FROM_ELSEWHERE:
                    wanted.add((kinds[key], value["name"]))
        yield from (f"{label(workload)}: there is no {kind} {name}" for kind, name in wanted - there)
        mounted = {mount["name"] for each in containers(workload) for mount in each.get("volumeMounts", [])}
        volumes = {each["name"] for each in (*spec.get("volumes", []), *_claims(workload))}
        if mounted != volumes:
            yield f"{label(workload)}: volumes {sorted(volumes)}, mounts {sorted(mounted)}"


def _claims(workload: Resource) -> list[Resource]:
    return [each["metadata"] for each in workload["spec"].get("volumeClaimTemplates", [])]


def backends(resources: Resources) -> Iterator[str]:
    """Routes, and the settings that are URLs, lead to ports of Services."""
    there = {(each["metadata"]["name"], p["port"]) for each in of(resources, "Service") for p in each["spec"]["ports"]}
    for route in of(resources, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for each in rule["backendRefs"]:
                if (each["name"], each["port"]) not in there:
                    yield f"{label(route)}: there is no {each['name']}:{each['port']}"
            if rule.get("timeouts", {}).get("request") != "0s":
                yield f"{label(route)}: a stream would end at a request timeout"
    for route in of(resources, "Ingress"):
        for key, value in walk(route):
            if key == "service" and isinstance(value, dict) and (value["name"], value["port"]["number"]) not in there:
                yield f"{label(route)}: there is no {value['name']}:{value['port']['number']}"
    for name, url in _urls(resources):
        parts = urlsplit(url)
        if (parts.hostname, parts.port) not in there:
            yield f"{name}={url}: no such Service"


def _urls(resources: Resources) -> Iterator[tuple[str, str]]:
    held = [config(resources, each["kind"], each["metadata"]["name"]) for each in of(resources, "ConfigMap", "Secret")]
    for data in held:
        for name, value in (data or {}).items():
            if name.startswith("RUNCAST_") and name.endswith("_URL") and "runcast-" in value:
                yield name, value


RULES = (ports, services, probes, selectors, references, backends)
