"""Metrics of the api service. Labels come from closed sets: never ids, never what a client wrote."""

from math import nan
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from runcast_service.answered import Answered
from runcast_service.log_metrics import LogMetrics
from runcast_service.metrics import ProcessRegistry
from runcast_service.problem import PROBLEM
from runcast_tasks.queue import Queue

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry per app: two apps in one process do not collide."""

    def __init__(self) -> None:
        self.registry = ProcessRegistry("api")
        self.log = LogMetrics(self.registry)
        self.tasks_accepted = Counter(
            "runcast_tasks_accepted", "Tasks answered with 202.", ["agent"], registry=self.registry
        )
        self.tasks_rejected = Counter(
            "runcast_tasks_rejected",
            "Tasks that were not accepted, by the code of the problem.",
            ["reason"],
            registry=self.registry,
        )
        self._queued = Gauge(
            "runcast_tasks_queued",
            "Tasks that wait for a worker, of the whole deployment; not those behind others of their session. NaN "
            "while the queue store is away.",
            registry=self.registry,
        )
        self._oldest = Gauge(
            "runcast_tasks_queued_oldest_seconds", "How long the oldest of them waits.", registry=self.registry
        )
        self.request_seconds = Histogram(
            "runcast_api_request_seconds",
            "From the request's head to the answer's last byte.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=BUCKETS_S,
        )

    async def look(self, queue: Queue) -> None:
        """At the queue, which all apis show alike."""
        self._queued.set(nan)
        self._oldest.set(nan)
        try:
            waiting = await queue.waiting()
        except (RedisError, OSError):
            return
        self._queued.set(waiting.rings)
        self._oldest.set(waiting.oldest_s)


class RequestMetrics:
    """ASGI middleware: how long requests took, by route template; and which tasks were not accepted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._seconds, self._rejected = app, metrics.request_seconds, metrics.tasks_rejected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, answered = perf_counter(), Answered(send)
        try:
            await self._app(scope, receive, answered)
        finally:
            route = scope.get("route")
            template = getattr(route, "path", None) or "unmatched"
            methods = getattr(route, "methods", None) or ()
            method = scope["method"] if scope["method"] in methods else "other"
            self._seconds.labels(method, template, str(answered.status)).observe(perf_counter() - started)
            if answered.status >= 400 and scope["method"] == "POST" and scope["path"] == "/api/tasks":
                self._rejected.labels(scope.get(PROBLEM, "internal")).inc()
