"""Requests and headers on their way through the edge. Pure."""

from collections.abc import Iterable

from starlette.types import Scope

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
# `expect` was answered by our own server; the rest is ours to say: nobody stands before us.
_REPLACED = frozenset({b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})


def target(scope: Scope) -> bytes:
    """Path and query as the client sent them."""
    raw_path: bytes = scope["raw_path"]
    return raw_path + (b"?" + scope["query_string"] if scope["query_string"] else b"")


def forwarded(scope: Scope) -> Headers:
    """What a service is told: the client's end-to-end headers, and who it is."""
    given: Headers = scope["headers"]
    headers = end_to_end(given, _REPLACED)
    headers.append((b"x-forwarded-proto", scope["scheme"].replace("ws", "http").encode()))
    if scope.get("client"):
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    if host := dict(given).get(b"host"):
        headers.append((b"x-forwarded-host", host))
    return headers


def end_to_end(headers: Headers, dropped: Iterable[bytes] = ()) -> Headers:
    """Without those that concern one hop only, among them what `Connection` names."""
    named = {
        token.strip() for name, value in headers if name.lower() == b"connection" for token in value.lower().split(b",")
    }
    without = _HOP_BY_HOP | named | set(dropped)
    return [(name, value) for name, value in headers if name.lower() not in without]
