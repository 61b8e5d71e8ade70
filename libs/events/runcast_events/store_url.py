"""What a store's URL says: one server, or a service of which Sentinels know the master.

Of a server: redis://, rediss:// (TLS) and unix://, as redis-py reads them. Of a service:
`redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/number][?options]`, or rediss+sentinel://. User,
password and options are those of the store; `sentinel_username` and `sentinel_password` are the Sentinels' own.
Why this form: docs/decisions/0016-a-master-is-who-the-sentinels-say.md.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import parse_url

SENTINEL_PORT = 26379
EXPECTED = (
    "expected redis://host:port/number, rediss://…, unix://path or redis+sentinel://host:port,host:port/service/number"
)
_SENTINEL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<user>[^/?#]*@)?(?P<hosts>[^/?#@]+)/(?P<service>[^/?#]+)"
    r"(?:/(?P<number>\d*))?(?P<options>\?[^#]*)?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")
_SHARED = ("connection_class", "ssl_")
"""Options that hold for Sentinels too: with TLS both have it, by the same certificates."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """`options`: what redis-py's pools and connections take. `service`: empty for a single server."""

    options: dict[str, Any] = field(repr=False)
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse_store_url(url: str) -> StoreUrl:
    """Raises ValueError with what was expected."""
    try:
        if "+sentinel:" not in url.partition("//")[0].lower():
            return StoreUrl(dict(parse_url(url)))
        if (parts := _SENTINEL.fullmatch(url)) is None:
            raise ValueError(url)
        sentinels = tuple(_host(each) for each in parts["hosts"].split(","))
        server = (
            f"{parts['scheme'].lower()}://{parts['user'] or ''}master/{parts['number'] or 0}{parts['options'] or ''}"
        )
        options: dict[str, Any] = dict(parse_url(server))
    except ValueError:
        raise ValueError(EXPECTED) from None
    del options["host"]
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    shared = {name: value for name, value in options.items() if name.startswith(_SHARED)}
    given = {name: value for name, value in own.items() if value is not None}
    return StoreUrl(options, unquote(parts["service"]), sentinels, shared | given)


def _host(text: str) -> tuple[str, int]:
    parts = _HOST.fullmatch(text.strip())
    if parts is None or int(parts["port"] or SENTINEL_PORT) > 65535:
        raise ValueError(text)
    return parts["v6"] or parts["name"], int(parts["port"] or SENTINEL_PORT)
