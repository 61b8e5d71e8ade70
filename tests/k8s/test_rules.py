"""The manifests keep the rules, and every rule finds what is wrong: without kustomize, on the files as they are."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s import hardening, processes, scaling, traffic, wiring
from tests.k8s.manifests import ROOT, Resource, Resources, component, everything, found, label, matches
from tests.k8s.processes import GATEWAY_CLOSES_S, WORKER_MORE_S

Rule = Callable[[Resources], Iterator[str]]
RULES: tuple[Rule, ...] = (*wiring.RULES, *traffic.RULES, *processes.RULES, *hardening.RULES, *scaling.RULES)
GONE = object()
"""For `changed`: without this key."""

POD = "spec.template.spec"
MAIN = f"{POD}.containers.0"
API, WORKER, GATEWAY = (f"Deployment/runcast-{name}" for name in ("api", "worker", "gateway"))
HPA, SCALED = "HorizontalPodAutoscaler/runcast-gateway", "ScaledObject/runcast-worker"
MODELS = "NetworkPolicy/worker-to-models"

BAD: list[tuple[Rule, str, str, object]] = [
    (wiring.ports, API, f"{MAIN}.ports.0.containerPort", 8080),
    (wiring.ports, WORKER, f"{MAIN}.ports.0.name", "metrics"),
    (wiring.ports, "ConfigMap/runcast-gateway", "data.RUNCAST_ADMIN_PORT", "9101"),
    (wiring.ports, "ConfigMap/runcast-worker", "data.RUNCAST_HOST", "127.0.0.1"),
    (wiring.services, "Service/runcast-api", "spec.selector", {"app.kubernetes.io/component": "apy"}),
    (wiring.services, "Service/runcast-api", "spec.selector", {"app.kubernetes.io/name": "runcast"}),
    (wiring.services, "Service/runcast-gateway", "spec.ports.0.targetPort", "web"),
    (wiring.services, "Service/runcast-gateway", "spec.ports.0.targetPort", "admin"),
    (wiring.services, "Service/runcast-gateway", "spec.ports.0.port", 80),
    (wiring.probes, API, f"{MAIN}.livenessProbe.httpGet.path", "/readyz"),
    (wiring.probes, WORKER, f"{MAIN}.readinessProbe.httpGet.path", "/healthz"),
    (wiring.probes, GATEWAY, f"{MAIN}.startupProbe.httpGet.port", "http"),
    (wiring.probes, GATEWAY, f"{MAIN}.livenessProbe", GONE),
    (traffic.policies, "NetworkPolicy/entrance-to-api", "spec.ingress.0.ports.0.port", 8082),
    (traffic.policies, "NetworkPolicy/gateway-out-to-api", "spec.egress.0.ports.0.port", 80),
    (traffic.policies, "NetworkPolicy/gateway-out-to-api", "spec.egress.0.ports", GONE),
    (traffic.policies, "NetworkPolicy/out-to-store", "spec.egress.0.to.0.podSelector.matchLabels.x", "y"),
    (traffic.policies, "NetworkPolicy/into-store", "spec.ingress.0.from.0.podSelector.matchLabels.x", "y"),
    (traffic.policies, "NetworkPolicy/scrape-of-worker", "spec.podSelector.matchLabels.x", "y"),
    (wiring.selectors, WORKER, "spec.selector.matchLabels", {"app.kubernetes.io/name": "runcast"}),
    (wiring.selectors, API, f"{POD}.topologySpreadConstraints.1.labelSelector.matchLabels.x", "y"),
    (wiring.selectors, "PodDisruptionBudget/runcast-api", "spec.selector.matchLabels", {}),
    (wiring.selectors, "PodMonitor/runcast", "spec.selector.matchExpressions.0.values", ["api", "worker"]),
    (wiring.selectors, "PodMonitor/runcast", "spec.podMetricsEndpoints.0.port", "metrics"),
    (wiring.selectors, "PodMonitor/runcast-store", "spec.selector.matchLabels.x", "y"),
    (wiring.selectors, HPA, "spec.scaleTargetRef.name", "gateway"),
    (wiring.selectors, SCALED, "spec.scaleTargetRef.name", "worker"),
    (wiring.references, API, f"{MAIN}.envFrom.0.configMapRef.name", "runcast-apy"),
    (wiring.references, WORKER, f"{MAIN}.envFrom.1.secretRef.optional", False),
    (wiring.references, API, f"{MAIN}.env.0.valueFrom.secretKeyRef.name", "stores"),
    (wiring.references, GATEWAY, f"{POD}.serviceAccountName", "default"),
    (
        wiring.references,
        WORKER,
        f"{POD}.volumes.1",
        {"name": "workspaces", "persistentVolumeClaim": {"claimName": "x"}},
    ),
    (wiring.references, WORKER, f"{MAIN}.volumeMounts.2.name", "temporary"),
    (wiring.backends, "HTTPRoute/runcast", "spec.rules.0.backendRefs.0.name", "gateway"),
    (wiring.backends, "HTTPRoute/runcast", "spec.rules.0.timeouts", GONE),
    (wiring.backends, "Ingress/runcast", "spec.rules.0.http.paths.1.backend.service.port.number", 80),
    (wiring.backends, "ConfigMap/runcast-gateway", "data.RUNCAST_API_URL", "http://runcast-api:8080"),
    (traffic.talks, "NetworkPolicy/gateway-into-api", "spec.ingress", []),
    (traffic.talks, "NetworkPolicy/gateway-out-to-api", "spec.podSelector.matchLabels", {"x": "y"}),
    (traffic.talks, "NetworkPolicy/out-to-store", "spec.podSelector.matchExpressions.0.values", ["api", "gateway"]),
    (traffic.talks, "NetworkPolicy/scrape-of-api", "spec.ingress.0.from.0.namespaceSelector", {}),
    (traffic.talks, "NetworkPolicy/entrance-to-api", "spec.ingress.0.from.0.namespaceSelector", {}),
    (traffic.talks, "NetworkPolicy/entrance-to-gateway", "spec.ingress.0.ports.0.port", 9102),
    (traffic.talks, "NetworkPolicy/scrape-of-worker", "spec.ingress", []),
    (traffic.talks, "NetworkPolicy/scrape-of-store-exporter", "spec.ingress", []),
    (traffic.talks, "NetworkPolicy/scrape-of-store-exporter", "spec.ingress.0.ports.0.port", 9103),
    (traffic.talks, "PodMonitor/runcast-store", "spec.podMetricsEndpoints.0.port", "admin"),
    (traffic.stores, "StatefulSet/runcast-store", "spec.template.metadata.labels", {}),
    (processes.settings, "ConfigMap/runcast-gateway", "data.RUNCAST_DRAIN", "30"),
    (processes.settings, "ConfigMap/runcast-api", "data.RUNCAST_DRAIN_S", "30"),
    (processes.settings, "ConfigMap/runcast-worker", "data.RUNCAST_MAX_JOBS", "many"),
    (processes.settings, "ConfigMap/runcast-worker", "data.RUNCAST_SANDBOX", "bubblewrap"),
    (processes.settings, "Secret/runcast-stores", "stringData.RUNCAST_REDIS_URL", "runcast-store:6379"),
    (processes.grace, WORKER, f"{POD}.terminationGracePeriodSeconds", 34),
    (processes.grace, "ConfigMap/runcast-gateway", "data.RUNCAST_DRAIN_S", "40"),
    (processes.grace, API, f"{MAIN}.lifecycle.preStop.sleep.seconds", 20),
    (processes.grace, GATEWAY, f"{MAIN}.lifecycle", GONE),
    (processes.scaled_by, HPA, "spec.metrics.0.pods.metric.name", "runcast_connections"),
    (processes.scaled_by, HPA, "spec.metrics.0.pods.metric.name", "runcast_tasks_running"),
    (processes.scaled_by, SCALED, "spec.triggers.0.metadata.query", 'sum(runcast_jobs{namespace="runcast"})'),
    (processes.scaled_by, SCALED, "spec.triggers.0.metadata.query", "sum(runcast_tasks_running)"),
    (processes.scaled_by, SCALED, "spec.triggers.0.metadata.query", 'sum(runcast_tasks_running{namespace="other"})'),
    (processes.scaled_by, SCALED, "spec.triggers.0.metadata.query", "vector(1)"),
    (processes.one_image, GATEWAY, f"{MAIN}.image", "runcast-gateway"),
    (processes.one_image, GATEWAY, f"{MAIN}.args", ["python", "-m", "runcast_api"]),
    (hardening.closed_in, API, f"{POD}.securityContext.runAsNonRoot", False),
    (hardening.closed_in, API, f"{POD}.securityContext.seccompProfile", {"type": "Unconfined"}),
    (hardening.closed_in, WORKER, f"{MAIN}.securityContext.capabilities", {"drop": ["NET_RAW"]}),
    (hardening.closed_in, WORKER, f"{MAIN}.securityContext.readOnlyRootFilesystem", GONE),
    (hardening.closed_in, "StatefulSet/runcast-store", f"{MAIN}.securityContext", GONE),
    (hardening.closed_in, WORKER, f"{MAIN}.securityContext.seccompProfile", {"type": "Unconfined"}),
    (hardening.closed_in, WORKER, f"{MAIN}.resources.limits", {}),
    (hardening.no_tokens, "ServiceAccount/runcast-worker", "automountServiceAccountToken", GONE),
    (hardening.no_tokens, WORKER, f"{POD}.automountServiceAccountToken", True),
    (hardening.denied, "NetworkPolicy/default-deny", "spec.policyTypes", ["Ingress"]),
    (hardening.denied, "NetworkPolicy/names", "spec.podSelector", {}),
    (hardening.metadata, MODELS, "spec.egress.0.to.0.ipBlock.except", ["10.0.0.0/8"]),
    (hardening.metadata, MODELS, "spec.egress.0.to.1.ipBlock.except", GONE),
    (hardening.metadata, MODELS, "spec.egress.0.to", []),
    (scaling.rollouts, GATEWAY, "spec.strategy.rollingUpdate.maxUnavailable", "25%"),
    (scaling.rollouts, API, "spec.strategy.rollingUpdate.maxSurge", 0),
    (scaling.budgets, "PodDisruptionBudget/runcast-api", "spec.maxUnavailable", 0),
    (scaling.budgets, "PodDisruptionBudget/runcast-api", "spec.selector.matchLabels.x", "y"),
    (scaling.budgets, "PodDisruptionBudget/runcast-worker", "spec.minAvailable", 1),
    (scaling.budgets, "PodDisruptionBudget/runcast-gateway", "spec.unhealthyPodEvictionPolicy", GONE),
    (scaling.autoscalers, GATEWAY, "spec.replicas", 3),
    (scaling.autoscalers, HPA, "spec.metrics.0.pods.target.averageValue", "19000"),
    (scaling.autoscalers, "ConfigMap/runcast-gateway", "data.RUNCAST_MAX_STREAMS", "12000"),
    (scaling.autoscalers, HPA, "spec.behavior.scaleDown.stabilizationWindowSeconds", 30),
    (scaling.autoscalers, SCALED, "spec.minReplicaCount", GONE),
    (scaling.autoscalers, "ConfigMap/runcast-worker", "data.RUNCAST_MAX_JOBS", "8"),
    (scaling.autoscalers, SCALED, "spec.triggers.0.metadata.ignoreNullValues", GONE),
]


def changed(resources: Resources, name: str, path: str, value: object) -> list[Resource]:
    """A copy in which one thing of the resource `name` is another."""
    copied = copy.deepcopy(list(resources))
    at: Any = next(each for each in copied if label(each) == name)
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in way:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return copied


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return everything()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_manifests_keep_the_rule(rule: Rule, resources: Resources) -> None:
    """As files; what kustomize makes of them is held to the same rules by `make k8s-test`."""
    assert not found(rule(resources))


@pytest.mark.parametrize(
    ("rule", "name", "path", "value"), BAD, ids=[f"{rule.__name__}-{n}" for n, (rule, *_) in enumerate(BAD)]
)
def test_a_rule_finds_what_is_wrong(rule: Rule, name: str, path: str, value: object, resources: Resources) -> None:
    """One thing changed, and it is told."""
    assert set(found(rule(changed(resources, name, path, value)))) - set(found(rule(resources)))


def test_every_rule_is_shown_to_find_something() -> None:
    """A rule that cannot fail holds nothing."""
    assert {rule for rule, *_ in BAD} == set(RULES)


def test_selectors_are_read_as_a_cluster_reads_them() -> None:
    """Plain, by labels, by expressions; an empty one fits everything."""
    labels = {"a": "1", "b": "2"}
    either = {"matchExpressions": [{"key": "b", "operator": "In", "values": ["2", "3"]}]}
    assert matches({}, labels)
    assert matches({"a": "1"}, labels)
    assert matches({"matchLabels": {"a": "1"}, **either}, labels)
    assert not matches({"matchLabels": {"a": "2"}, **either}, labels)
    assert not matches(either, {"b": "4"})
    assert not matches({"c": "1"}, labels)


def test_the_times_beyond_a_drain_are_those_of_the_code() -> None:
    """Where these change, the grace periods must be looked at again."""
    gateway = (ROOT / "services/stream-gateway/runcast_gateway/__main__.py").read_text()
    worker = (ROOT / "services/worker/runcast_worker/settings.py").read_text()
    assert f"grace_s=int(settings.drain_s) + {GATEWAY_CLOSES_S}," in gateway
    assert WORKER_MORE_S == 10
    assert "must wait ten seconds longer than this" in worker


def test_the_times_in_the_document_are_those_of_the_manifests(resources: Resources) -> None:
    """docs/kubernetes.md, how a pod ends: a row for each process."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    for workload in processes.ours(resources):
        given_s = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        end_s = processes.end_s(workload, resources)
        assert f"| {component(workload)} | {processes.stop_s(workload)} s | {end_s:g} s | {given_s} s |" in text
