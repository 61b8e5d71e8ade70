"""The trace context of W3C, as one header carries it: https://www.w3.org/TR/trace-context/. Pure.

`00-<trace id, 32 hex>-<span id, 16 hex>-<flags, 2 hex>`. The last bit of the flags: the caller has it recorded;
the one before: the trace id is random."""

import re
import secrets
from collections.abc import Iterable

HEADER = b"traceparent"
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NOBODY = (b"0" * 32, b"0" * 16)


def new_traceparent() -> str:
    """Of a trace that begins here, to be recorded by whoever records."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-03"


def read_traceparent(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """As version 00. None where there is none, or what is there is none: then nobody may go on with it."""
    given = [value for name, value in headers if name == HEADER]
    found = _FORM.fullmatch(given[0].strip()) if len(given) == 1 else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or trace == _NOBODY[0] or span == _NOBODY[1]:
        return None
    return f"00-{trace.decode()}-{span.decode()}-{int(flags, 16) & 3:02x}"


def trace_id(traceparent: str) -> str:
    """Empty of an empty one."""
    return traceparent[3:35]
