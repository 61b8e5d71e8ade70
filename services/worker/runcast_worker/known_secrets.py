"""Which values are secrets: of the environment by their names, passwords in URLs, and what agents give to programs."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote, urlsplit

from runcast_agents import Agent
from runcast_worker.redaction import SHORTEST

SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|DSN|AUTHORIZATION", re.IGNORECASE)
_NO_SECRET = re.compile(r"(true|false|yes|no|on|off|none|null|[-+]?[0-9][0-9_.,]*)", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{(\w+)\}")


def known_secrets(environ: Mapping[str, str], agents: Iterable[Agent] = (), urls: Iterable[str] = ()) -> set[str]:
    """All of them. `urls`: of stores, as the settings have them."""
    found = {value for name, value in environ.items() if SECRET_NAME.search(name)}
    for url in (*environ.values(), *urls):
        found |= set(_passwords(url))
    for agent in agents:
        servers = [values for server in agent.mcp.values() for values in (server.env, server.headers)]
        for name, value in [item for values in (agent.env, *servers) for item in values.items()]:
            found |= set(_given(name, value, environ))
    return {value for value in found if _may_be_secret(value)}


def _given(name: str, value: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Of a variable or a header: what it takes from the environment, whatever its name there; or what
    stands in the file itself where its name says that it is a secret."""
    for reference in _REFERENCE.findall(value):
        yield environ.get(reference, "")
    if SECRET_NAME.search(name) and not _REFERENCE.search(value):
        yield value
        yield value.rpartition(" ")[2]  # Authorization: Bearer …


def _passwords(url: str) -> Iterator[str]:
    """As it stands there and decoded; nothing where the text is no URL with a password."""
    if "://" not in url or "@" not in url:
        return
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)


def _may_be_secret(value: str) -> bool:
    """Not what is plainly none: a short text, a number, a switch, the path of something that exists."""
    if len(value) < SHORTEST or _NO_SECRET.fullmatch(value):
        return False
    is_path = value.startswith(("/", "./", "../", "~/")) and "\0" not in value
    return not (is_path and os.path.exists(os.path.expanduser(value)))
