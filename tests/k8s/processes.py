"""Rules: what the manifests say about a process is what its code says: settings, times, metrics."""

import inspect
import re
from collections.abc import Iterator
from functools import cache

from pydantic import ValidationError

from runcast_api.app import PENDING_TIMEOUT_S
from runcast_api.settings import ApiSettings
from runcast_gateway.settings import GatewaySettings
from runcast_service.server import serve
from runcast_service.settings import ServiceSettings, explain
from runcast_worker.settings import WorkerSettings
from tests.k8s.manifests import ROOT, Resource, Resources, component, containers, environment, label, of, pod, workloads

SETTINGS: dict[str, type[ServiceSettings]] = {"api": ApiSettings, "worker": WorkerSettings, "gateway": GatewaySettings}
FOLDERS = {
    "api": "services/api/runcast_api",
    "worker": "services/worker/runcast_worker",
    "gateway": "services/stream-gateway/runcast_gateway",
}
GATEWAY_CLOSES_S = 5
"""`grace_s` of services/stream-gateway/runcast_gateway/__main__.py, beyond its drain_s."""
WORKER_MORE_S = 10
"""What the docstring of WorkerSettings.drain_s asks for."""


def of_process(workload: Resource, resources: Resources) -> dict[str, str | None]:
    """The settings that its containers are given, by their names in the settings class."""
    given = [pair for each in containers(workload) for pair in environment(each, resources).items()]
    return {name.removeprefix("RUNCAST_").lower(): value for name, value in given if name.startswith("RUNCAST_")}


def parsed(workload: Resource, resources: Resources) -> ServiceSettings:
    """As the process would read them. Raises ValidationError."""
    known = {name: value for name, value in of_process(workload, resources).items() if value}
    return SETTINGS[component(workload)](**known)  # type: ignore[arg-type]  # strings, as in an environment


def ours(resources: Resources) -> list[Resource]:
    return [workload for workload in workloads(resources) if component(workload) in SETTINGS]


def settings(resources: Resources) -> Iterator[str]:
    """Every RUNCAST_* is a setting of that process, with a value that it takes."""
    for workload in ours(resources):
        known = SETTINGS[component(workload)].model_fields
        for name in of_process(workload, resources):
            if name not in known:
                yield f"{label(workload)}: RUNCAST_{name.upper()} is no setting of it"
        try:
            parsed(workload, resources)
        except ValidationError as error:
            yield f"{label(workload)}: {explain(error)}"


def stop_s(workload: Resource) -> int:
    """How long its preStop sleeps."""
    hook = pod(workload)["spec"]["containers"][0].get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    seconds: int = hook["sleep"]["seconds"]
    return seconds


def end_s(workload: Resource, resources: Resources) -> float:
    """How long a process may take from SIGTERM to its end, by its own settings."""
    own = parsed(workload, resources)
    if isinstance(own, WorkerSettings):
        return own.drain_s + WORKER_MORE_S
    if isinstance(own, GatewaySettings):
        return own.drain_s + GATEWAY_CLOSES_S
    grace_s: float = inspect.signature(serve).parameters["grace_s"].default
    return grace_s + PENDING_TIMEOUT_S


def grace(resources: Resources) -> Iterator[str]:
    """SIGKILL comes only after all that a process may do with its SIGTERM; whoever serves clients first waits for the
    proxies to look elsewhere."""
    for workload in ours(resources):
        given_s = pod(workload)["spec"]["terminationGracePeriodSeconds"]
        needed_s = stop_s(workload) + end_s(workload, resources)
        if given_s < needed_s:
            yield f"{label(workload)}: {given_s} s of grace, {needed_s:g} s are needed"
        served = any(port["name"] == "http" for each in containers(workload) for port in each["ports"])
        if served and "preStop" not in pod(workload)["spec"]["containers"][0].get("lifecycle", {}):
            yield f"{label(workload)}: proxies send requests to it when it has ended"


@cache
def metrics(process: str) -> frozenset[str]:
    """Names of the metrics that a process has."""
    files = [ROOT / FOLDERS[process] / name for name in ("metrics.py", "app.py")]
    texts = [file.read_text() for file in files if file.exists()]
    return frozenset(name for text in texts for name in re.findall(r'"(runcast_\w+)"', text))


def scaled_by(resources: Resources) -> Iterator[str]:
    """Autoscalers ask for metrics that the code has; a Pods metric is one of the pods that it scales."""
    for each in of(resources, "HorizontalPodAutoscaler"):
        process = each["spec"]["scaleTargetRef"]["name"].removeprefix("runcast-")
        for metric in each["spec"]["metrics"]:
            name = metric["pods"]["metric"]["name"]
            if name not in metrics(process):
                yield f"{label(each)}: {name} is no metric of the {process}"
    every = frozenset().union(*(metrics(process) for process in FOLDERS))
    for each in of(resources, "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            query = trigger["metadata"]["query"]
            named = re.findall(r"runcast_\w+", query)
            for name in set(named) - every or ([] if named else ["nothing"]):
                yield f"{label(each)}: asks for {name}, which no process has"
            spaces = {space["metadata"]["name"] for space in of(resources, "Namespace")}
            if set(re.findall(r'namespace="([^"]*)"', query)) - spaces or query.count("namespace=") != len(named):
                yield f"{label(each)}: looks at other namespaces than {sorted(spaces)}"


def one_image(resources: Resources) -> Iterator[str]:
    """The three processes are of one release; a process is started as its module."""
    images = {each["image"] for workload in ours(resources) for each in containers(workload)}
    if len(images) != 1:
        yield f"images: {sorted(images)}"
    for workload in ours(resources):
        module = ["python", "-m", f"runcast_{component(workload)}"]
        if [each.get("args") for each in containers(workload)] != [module]:
            yield f"{label(workload)}: not started by {' '.join(module)}"


RULES = (settings, grace, scaled_by, one_image)
