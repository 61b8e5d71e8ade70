"""Rules: network policies. Who may talk to whom is exactly what is meant."""

from collections.abc import Iterator

from tests.k8s.manifests import (
    Resource,
    Resources,
    component,
    container_ports,
    label,
    matches,
    of,
    pod,
    selected,
    workloads,
)

PROMETHEUS = {"kubernetes.io/metadata.name": "monitoring"}
ENTRANCE = {"runcast-entrance": "true"}


def policies(resources: Resources) -> Iterator[str]:
    """A NetworkPolicy selects pods that are there, and opens ports that they have."""
    for policy in of(resources, "NetworkPolicy"):
        spec = policy["spec"]
        closed = selected(spec["podSelector"], resources)
        if not closed:
            yield f"{label(policy)}: selects nothing"
        for rule in spec.get("ingress", []):
            yield from _opened(policy, rule, closed)
            if any(others == [] for others in _others(rule["from"], resources)):
                yield f"{label(policy)}: lets nobody in"
        for rule in spec.get("egress", []):
            for others in _others(rule["to"], resources):
                yield from _opened(policy, rule, others)
                if not others:
                    yield f"{label(policy)}: leads to nothing"


def _opened(policy: Resource, rule: Resource, behind: list[Resource]) -> Iterator[str]:
    opened = {port["port"] for port in rule.get("ports", [])}
    if not opened:
        yield f"{label(policy)}: opens all ports"
    for workload in behind:
        if opened - set(container_ports(workload).values()):
            yield f"{label(policy)}: {sorted(opened)} are not ports of {label(workload)}"


def _others(peers: list[Resource], resources: Resources) -> list[list[Resource]]:
    """For each peer that is a pod of ours: the workloads that it fits."""
    return [selected(p["podSelector"], resources) for p in peers if "podSelector" in p and "namespaceSelector" not in p]


def talks(resources: Resources) -> Iterator[str]:
    """Among the pods: the gateway to the api, all to the store that is here. From other namespaces: clients to the
    client ports, Prometheus to the admin ports where it is meant to scrape. Nobody else."""
    names = {component(workload) for workload in workloads(resources)}
    meant = {("gateway", "api", "http")}
    clients = names & {"api", "worker", "gateway", "store-exporter"}
    meant |= {(each, "store", "store") for each in clients if "store" in names}
    pairs = [(one, other) for one in workloads(resources) for other in workloads(resources) if one is not other]
    found = {
        (component(one), component(other), name)
        for one, other in pairs
        for name, port in container_ports(other).items()
        if _lets_out(one, other, port, resources) and _lets_in({}, pod_labels(one), other, port, resources)
    }
    yield from (f"{one} does not reach the {name} port of {other}" for one, other, name in sorted(meant - found))
    yield from (f"{one} reaches the {name} port of {other}" for one, other, name in sorted(found - meant))
    for workload in workloads(resources):
        for name, port in container_ports(workload).items():
            for who, space, wanted in (
                ("clients", ENTRANCE, name == "http"),
                ("Prometheus", PROMETHEUS, _scraped(workload, name, resources)),
                ("anybody", {"kubernetes.io/metadata.name": "default"}, False),
            ):
                if _lets_in(space, {}, workload, port, resources) != wanted:
                    yield f"{label(workload)}: {who} and its {name} port: expected {wanted}"


def _scraped(workload: Resource, port: str, resources: Resources) -> bool:
    return any(
        workload in selected(monitor["spec"]["selector"], resources)
        and port in {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        for monitor in of(resources, "PodMonitor")
    )


def stores(resources: Resources) -> Iterator[str]:
    """Where the store is not among the resources, its port outside is open to whoever asks it: to all."""
    if any(component(workload) == "store" for workload in workloads(resources)):
        return
    for workload in workloads(resources):
        rules = [
            rule
            for policy in of(resources, "NetworkPolicy")
            if matches(policy["spec"]["podSelector"], pod_labels(workload))
            for rule in policy["spec"].get("egress", [])
        ]
        outside = {port["port"] for rule in rules for port in rule["ports"] if any("ipBlock" in p for p in rule["to"])}
        if 6379 not in outside:
            yield f"{label(workload)}: no policy lets it out to a store"


def pod_labels(workload: Resource) -> dict[str, str]:
    labels: dict[str, str] = pod(workload)["metadata"]["labels"]
    return labels


def _lets_out(one: Resource, other: Resource, port: int, resources: Resources) -> bool:
    return any(
        matches(policy["spec"]["podSelector"], pod_labels(one))
        and any(
            port in [each["port"] for each in rule["ports"]] and _names({}, pod_labels(other), rule["to"])
            for rule in policy["spec"].get("egress", [])
        )
        for policy in of(resources, "NetworkPolicy")
    )


def _lets_in(space: dict[str, str], labels: dict[str, str], to: Resource, port: int, resources: Resources) -> bool:
    """`space`: labels of another namespace, none for this one. `labels`: of the pod that asks."""
    return any(
        matches(policy["spec"]["podSelector"], pod_labels(to))
        and any(
            port in [each["port"] for each in rule["ports"]] and _names(space, labels, rule["from"])
            for rule in policy["spec"].get("ingress", [])
        )
        for policy in of(resources, "NetworkPolicy")
    )


def _names(space: dict[str, str], labels: dict[str, str], peers: list[Resource]) -> bool:
    """Whether one of the peers is this pod."""
    for peer in peers:
        if "ipBlock" in peer or bool(space) != ("namespaceSelector" in peer):
            continue
        if matches(peer.get("namespaceSelector", {}), space) and matches(peer.get("podSelector", {}), labels):
            return True
    return False


RULES = (policies, talks, stores)
