"""Rules: pods are closed in, and nothing reaches the addresses where a cloud gives credentials away."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from tests.k8s.manifests import Resources, containers, label, of, pod, workloads

METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
"""Where clouds tell any process that asks who the machine is: AWS, GCP and Azure; ECS; AWS by IPv6; Alibaba; Azure."""
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
ENFORCE = "pod-security.kubernetes.io/enforce"
OPENING = {"seccompProfile", "appArmorProfile", "procMount", "privileged"}
"""What a container may have that makes it less closed in than its pod."""


def closed_in(resources: Resources) -> Iterator[str]:
    """No root, no privileges, a root that cannot be written, the default filter of system calls, a memory limit; a
    container opens none of it again unless the namespace allows it."""
    levels = [each["metadata"].get("labels", {}).get(ENFORCE) for each in of(resources, "Namespace")]
    for workload in workloads(resources):
        context = pod(workload)["spec"].get("securityContext", {})
        if context != context | POD:
            yield f"{label(workload)}: the pod's securityContext lacks some of {POD}"
        for container in containers(workload):
            own = container.get("securityContext", {})
            if own != own | CONTAINER:
                yield f"{label(workload)}: the container's securityContext lacks some of {CONTAINER}"
            if levels != ["privileged"] and own.keys() & OPENING:
                yield f"{label(workload)}: opens {sorted(own.keys() & OPENING)} in a namespace that is {levels}"
            resources_ = container.get("resources", {})
            if "memory" not in resources_.get("limits", {}) or not {"cpu", "memory"} <= set(resources_["requests"]):
                yield f"{label(workload)}: memory without a limit, or nothing requested"


def no_tokens(resources: Resources) -> Iterator[str]:
    """Nothing of ours talks to the API server, so nothing has a token for it."""
    for each in of(resources, "ServiceAccount"):
        if each.get("automountServiceAccountToken") is not False:
            yield f"{label(each)}: mounts its token"
    for workload in workloads(resources):
        if pod(workload)["spec"].get("automountServiceAccountToken") is not False:
            yield f"{label(workload)}: mounts a token"


def denied(resources: Resources) -> Iterator[str]:
    """What no policy allows is denied, both ways, to all pods."""
    every = [each["spec"] for each in of(resources, "NetworkPolicy") if each["spec"]["podSelector"] == {}]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in every:
        yield "there is no policy that denies everything"
    yield from ("a policy for all pods opens something" for spec in every if "ingress" in spec or "egress" in spec)


def metadata(resources: Resources) -> Iterator[str]:
    """Whoever may leave the cluster does not reach the metadata addresses."""
    for policy in of(resources, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            blocks = [peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer]
            if not rule.get("to"):
                yield f"{label(policy)}: lets out to everywhere"
            for block in blocks:
                for address in map(ip_address, METADATA):
                    holes = map(ip_network, block.get("except", []))
                    if address in ip_network(block["cidr"]) and not any(address in hole for hole in holes):
                        yield f"{label(policy)}: lets out to {address}"


RULES = (closed_in, no_tokens, denied, metadata)
