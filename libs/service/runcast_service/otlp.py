"""Spans, recorded by OpenTelemetry and exported by OTLP over HTTP. Imported only where a collector is set.

Nothing waits for the collector: spans wait in a bounded queue that a thread empties; what does not fit, and what the
collector does not take, is dropped. OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES and the
like mean what OpenTelemetry says.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from importlib.metadata import version
from time import monotonic

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runcast_service.tracing import Attributes, Kind, Span, Tracer

logger = logging.getLogger(__name__)

QUEUE = 4096
"""Spans that wait, some KB each."""
BATCH, EVERY_MS = 512, 1000
EXPORT_S = 2.0
"""For one batch, with what is tried again."""
CLOSE_S = 1.5
"""At the end of a process, which somebody may be waiting to kill."""
AGAIN_S = 60.0
"""A collector that is away is told of this often."""
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}
_CONTEXT = TraceContextTextMapPropagator()


class OtlpTracer(Tracer):
    """One per process. Its provider is its own: libraries that look for a global one find none, and record nothing."""

    records = True

    def __init__(self, endpoint: str, service: str) -> None:
        # Its own words are many, some for each span that is dropped; ours are below.
        logging.getLogger("opentelemetry").setLevel("CRITICAL")
        release = version("runcast-service")
        resource = Resource.create({"service.name": f"runcast-{service}", "service.version": release})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._exporter = Patient(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S))
        processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH, schedule_delay_millis=EVERY_MS
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("runcast", release)

    def span(
        self,
        name: str,
        parent: str | None,
        attributes: Attributes,
        kind: Kind = "internal",
        *,
        everywhere: Attributes | None = None,
        link: bool = False,
    ) -> Span:
        context = _context(parent)
        links = [Link(get_current_span(context).get_span_context())] if link and parent else []
        return _Recorded(self, name, context, attributes, kind, everywhere or {}, links)

    def start(
        self, name: str, context: Context, attributes: Attributes, kind: Kind, links: Sequence[Link] = ()
    ) -> OtelSpan:
        return self._tracer.start_span(name, context, _KINDS[kind], attributes, links)

    def tell(self, name: str, parent: str | None, began_ns: int, attributes: Attributes) -> None:
        self._tracer.start_span(name, _context(parent), SpanKind.SERVER, attributes, start_time=began_ns).end()

    async def aclose(self) -> None:
        # A thread that nobody waits for at the end of the process, whatever the collector does.
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def close() -> None:
            if self._exporter.failing:
                self._exporter.shutdown()  # else it would try on
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waited so long
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=close, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_S):
                await done.wait()
        except TimeoutError:
            logger.warning("the last spans were not taken in %g s, and are dropped", CLOSE_S)


class _Recorded(Span):
    def __init__(
        self,
        tracer: OtlpTracer,
        name: str,
        context: Context,
        attributes: Attributes,
        kind: Kind,
        everywhere: Attributes,
        links: Sequence[Link] = (),
    ) -> None:
        self._tracer, self._everywhere = tracer, everywhere
        self._span = tracer.start(name, context, {**everywhere, **attributes}, kind, links)
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, set_span_in_context(self._span))
        super().__init__(carrier["traceparent"])

    def child(self, name: str, attributes: Attributes, kind: Kind = "internal") -> Span:
        return _Recorded(self._tracer, name, set_span_in_context(self._span), attributes, kind, self._everywhere)

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, kind: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute("error.type", kind)

    def end(self) -> None:
        self._span.end()


def _context(traceparent: str | None) -> Context:
    return _CONTEXT.extract({"traceparent": traceparent} if traceparent else {}, Context())


class Patient(SpanExporter):
    """An exporter whose failures are one line a minute. It runs in the processor's thread."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._dropped = 0
        self._told_at: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._told_at is not None:
                logger.info("the collector takes spans again", extra={"dropped": self._dropped})
            self._dropped, self._told_at = 0, None
            return result
        self._dropped += len(spans)
        if self._told_at is None or monotonic() - self._told_at >= AGAIN_S:
            self._told_at = monotonic()
            logger.warning("the collector takes no spans: they are dropped", extra={"dropped": self._dropped})
        return result

    @property
    def failing(self) -> bool:
        return self._told_at is not None

    def shutdown(self) -> None:
        self._inner.shutdown()
