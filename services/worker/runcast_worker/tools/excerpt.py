"""What an event, and so the model, is shown of a long text: its head, its tail, and how long the whole is. Pure."""

import json

from pydantic import JsonValue


def json_bytes(value: JsonValue) -> int:
    """As an event holds it. Raises ValueError for what is no JSON, such as NaN and lone surrogates."""
    return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def writable(text: str) -> str:
    """Without lone surrogates, which are no Unicode."""
    return text.encode(errors="replace").decode()


def excerpt(head: str, tail: str, said: str, limit: int) -> str:
    """As much of a head and of a tail as takes at most `limit` bytes as JSON, `said` between them."""
    keep = limit // 2
    while True:
        shown = f"{head[:keep]}\n… {said} …\n{tail[-keep:] if keep else ''}"
        size = json_bytes(shown)
        if size <= limit or not keep:
            return shown
        keep = min(keep - 1, keep * limit // size)


def shorten(text: str, limit: int, what: str = "bytes") -> str:
    """The text itself where it takes at most `limit` bytes as JSON, else an excerpt of it."""
    if len(text) <= limit and json_bytes(text) <= limit:
        return text
    return excerpt(text, text, f"{len(text.encode())} {what} in all; the middle is left out", limit)
