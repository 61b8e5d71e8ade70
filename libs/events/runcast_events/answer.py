"""What the append script answers, read. Pure. The answers and what they mean: docs/protocol.md, section 2."""

from dataclasses import dataclass

from runcast_events.errors import AlreadyTerminal, EventsError, Fenced, Gone, IllegalMove, Rewound
from runcast_events.ids import EventId


@dataclass(frozen=True, slots=True)
class Appended:
    """The batch is in the log. `duplicate`: it was already, from an earlier try.

    `control`: control requests that wait for the attempt. `next_task`: after a terminal event, the session's next
    holder, to be rung for; after an interrupt, the holder that was interrupted. `replicated`: False where it is a
    promise and fewer replicas have it than must. `trimmed`: events that it pushed out of a full log.
    """

    first: EventId | None
    last: EventId
    control: int = 0
    next_task: str | None = None
    duplicate: bool = False
    replicated: bool = True
    trimmed: int = 0


def read_answer(answer: list[bytes], fence: str) -> Appended:
    """Of the append script, to an attempt with this fence. Raises what `refusal` makes."""
    if answer[0] == b"OK":
        _, first, last, control, next_task, trimmed = answer
        return Appended(
            EventId.decode(first), EventId.decode(last), int(control), next_task.decode() or None, trimmed=int(trimmed)
        )
    if answer[0] != b"DUP":
        raise refusal(answer, fence)
    first, _, rest = answer[1].partition(b" ")
    if not rest:  # an attempt: only the last id it wrote is known
        return Appended(None, EventId.decode(first), duplicate=True)
    last, _, next_task = rest.partition(b" ")
    return Appended(EventId.decode(first), EventId.decode(last), 0, next_task.decode() or None, duplicate=True)


def refusal(answer: list[bytes], fence: str) -> EventsError:
    """Why nothing was written."""
    kind, *rest = (part.decode() for part in answer)
    match kind:
        case "GONE":
            return Gone(deleted=rest[0] == "deleted")
        case "FENCED":
            return Fenced(rest[0])
        case "REWOUND":
            return Rewound(int(rest[0]), (rest[1], rest[2]), fence_known=fence == rest[1])
        case "TERMINAL":
            return AlreadyTerminal(rest[0])
        case "ILLEGAL":
            return IllegalMove(*rest)
        case _:
            return EventsError(f"the append script gave an answer that this version does not know: {answer!r}")
