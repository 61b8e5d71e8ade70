"""Rules: rollouts, evictions and autoscalers take nothing away from clients, and do not fight each other."""

from collections.abc import Iterator

from runcast_gateway.settings import GatewaySettings
from runcast_worker.settings import WorkerSettings
from tests.k8s.manifests import Resources, component, label, of, selected
from tests.k8s.processes import ours, parsed

ROOM = 0.75
"""An autoscaler's target, of what one process takes: the rest is for what comes while a pod starts."""


def rollouts(resources: Resources) -> Iterator[str]:
    """Where clients are, a new pod is ready before an old one goes."""
    for workload in ours(resources):
        rolling = workload["spec"].get("strategy", {}).get("rollingUpdate", {})
        if component(workload) in ("api", "gateway") and rolling.get("maxUnavailable") != 0:
            yield f"{label(workload)}: fewer than wanted during a rollout"
        if rolling.get("maxSurge", 0) in (0, "0%", "0") and rolling.get("maxUnavailable") == 0:
            yield f"{label(workload)}: a rollout cannot begin"


def budgets(resources: Resources) -> Iterator[str]:
    """Every process of ours has one, and none stops the drain of a node: not of a single replica, nor of sick ones."""
    held = {
        label(w) for each in of(resources, "PodDisruptionBudget") for w in selected(each["spec"]["selector"], resources)
    }
    yield from (f"{label(workload)}: has no budget" for workload in ours(resources) if label(workload) not in held)
    for each in of(resources, "PodDisruptionBudget"):
        if each["spec"].get("maxUnavailable", 0) in (0, "0%") or "minAvailable" in each["spec"]:
            yield f"{label(each)}: one replica could not be evicted"
        if each["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{label(each)}: pods that are not ready hold their node"


def autoscalers(resources: Resources) -> Iterator[str]:
    """They own the number of replicas, keep two, leave room, and go down slowly."""
    owned = {
        each["spec"]["scaleTargetRef"]["name"] for each in of(resources, "HorizontalPodAutoscaler", "ScaledObject")
    }
    for workload in ours(resources):
        if workload["metadata"]["name"] in owned and "replicas" in workload["spec"]:
            yield f"{label(workload)}: every apply resets what its autoscaler chose"
    limits = {component(workload): parsed(workload, resources) for workload in ours(resources)}
    for each in of(resources, "HorizontalPodAutoscaler"):
        spec, gateway = each["spec"], limits["gateway"]
        assert isinstance(gateway, GatewaySettings)
        targets = [float(metric["pods"]["target"]["averageValue"]) for metric in spec["metrics"]]
        if spec["minReplicas"] < 2 or max(targets) > ROOM * gateway.max_streams:
            yield f"{label(each)}: too few, or too full"
        if spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] < 300:
            yield f"{label(each)}: goes down at every lull"
    for each in of(resources, "ScaledObject"):
        spec, worker = each["spec"], limits["worker"]
        assert isinstance(worker, WorkerSettings)
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        thresholds = [float(trigger["metadata"]["threshold"]) for trigger in spec["triggers"]]
        if spec.get("minReplicaCount", 0) < 2 or max(thresholds) > 0.8 * worker.max_jobs:
            yield f"{label(each)}: too few, or too full"
        if behaviour["scaleDown"]["stabilizationWindowSeconds"] < 300:
            yield f"{label(each)}: goes down at every lull"
        if any(trigger["metadata"].get("ignoreNullValues") != "false" for trigger in spec["triggers"]):
            yield f"{label(each)}: takes no answer for no work"


RULES = (rollouts, budgets, autoscalers)
