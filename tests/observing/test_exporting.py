"""What exporting costs where the collector is away, hangs, or is not wanted at all."""

import asyncio
import logging
import subprocess
import sys
import threading
from time import perf_counter

import pytest

from runcast_local.store import free_port
from runcast_service.otlp import CLOSE_S, QUEUE, OtlpTracer
from runcast_service.tracing import Span, current_span, entered, tracing
from tests.conftest import wait_until
from tests.observing.collector import Collector

PROGRAM = """
import asyncio, sys
import runcast_api.app, runcast_gateway.app, runcast_worker.worker
from runcast_service.tracing import tracing
async def main():
    async with tracing(None, "any") as tracer:
        with_it = tracer.span("x", None, {})
        assert not tracer.records and len(with_it.traceparent) == 55
asyncio.run(main())
theirs = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf")
print([name for name in sys.modules if name.startswith(theirs)])
"""


def test_what_is_not_asked_for_is_not_imported() -> None:
    """Neither the SDK nor the exporter nor protobuf, by any service."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "[]\n"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_collector_that_is_away_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """However many spans there are: none waits for it, few are kept, and the end comes at once."""
    tracer = OtlpTracer(f"http://127.0.0.1:{free_port()}", "worker")
    began = perf_counter()
    for _ in range(QUEUE + 1000):
        tracer.span("x", None, {"a": 1}).end()
    assert perf_counter() - began < 10, "spans wait for the collector"
    await wait_until(lambda: bool(warnings(caplog)), 15)
    began = perf_counter()
    await tracer.aclose()
    assert perf_counter() - began < CLOSE_S
    assert warnings(caplog) == ["the collector takes no spans: they are dropped"]


async def test_a_collector_that_hangs_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """It takes connections, and says nothing."""
    taken: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    tracer = OtlpTracer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "worker")
    tracer.span("x", None, {}).end()
    began = perf_counter()
    await tracer.aclose()
    assert perf_counter() - began < CLOSE_S + 0.5
    assert warnings(caplog) == [f"the last spans were not taken in {CLOSE_S:g} s, and are dropped"]
    server.close()
    await wait_until(lambda: bool(taken) and all(_closed(writer) for writer in taken) and not _trying())


async def test_the_last_spans_are_exported_at_the_end(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the headers that the collector wants, which no line shows."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=canary-of-the-collector")
    async with tracing(collector.url, "worker") as tracer:
        with pytest.raises(KeyError), entered(tracer.span("outer", None, {}, everywhere={"all": 1})):
            _raise_after(current_span().child("inner", {"own": 2}))
        assert current_span().traceparent == ""
    ((outer,), (inner,)) = collector.named("outer"), collector.named("inner")
    assert (inner.parent, inner.attributes, inner.failed) == (outer.id, {"all": 1, "own": 2}, False)
    assert (outer.failed, outer.attributes) == (True, {"all": 1, "error.type": "KeyError"})
    assert collector.headers[0]["x-api-key"] == "canary-of-the-collector"
    assert "canary" not in caplog.text


def _raise_after(span: Span) -> None:
    with entered(span):
        pass
    raise KeyError


def _closed(writer: asyncio.StreamWriter) -> bool:
    writer.close()
    return writer.transport.is_closing()


def _trying() -> list[str]:
    """Threads that have not yet given up; the process would not wait for them."""
    return [each.name for each in threading.enumerate() if each.name == "last spans"]
