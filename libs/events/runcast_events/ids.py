"""Names that arrive from outside: event ids, session ids, task ids. Pure; every pattern is matched whole."""

import re
import secrets
from typing import NamedTuple

from runcast_events.errors import InvalidId

# `[0-9]` and not `\d`: the latter also matches Arabic-Indic and other digits, which int() then accepts.
_EVENT_ID = re.compile(r"([0-9]{1,16})-([0-9]{1,19})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TASK_ID = re.compile(r"([A-Za-z0-9_-]{1,64})\.[a-z2-7]{10}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

DEFAULT_TENANT = "default"
AUDIT_TENANT, CANARY = "audit", "canary"
"""Whose log, and its session's name: events that workers append only for gateways to see whether they come. The name
is also its events'."""


class EventId(NamedTuple):
    """`<epoch>-<n>`: a valid explicit Redis Stream id. Compares as two integers, never as text."""

    epoch: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.n}"

    def encode(self) -> bytes:
        """As the store has it."""
        return b"%d-%d" % self

    @classmethod
    def parse(cls, text: str) -> "EventId":
        """Read an id that somebody sent. Raises InvalidId for anything but `<1-16 digits>-<1-19 digits>`."""
        match = _EVENT_ID.fullmatch(text)
        if match is None:
            raise InvalidId("event id", text, "<epoch>-<n>, for example 1763640000000-12")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def decode(cls, raw: bytes) -> "EventId":
        """Read an id that the store gave: no validation, the hot path."""
        epoch, _, n = raw.partition(b"-")
        return cls(int(epoch), int(n))


START = EventId(0, 0)
"""The cursor before the first event of any log."""


def check_tenant(text: str) -> str:
    if _TENANT.fullmatch(text) is None:
        raise InvalidId("tenant", text, "1 to 32 of a-z 0-9 -")
    return text


def check_session_id(text: str) -> str:
    if _SESSION_ID.fullmatch(text) is None:
        raise InvalidId("session id", text, "1 to 64 of A-Z a-z 0-9 _ -")
    return text


def check_task_id(text: str) -> str:
    if _TASK_ID.fullmatch(text) is None:
        raise InvalidId("task id", text, "<session id>.<10 of a-z 2-7>")
    return text


def session_of(task_id: str) -> str:
    """The session a task belongs to: a task id alone finds its slot. Raises InvalidId."""
    return check_task_id(task_id).rpartition(".")[0]


def new_session_id() -> str:
    """128 random bits: a session id that nobody guesses."""
    return "".join(secrets.choice(_BASE32) for _ in range(26))


def new_task_id(session_id: str) -> str:
    return f"{session_id}." + "".join(secrets.choice(_BASE32) for _ in range(10))
