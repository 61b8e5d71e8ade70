"""Tracing: what a request or an attempt belongs to, carried always; recorded as spans where a collector is set.

Without RUNCAST_OTLP_ENDPOINT no library is imported and a span is a name to carry on. With it, otlp.py records.
Which spans there are: docs/tracing.md.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Literal

from structlog.contextvars import bind_contextvars

from runcast_service.logging import bound
from runcast_service.traceparent import new_traceparent, read_traceparent, trace_id

Attributes = Mapping[str, str | int | float]
Kind = Literal["internal", "server", "client"]


class Span:
    """Something that takes time. This one is not recorded. `traceparent`: for whatever it leads to, elsewhere too."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def child(self, name: str, attributes: Attributes, kind: Kind = "internal") -> "Span":
        """A part of it that begins now; whoever asks for it ends it."""
        return self

    def name(self, name: str) -> None:
        """Of what was not known at its beginning."""

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, kind: str) -> None:
        """It came to no good end. `kind`: of a closed set, or a class's name."""

    def end(self) -> None: ...


class Tracer:
    """Makes spans. This one records nothing."""

    records = False

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
        """A span of this process that begins now. `parent`: a traceparent; None: a trace begins. `everywhere`:
        attributes that its parts have as well. `link`: the parent is over, and what is between was a queue."""
        return Span(parent or new_traceparent())

    def tell(self, name: str, parent: str | None, began_ns: int, attributes: Attributes) -> None:
        """A span that is over now. `began_ns`: by time_ns."""

    async def aclose(self) -> None:
        """What is not exported yet is, or is dropped in a few seconds."""


_CURRENT: ContextVar[Span] = ContextVar("span")
_NONE = Span("")


def current_span() -> Span:
    """What this task is in; outside of everything one without a traceparent."""
    return _CURRENT.get(_NONE)


@contextmanager
def entered(span: Span) -> Iterator[Span]:
    """Until the block ends, and the span with it, what this task does and starts is in it."""
    before = _CURRENT.set(span)
    try:
        with bound(trace_id=trace_id(span.traceparent)):
            yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        _CURRENT.reset(before)
        span.end()


def enter(span: Span) -> None:
    """As `entered`, for a task that has a context of its own and ends with the span: a request."""
    _CURRENT.set(span)
    bind_contextvars(trace_id=trace_id(span.traceparent))


def follow(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Enter the span of whoever asks, if there is one: it is not ours, but carried on."""
    if (given := read_traceparent(headers)) is not None:
        enter(Span(given))


@asynccontextmanager
async def tracing(endpoint: str | None, service: str) -> AsyncIterator[Tracer]:
    """The process's tracer. `endpoint`: of a collector, without its path; None: nothing is recorded. Raises ImportError
    where that needs what is not installed."""
    if endpoint is None:
        yield Tracer()
        return
    from runcast_service.otlp import OtlpTracer

    tracer = OtlpTracer(endpoint, service)
    try:
        yield tracer
    finally:
        await tracer.aclose()
