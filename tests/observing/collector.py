"""A collector of spans on loopback: takes what OTLP over HTTP sends, as protobuf, and keeps it to be looked at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runcast_service.server import SideServer
from tests.conftest import wait_until

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Seen:
    """One span. Ids are hex; `parent` is empty of a root; `links`: traceparents' ids as (trace, span)."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int

    def is_of(self, traceparent: str | None) -> bool:
        """Whether that names this span."""
        return traceparent is not None and traceparent.startswith(f"00-{self.trace}-{self.id}-0")


@dataclass
class Collector:
    """`bodies`: of all requests, as they came."""

    url: str
    spans: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    async def got(self, name: str, count: int = 1) -> list[Seen]:
        """Those of a name, once there are so many."""
        await wait_until(
            lambda: len(self.named(name)) >= count, 15, f"no {count} of {name!r} in {[s.name for s in self.spans]}"
        )
        return self.named(name)

    async def take(self, request: Request) -> Response:
        body = await request.body()
        assert request.headers["content-type"] == PROTOBUF
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(service, span) for span in scope.spans]
        return Response(ExportTraceServiceResponse().SerializeToString(), media_type=PROTOBUF)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector("")
    app = Starlette(routes=[Route("/v1/traces", collector.take, methods=["POST"])])
    async with SideServer(app, "127.0.0.1", 0) as server:
        collector.url = f"http://127.0.0.1:{server.port}"
        yield collector


def _seen(service: str, span: Any) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes=_attributes(span.attributes),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in pairs}
