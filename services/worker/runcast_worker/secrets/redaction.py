"""Known secrets never reach an event: what tools and programs say is filtered before it is written.

A secret is found as it stands, and in the forms in which programs quote it: JSON-escaped, percent-encoded, and inside
base64 (the characters of it that the secret alone decides). Not found: other encodings (hex, gzip, base64 broken into
lines), and a secret of fewer than 8 characters, which could not be told from ordinary text.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from pydantic import JsonValue

REPLACEMENT = "[secret]"
SHORTEST = 8
"""A shorter value is no secret that could be told from ordinary text."""


class Needles:
    """What is looked for: every form of every secret. Made once, shared by all filters."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= SHORTEST}
        self._needles = sorted({form for secret in long_enough for form in forms(secret)}, key=len, reverse=True)
        self._longest = len(self._needles[0]) if self._needles else 0
        # By their first characters: which of them could begin at a place.
        self._beginnings = {needle[:n] for needle in self._needles for n in range(1, SHORTEST)}
        self._by_head: dict[str, list[str]] = {}
        for needle in self._needles:
            self._by_head.setdefault(needle[:SHORTEST], []).append(needle)

    def __bool__(self) -> bool:
        return bool(self._needles)

    def found(self, text: str) -> list[tuple[int, int]]:
        """Every occurrence in order as (start, end), also where they overlap."""
        spans = [(at, at + len(needle)) for needle in self._needles if needle in text for at in _places(text, needle)]
        return sorted(spans)

    def open_end(self, text: str) -> int:
        """Where the earliest needle begins that the text's end could be the beginning of; the text's length if none."""
        size, by_head = len(text), self._by_head
        short = max(0, size - SHORTEST + 1)  # from here on less than a head is left
        for at in range(max(0, size - self._longest + 1), short):
            # Looked up before the rest is copied: a key of many lines makes this a long way.
            needles = by_head.get(text[at : at + SHORTEST])
            if needles and any(len(needle) > size - at and needle.startswith(text[at:]) for needle in needles):
                return at
        return next((at for at in range(short, size) if text[at:] in self._beginnings), size)


class Redactor:
    """A filter of one stream of text, given in pieces: a secret that is split over pieces is found too, and all pieces
    together come out as the whole would. At most the longest secret's length is held back."""

    def __init__(self, secrets: Iterable[str] | Needles = ()) -> None:
        self._needles = secrets if isinstance(secrets, Needles) else Needles(secrets)
        self._held = ""
        self._told = 0  # so much of the beginning of `_held` belongs to a secret that was replaced already

    def feed(self, text: str) -> str:
        """What can be shown now; the end is held back while it could be the beginning of a secret."""
        if not self._needles:
            return text
        text = self._held + text
        return self._show(text, self._needles.open_end(text))

    def flush(self) -> str:
        """What was held back; the stream has ended."""
        return self._show(self._held, len(self._held))

    def whole(self, text: str) -> str:
        """A text that is no stream."""
        return Redactor(self._needles)._show(text, len(text)) if self._needles else text

    def value(self, value: JsonValue) -> JsonValue:
        """Every text of a JSON value, the names of its objects too; lone surrogates, which are no Unicode, replaced."""
        if isinstance(value, str):
            return self.whole(value.encode(errors="replace").decode())
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {str(self.value(name)): self.value(item) for name, item in value.items()}
        return value

    def _show(self, text: str, end: int) -> str:
        """The text up to `end` with one replacement for each run of overlapping secrets; the rest is held back."""
        pieces: list[str] = []
        covered = self._told
        for start, stop in self._needles.found(text):
            if start >= end:
                break
            if start >= covered:  # else it overlaps one that was replaced
                pieces += (text[covered:start], REPLACEMENT)
            covered = max(covered, stop)
        pieces.append(text[covered:end])
        self._held, self._told = text[end:], max(0, covered - end)
        return "".join(pieces)


def forms(secret: str) -> set[str]:
    """The secret as programs may write it, each at least SHORTEST characters."""
    plain = secret.encode(errors="replace")
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {quote(plain, safe=""), quote_plus(plain), quote(plain)}
    for before in range(3):
        # Of a byte that base64 shares with a neighbour of the secret the character is not known.
        bits = 8 * before
        first, last = -(-bits // 6), (bits + 8 * len(plain)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(before) + plain + b"\0\0").decode()[first:last])
    return {form for form in found if len(form) >= SHORTEST}


def _places(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1)


def redactors(secrets: Iterable[str]) -> Callable[[], Redactor]:
    """Makes filters that know these secrets; which there are: runcast_worker.secrets.known."""
    needles = Needles(secrets)
    return lambda: Redactor(needles)
