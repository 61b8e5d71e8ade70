"""One bounded GET: to public addresses only, over every redirect, with limits to its size and its time.

The name is resolved once, every address of the answer is checked, and the connection is made to the very address that
was checked: what the name resolves to a moment later does not matter. Host and SNI are those of the URL.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import httpx2

from runcast_worker.tools import ToolFailed
from runcast_worker.tools.addresses import is_public

REDIRECTS = 3
BODY_BYTES = 5 * 1024 * 1024
TOTAL_S = 10.0
PORTS = frozenset({80, 443})
URL_CHARS = 4096
USER_AGENT = "runcast-fetch/0.1"
ACCEPT = "text/markdown, text/html;q=0.9, application/json;q=0.9, text/*;q=0.8, */*;q=0.1"

_HOST = re.compile(rb"[a-z0-9._-]+|[0-9a-f:.]+")
"""As bytes of the URL, where other letters are IDNA by now; no zone of a link-local address."""

Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Page:
    """What came. `url`: after the redirects. `kind`: the media type, lower case, without parameters."""

    url: str
    kind: str
    charset: str | None
    body: bytes


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, by the machine's resolver. It also reads numbers in all their forms: 127.1, 0x7f000001.
    Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class Web:
    """Gets pages. `resolve`: as the one above."""

    def __init__(self, resolve: Resolve = resolve) -> None:
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None

    async def get(self, url: str, allow: Collection[str], wanted: Callable[[str], bool]) -> Page:
        """`allow`: `host:port` that may be asked although not public. `wanted`: of a media type, whether to read it.
        Raises ToolFailed."""
        try:
            async with asyncio.timeout(TOTAL_S):
                if self._tls is None:  # reads a file of certificates; SSL_CERT_FILE may name another
                    self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
                async with httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
                    return await self._follow(transport, url, allow, wanted)
        except TimeoutError:
            raise ToolFailed("timeout", f"the page did not come whole in {TOTAL_S:g} s") from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ToolFailed("unreachable", f"the request failed: {str(error) or type(error).__name__}") from None

    async def _follow(
        self, transport: httpx2.AsyncHTTPTransport, url: str, allow: Collection[str], wanted: Callable[[str], bool]
    ) -> Page:
        at = parse(url)
        for _ in range(REDIRECTS + 1):
            response = await self._ask(transport, at, await self._addresses(at, allow))
            try:
                location = response.headers.get("location")
                if response.status_code in (301, 302, 303, 307, 308) and location:
                    at = parse(location, at)
                    continue
                return await _read(at, response, wanted)
            finally:
                await response.aclose()
        raise ToolFailed("redirects", f"more than {REDIRECTS} redirects, the last one to {str(at)[:200]!r}")

    async def _addresses(self, url: httpx2.URL, allow: Collection[str]) -> list[str]:
        """All of them are fit to connect to. Raises ToolFailed."""
        host, port = url.raw_host.decode(), url.port or (443 if url.scheme == "https" else 80)
        name = f"[{host}]" if ":" in host else host.rstrip(".")
        allowed = f"{name}:{port}" in allow
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise ToolFailed("unreachable", f"the name {host[:80]!r} cannot be resolved: {error.strerror}") from None
        except UnicodeError:
            raise ToolFailed("invalid_url", f"{host[:80]!r} is no host name") from None
        # The address first: who asks for a private one is not sent to another port of it.
        hint = f"an operator can allow {name[:80]}:{port} by fetch_allow"
        if not addresses or not (allowed or all(map(is_public, addresses))):
            raise ToolFailed("refused", f"{host[:80]!r} is not, or not only, on the internet; {hint}")
        if port not in PORTS and not allowed:
            raise ToolFailed("refused", f"port {port} of {host[:80]!r}: expected 80 or 443; {hint}")
        return addresses

    async def _ask(
        self, transport: httpx2.AsyncHTTPTransport, url: httpx2.URL, addresses: list[str]
    ) -> httpx2.Response:
        """The first address that a connection can be made to answers."""
        headers = {
            "Host": url.netloc.decode(),
            "User-Agent": USER_AGENT,
            "Accept": ACCEPT,
            "Accept-Encoding": "gzip, identity",
            "Connection": "close",
        }
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TOTAL_S)
        extensions = {"sni_hostname": url.raw_host.decode(), "timeout": timeouts}
        for index, address in enumerate(addresses):
            request = httpx2.Request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)
            try:
                return await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if index == len(addresses) - 1:
                    raise
        raise AssertionError("no addresses")


def parse(text: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """An http(s) URL, or one relative to `base`. Raises ToolFailed."""
    shown = repr(text[:200])
    if len(text) > URL_CHARS:
        raise ToolFailed("invalid_url", f"the URL has {len(text)} characters; expected at most {URL_CHARS}")
    try:
        url = httpx2.URL(text) if base is None else base.join(text)
        url = url.copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise ToolFailed("invalid_url", f"{shown} is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ToolFailed("invalid_url", f"{shown}: expected http://… or https://…")
    if not _HOST.fullmatch(url.raw_host):
        raise ToolFailed("invalid_url", f"{url.host[:80]!r} is no host name")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise ToolFailed("invalid_url", f"{url.port} is no port; expected 1 to 65535")
    if url.userinfo:
        raise ToolFailed("invalid_url", "a URL with a user or a password is refused; expected one without")
    return url


async def _read(url: httpx2.URL, response: httpx2.Response, wanted: Callable[[str], bool]) -> Page:
    shown = str(url)[:200]
    if response.status_code >= 300:
        raise ToolFailed("http_status", f"{shown} answered {response.status_code} {response.reason_phrase}")
    kind, _, parameters = response.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if not wanted(kind):
        raise ToolFailed("not_text", f"{shown} is {kind[:80] or 'of no given type'}; only text can be fetched")
    given = [p.partition("=") for p in parameters.split(";")]
    charset = next((value.strip(" \"'").lower() for name, _, value in given if name.strip().lower() == "charset"), None)
    return Page(str(url), kind, charset, await _body(response))


async def _body(response: httpx2.Response) -> bytes:
    """Whole and unpacked, or ToolFailed: neither form may be larger than BODY_BYTES."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise ToolFailed("not_text", f"the page is packed as {encoding[:40]!r}, which was not asked for")
    unpack = None if encoding in ("identity", "") else zlib.decompressobj(zlib.MAX_WBITS | 16)
    body, received = bytearray(), 0
    async for piece in response.aiter_raw():
        received += len(piece)
        try:
            # One byte more than there is room for shows that it is too large.
            body += piece if unpack is None else unpack.decompress(piece, BODY_BYTES + 1 - len(body))
        except zlib.error:
            raise ToolFailed("unreachable", "the page is broken: not gzip, as it says") from None
        if max(len(body), received) > BODY_BYTES:
            raise ToolFailed("too_large", f"the page has more than {BODY_BYTES} bytes")
    if unpack is not None and not unpack.eof:
        raise ToolFailed("unreachable", "the page is broken: its end is missing")
    return bytes(body)
