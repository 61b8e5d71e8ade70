"""What a client asks for: where to start and what to leave out. Everything here is a stranger's input."""

from collections.abc import Iterable

from runcast_events.errors import InvalidId
from runcast_events.ids import CANARY, START, EventId, check_task_id, session_of
from runcast_events.states import moves
from runcast_gateway.streams.filter import Filter
from runcast_service.problem import Problem

LATEST = "latest"


def parse_cursor(header: str | None, query: str | None) -> EventId | None:
    """`Last-Event-ID` (an automatic reconnect) wins over `?last_event_id=`; without either: the earliest event. None
    means the latest. Anything that is not a cursor is a 400 before the stream starts, never a replay of everything."""
    text = query if header is None or header == "" else header
    if text is None or text == "" or text == "earliest":
        return START
    if text == LATEST:
        return None
    try:
        return EventId.parse(text)
    except InvalidId as error:
        raise Problem(400, "invalid_cursor", f"{error}, or one of the words earliest, latest") from None


def parse_filter(session_id: str, types: str | None, task_id: str | None) -> Filter:
    """`?types=a,b` and `?task_id=`; a type or task that cannot occur in this stream is a 400."""
    wanted = None if types is None else _parse_types(types.split(","))
    if task_id is not None:
        try:
            owner = session_of(check_task_id(task_id))
        except InvalidId as error:
            raise Problem(400, "invalid_id", str(error)) from None
        if owner != session_id:
            raise Problem(400, "invalid_filter", f"the task {task_id} is not one of session {session_id}")
    return Filter(wanted, task_id)


def check_query(given: Iterable[str], known: frozenset[str]) -> None:
    """A misspelt name would replay everything, or filter nothing."""
    if unknown := sorted(set(given) - known):
        names = ", ".join(name[:40] for name in unknown[:5])
        detail = f"no such query parameter: {names}; there are: {', '.join(sorted(known))}"
        raise Problem(400, "invalid_query", detail)


def _parse_types(names: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(name.strip() for name in names) - {""}
    if not wanted:
        raise Problem(400, "invalid_filter", "types: expected event types, separated by commas")
    known = moves().keys() - {CANARY}  # of a log that no client reads
    if unknown := sorted(wanted - known):
        detail = f"types: no such event type: {', '.join(name[:80] for name in unknown[:5])}"
        raise Problem(400, "invalid_filter", detail, known=sorted(known))
    return wanted
