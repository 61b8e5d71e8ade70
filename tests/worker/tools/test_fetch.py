"""fetch: against a real server, and against every way to make it ask somebody it must not."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runcast_agents import Agent
from runcast_worker.tools import ToolFailed, web
from runcast_worker.tools.addresses import is_public
from runcast_worker.tools.fetch import Fetch
from runcast_worker.tools.web import Web
from tests.conftest import wait_until
from tests.worker.tools.calling import Call

Answer = Callable[[str, dict[str, str]], Awaitable[bytes | AsyncIterator[bytes]]]


class Server:
    """Answers by path with the bytes that `answers` has for it; remembers what was asked, and by which Host."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self.slow = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            host = next(line[6:] for line in lines if line.lower().startswith("host: "))
            path = lines[0].split(" ")[1]
            self.asked.append((path, host))
            answer = self.answers.get(path, status("404 Not Found"))
            while self.slow:
                writer.write(answer[:1] or b"x")
                answer = answer[1:]
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def status(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "Connection: close"])
    return head.encode() + b"\r\n\r\n" + body


def page(body: str | bytes, kind: str = "text/html; charset=utf-8", *headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    return status("200 OK", f"Content-Type: {kind}", *headers, body=content)


def redirect(to: str) -> bytes:
    return status("302 Found", f"Location: {to}")


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        await server.serve(reader, writer)
        running.discard(task)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture
def call(server: Server, tmp_path: Path) -> Call:
    return Call(tmp_path.resolve(), fetch_allow=(server.host,))


def answering(*addresses: str) -> tuple[Web, list[str]]:
    """A web whose names have these addresses; and the names that it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return list(addresses)

    return Web(resolve), asked


# --- what is read -----------------------------------------------------------------------------------------------------


async def test_a_page_comes_as_text_with_its_url_and_title(call: Call, server: Server) -> None:
    """HTML as Markdown, by the charset it names; JSON and text as they are."""
    server.answers = {
        "/a": page("<title>T</title><h1>Hé</h1><a href=b>x</a>"),
        "/b": page('<meta charset="windows-1252"><p>caf\xe9'.encode("latin-1"), "text/html"),
        "/c": page('{"a": [1]}', "application/vnd.api+json"),
        "/d": page("one\r\ntwo", "text/plain; charset=zlib"),
    }
    base = f"http://{server.host}"
    assert await call(Fetch(), url=f"{base}/a") == f"{base}/a\nT\n\n# Hé\n\n[x]({base}/b)"
    assert "café" in await call(Fetch(), url=f"{base}/b")
    assert await call(Fetch(), url=f"{base}/c#part") == f'{base}/c\n\n{{"a": [1]}}'
    assert await call(Fetch(), url=f"{base}/d") == f"{base}/d\n\none\ntwo"
    assert {host for _, host in server.asked} == {server.host}


async def test_redirects_are_followed_three_times(call: Call, server: Server) -> None:
    """Also relative ones; a loop ends."""
    server.answers = {"/1": redirect("/2"), "/2": redirect("3"), "/3": redirect(f"http://{server.host}/4")}
    server.answers |= {"/4": page("there", "text/plain"), "/loop": redirect("/loop"), "/0": redirect("/1")}
    assert await call(Fetch(), url=f"http://{server.host}/1") == f"http://{server.host}/4\n\nthere"
    assert (await call.refused(Fetch(), url=f"http://{server.host}/0")).code == "redirects"
    assert (await call.refused(Fetch(), url=f"http://{server.host}/loop")).code == "redirects"


async def test_gzip_is_unpacked(call: Call, server: Server) -> None:
    """What else a page may be packed as was not asked for."""
    packed = gzip.compress(b"text" * 1000)
    server.answers = {
        "/gzip": page(packed, "text/plain", "Content-Encoding: gzip"),
        "/broken": page(packed[:-9], "text/plain", "Content-Encoding: gzip"),
        "/none": page(b"no gzip", "text/plain", "Content-Encoding: gzip"),
        "/deflate": page(zlib.compress(b"x"), "text/plain", "Content-Encoding: deflate"),
    }
    assert (await call(Fetch(), url=f"http://{server.host}/gzip")).endswith("\n\n" + "text" * 1000)
    codes = {"/broken": "unreachable", "/none": "unreachable", "/deflate": "not_text"}
    for path, code in codes.items():
        assert (await call.refused(Fetch(), url=f"http://{server.host}{path}")).code == code


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_what_is_no_text_is_refused_before_it_is_read(call: Call, server: Server) -> None:
    """By its type; one that has none too."""
    server.answers = {"/png": page(b"\x89PNG", "image/png"), "/none": status("200 OK", body=b"x")}
    assert (await call.refused(Fetch(), url=f"http://{server.host}/png")).code == "not_text"
    assert (await call.refused(Fetch(), url=f"http://{server.host}/none")).code == "not_text"
    missing = await call.refused(Fetch(), url=f"http://{server.host}/missing")
    assert (missing.code, "404 Not Found" in missing.message) == ("http_status", True)


async def test_a_page_that_is_too_large_is_refused(call: Call, server: Server) -> None:
    """Packed or not: a bomb is unpacked only up to the limit."""
    huge = b"x" * (web.BODY_BYTES + 1)
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 1)
    server.answers = {"/huge": page(huge, "text/plain"), "/bomb": page(bomb, "text/plain", "Content-Encoding: gzip")}
    assert (await call.refused(Fetch(), url=f"http://{server.host}/huge")).code == "too_large"
    assert (await call.refused(Fetch(), url=f"http://{server.host}/bomb")).code == "too_large"


async def test_a_page_that_comes_too_slowly_is_given_up(
    call: Call, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although something comes all the time: what counts is the whole."""
    monkeypatch.setattr(web, "TOTAL_S", 0.4)
    server.answers = {"/": page("x" * 10_000, "text/plain")}
    server.slow = True
    assert (await call.refused(Fetch(), url=f"http://{server.host}/")).code == "timeout"


# --- whom it does not ask ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "100.100.100.200", "240.0.0.1", "192.88.99.1"),
        *(
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::ffff:0:127.0.0.1",
            "fe80::1",
            "fe80::1%1",
        ),
        *("fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "100::1", "3fff::1"),
        "5f00::1",
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
        *("2001:0:4136:e378:8000:63bf:80ff:fffe", "2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.1"),
        *("", "localhost", "1.2.3", "1.2.3.4.5"),
    ],
)
def test_an_address_that_is_not_of_the_internet(address: str) -> None:
    """In all forms in which one can be written."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"]
)
def test_an_address_of_the_internet(address: str) -> None:
    """Also where it is translated to one."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "017700000001", "127.1", "0", "0x7f.1", "127.0.0.1."),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "169.254.169.254", "10.0.0.1"),
        *("\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "[fe80::1%25lo]", "\uff11\uff12\uff17.0.0.1"),
    ],
)
async def test_a_private_host_is_refused_however_it_is_written(tmp_path: Path, host: str) -> None:
    """Names, decimal, octal and hexadecimal numbers, IPv6 forms, letters that look like digits."""
    failed = await Call(tmp_path).refused(Fetch(), url=f"http://{host}/")
    assert failed.code in ("refused", "invalid_url", "unreachable"), failed.message


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://example.org/", "gopher://x/", "http://", "http:///x", "example.org", "//x/y"),
        *("http://user:password@example.org/", "http://user@example.org/", "javascript:1", "data:text/plain,x"),
        *("http://example.org:99999/", "http://exa mple.org/", "http://[::1/", "http://\x00/", "http://" + "a" * 5000),
    ],
)
async def test_what_is_no_fit_url_is_refused(tmp_path: Path, url: str) -> None:
    """With what was expected; nothing is asked."""
    fetch_, asked = answering("1.1.1.1")
    with pytest.raises((ToolFailed, ValueError)) as failed:
        await Call(tmp_path)(Fetch(fetch_), url=url)
    assert not asked
    assert not isinstance(failed.value, ToolFailed) or failed.value.code in ("invalid_url", "refused")


async def test_a_name_of_which_one_address_is_private_is_refused(tmp_path: Path, server: Server) -> None:
    """All are checked, not the first alone; and an unusual port."""
    mixed, _ = answering("1.1.1.1", "127.0.0.1")
    assert (await Call(tmp_path).refused(Fetch(mixed), url="http://docs.test/")).code == "refused"
    nowhere, _ = answering()
    assert (await Call(tmp_path).refused(Fetch(nowhere), url="http://docs.test/")).code == "refused"
    public, _ = answering("1.1.1.1")
    url = f"http://docs.test:{server.port}/"
    assert (await Call(tmp_path).refused(Fetch(public), url=url)).code == "refused"
    assert not server.asked


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "http://127.0.0.1:8090/stats",
            "'127.0.0.1' is not, or not only, on the internet; an operator can allow 127.0.0.1:8090 by fetch_allow",
        ),
        ("https://[::1]", "'::1' is not, or not only, on the internet; an operator can allow [::1]:443 by fetch_allow"),
        (
            "http://1.1.1.1:81",
            "port 81 of '1.1.1.1': expected 80 or 443; an operator can allow 1.1.1.1:81 by fetch_allow",
        ),
    ],
)
async def test_a_refusal_says_what_would_allow_it(tmp_path: Path, url: str, said: str) -> None:
    """That an address is private comes before its port: another port would not help. What it names does help."""
    assert (await Call(tmp_path).refused(Fetch(), url=url)).message == said
    entry = said.removesuffix(" by fetch_allow").rpartition(" ")[2]
    web, _ = answering()  # no address at all: it is not the port, nor that it is private
    allowed = await Call(tmp_path, fetch_allow=(entry,)).refused(Fetch(web), url=url)
    assert "expected 80 or 443" not in allowed.message
    assert Agent(engine="llm", fetch_allow=(entry,)).fetch_allow == (entry,)


async def test_the_address_that_was_checked_is_the_one_that_is_asked(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to something else a moment later gains nothing: it is resolved once; the Host is kept."""
    server.answers = {"/": page("there", "text/plain")}
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    name = f"docs.test:{server.port}"
    told = await Call(tmp_path, fetch_allow=(name,))(Fetch(Web(rebinding)), url=f"http://{name}/")
    assert told == f"http://{name}/\n\nthere"
    assert asked == ["docs.test"]
    assert server.asked == [("/", name)]


async def test_an_address_that_does_not_answer_is_passed_over(tmp_path: Path, server: Server) -> None:
    """As a browser does."""
    server.answers = {"/": page("there", "text/plain")}
    both, _ = answering("127.255.255.1", "127.0.0.1")
    name = f"docs.test:{server.port}"
    assert await Call(tmp_path, fetch_allow=(name,))(Fetch(both), url=f"http://{name}/")


@pytest.mark.parametrize(
    "to", ["http://169.254.169.254/latest", "http://localhost/", "http://[::1]/", "file:///etc/passwd"]
)
async def test_a_redirect_to_somewhere_private_is_refused(call: Call, server: Server, to: str) -> None:
    """Every hop is checked like the first; what is allowed is that one host and port."""
    server.answers = {"/": redirect(to)}
    assert (await call.refused(Fetch(), url=f"http://{server.host}/")).code in ("refused", "invalid_url")


async def test_another_port_of_an_allowed_host_is_refused(call: Call, server: Server) -> None:
    """`host:port` is what is allowed, not the host."""
    async with serving() as other:
        other.answers = {"/": page("secret", "text/plain")}
        server.answers = {"/": redirect(f"http://{other.host}/")}
        assert (await call.refused(Fetch(), url=f"http://{server.host}/")).code == "refused"
        assert (await call.refused(Fetch(), url=f"http://{other.host}/")).code == "refused"
        assert not other.asked


async def test_proxies_of_the_environment_are_not_used(
    call: Call, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the name itself: nothing would have been checked."""
    async with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.host}")
        server.answers = {"/": page("there", "text/plain")}
        assert await call(Fetch(), url=f"http://{server.host}/")
        assert not proxy.asked


async def test_a_fetch_that_is_cancelled_closes_its_connection(call: Call, server: Server) -> None:
    """Nothing is left behind."""
    server.slow = True
    server.answers = {"/": page("x" * 1000, "text/plain")}
    fetching = asyncio.create_task(call(Fetch(), url=f"http://{server.host}/"))
    await wait_until(lambda: bool(server.asked))
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
