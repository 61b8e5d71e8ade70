"""Known secrets never reach an event: what tools and programs say is filtered before it is written. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote, urlsplit

REPLACEMENT = "[secret]"
SHORTEST = 8
"""A shorter value is no secret that could be told from ordinary text."""


class Redactor:
    """A filter of one stream of text, given in pieces: a secret that is split over pieces is found too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._secrets = known
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now; the end is held back while it could be the beginning of a secret."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(REPLACEMENT, self._held + text)
        held = self._open_end(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back; the stream has ended."""
        held, self._held = self._held, ""
        return held

    def whole(self, text: str) -> str:
        """A text that is no stream."""
        return text if self._pattern is None else self._pattern.sub(REPLACEMENT, text)

    def _open_end(self, text: str) -> int:
        """How many characters at the end are the beginning of a secret."""
        longest = max(map(len, self._secrets)) - 1
        for size in range(min(longest, len(text)), 0, -1):
            end = text[-size:]
            if any(secret.startswith(end) for secret in self._secrets):
                return size
        return 0


def redactors(environ: Mapping[str, str], more: Iterable[str] = ()) -> Callable[[], Redactor]:
    """Makes filters for the values of an environment's secrets, and for `more`."""
    secrets = tuple(value for name, value in environ.items() if SECRET_NAME.search(name)) + tuple(more)
    return lambda: Redactor(secrets)


def passwords(*urls: str) -> list[str]:
    """Of stores' URLs, as they stand there and decoded."""
    found = [password for url in urls if (password := urlsplit(url).password)]
    return [*found, *map(unquote, found)]


SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
