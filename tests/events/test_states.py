"""The state table is data: complete, the same for Python and Lua, and enforced by the append script."""

import secrets

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Encoded, Envelope
from runcast_events.errors import AlreadyTerminal, IllegalMove
from runcast_events.events import EVENTS, TaskPausing
from runcast_events.log import EventLog
from runcast_events.states import LIVE, TERMINAL, TERMINAL_EVENTS, after, moves
from tests.attempts import session_keys, submit

STATES = sorted(LIVE | TERMINAL)
TASK_EVENTS = sorted(name for name in moves() if not name.startswith("session_"))


def test_the_table_has_every_event_and_no_other() -> None:
    """The closed set of event types is one set."""
    assert moves().keys() == EVENTS.keys()


def test_states_are_the_closed_set() -> None:
    """A misspelt state would make an event illegal for ever."""
    for move in moves().values():
        assert move.sources <= LIVE | {""}
        assert move.to is None or move.to in LIVE | TERMINAL
    assert {name for name, move in moves().items() if move.to in TERMINAL} == TERMINAL_EVENTS


@pytest.mark.parametrize("state", STATES)
async def test_the_script_moves_a_task_as_the_table_says(redis: Redis, state: str) -> None:
    """For every event in every state: the same verdict and the same next state as the Python model gives."""
    log = EventLog(redis)
    for event_type in TASK_EVENTS:
        session_id = f"s-{event_type}"
        task_id = await submit(log, session_id)
        keys = session_keys(session_id)
        await redis.hset(keys.task(task_id), "state", state)
        event = Encoded(event_type, Envelope(session_id, task_id).encode(TaskPausing(by="test")).payload)
        expected = None if state in TERMINAL else after(state, event_type)
        refused = AlreadyTerminal if state in TERMINAL else IllegalMove
        try:
            await log.append_control(keys, secrets.token_hex(8), [event], task_id=task_id)
            outcome: str | None = (await redis.hget(keys.task(task_id), "state")).decode()
        except refused:
            outcome = None
        assert outcome == expected, f"{event_type} in {state}"
    await redis.flushdb()
