"""Which values are secrets: of the environment by their names, passwords in URLs, and what agents give to programs.

A value of several lines, such as a private key, is known as a whole, with the line ends that a terminal makes of it,
and by each of its lines: programs print parts of files, and number or indent them."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from runcast_agents import Agent
from runcast_worker.secrets.redaction import SHORTEST

SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASS|CREDENTIAL|DSN|AUTHORIZATION", re.IGNORECASE)
_NO_SECRET = re.compile(r"(true|false|yes|no|on|off|none|null|[-+]?[0-9][0-9_.,]*)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n|\\r\\n|\\n")
"""Also as it is written in a variable that may have one line only."""
_MARKER = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")
LINE_CHARS = 16
"""A shorter line of a secret is not looked for by itself."""
_WEB = ("http", "https")
USER_CHARS = 20
"""A longer user in a URL of the web, beside a password, is the token, and the password a word such as x-oauth-basic."""
_REFERENCE = re.compile(r"\$\{(\w+)\}")


def known_secrets(environ: Mapping[str, str], agents: Iterable[Agent] = (), urls: Iterable[str] = ()) -> set[str]:
    """All of them. `urls`: of stores, as the settings have them."""
    found = {value for name, value in environ.items() if SECRET_NAME.search(name)}
    for url in (*environ.values(), *urls):
        found |= set(_of_url(url))
    for agent in agents:
        servers = [values for server in agent.mcp.values() for values in (server.env, server.headers)]
        for server in agent.mcp.values():
            found |= set(_of_url(server.url or ""))
        for name, value in [item for values in (agent.env, *servers) for item in values.items()]:
            found |= set(_given(name, value, environ))
    return {text for value in found for text in _texts(value.strip()) if _may_be_secret(text)}


def _given(name: str, value: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Of a variable or a header: what it takes from the environment, whatever its name there; or what
    stands in the file itself where its name says that it is a secret."""
    for reference in _REFERENCE.findall(value):
        yield environ.get(reference, "")
    if SECRET_NAME.search(name) and not _REFERENCE.search(value):
        yield value
        yield value.rpartition(" ")[2]  # Authorization: Bearer …


def _of_url(url: str) -> Iterator[str]:
    """Its password, a user that is a token, and options that are named as secrets; as it stands there and decoded.
    Nothing where the text is no URL."""
    if "://" not in url:
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user, password = parts.username or "", parts.password or ""
    found = [password, *(value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name))]
    # Of other schemes it is a name that says nothing, such as postgres.
    if parts.scheme.rpartition("+")[2] in _WEB and (not password or len(user) >= USER_CHARS):
        found.append(user)
    for text in found:
        yield text
        yield unquote(text)


def _texts(value: str) -> Iterator[str]:
    """What of a secret is looked for."""
    yield value
    lines = _LINE_END.split(value)
    if len(lines) == 1:
        return
    yield "\n".join(lines).strip()
    yield "\r\n".join(lines).strip()
    for line in map(str.strip, lines):
        if len(line) >= LINE_CHARS and not _MARKER.fullmatch(line):
            yield line


def _may_be_secret(value: str) -> bool:
    """Not what is plainly none: a short text, a number, a switch, the path of something that exists."""
    if len(value) < SHORTEST or _NO_SECRET.fullmatch(value):
        return False
    is_path = value.startswith(("/", "./", "../", "~/")) and "\0" not in value
    return not (is_path and os.path.exists(os.path.expanduser(value)))
