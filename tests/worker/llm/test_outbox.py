"""Between the loop and whoever takes its events: order, gathering, bounds."""

import asyncio
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_events.events import Event, IterationStart, Output, Progress, Thinking
from runcast_worker.engines.llm import outbox as outbox_module
from runcast_worker.engines.llm.outbox import DELTA_CHARS, WAITING_CHARS, Outbox


async def taken(outbox: Outbox) -> list[Event]:
    return [event async for event in outbox.events()]


def text(events: list[Event], part_id: str) -> str:
    """Of a part's deltas, whose offsets are checked."""
    said = ""
    for event in events:
        if isinstance(event, Output | Thinking) and event.part_id == part_id:
            assert event.offset == len(said)
            assert 0 < len(event.delta) <= DELTA_CHARS
            said += event.delta
    return said


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("ab"), st.text(min_size=1, max_size=40)),
            st.integers(0, 100),
            st.none(),
        ),
        max_size=60,
    )
)
def test_nothing_is_lost_and_nothing_changes_places(put: list[tuple[str, str] | int | None]) -> None:
    """Deltas of one part may come together; between them and any other event the order is that of the puts."""

    async def through() -> list[Event]:
        outbox = Outbox()

        async def fill() -> None:
            offsets = {"a": 0, "b": 0}
            for item in put:
                if item is None:
                    await asyncio.sleep(0)
                elif isinstance(item, int):
                    await outbox.put(Progress(percent=item))
                else:
                    part, said = item
                    await outbox.delta(Output, 1, part, said, offsets[part])
                    offsets[part] += len(said)
            outbox.close()

        filling = asyncio.create_task(fill())
        events = await taken(outbox)
        await filling
        return events

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "PACE_S", 0)
        events = asyncio.run(through())
    for part in "ab":
        assert text(events, part) == "".join(item[1] for item in put if isinstance(item, tuple) and item[0] == part)
    order = [item if isinstance(item, int) else item[0] for item in put if item is not None]
    seen = [int(e.percent) if isinstance(e, Progress) else e.part_id for e in events]  # type: ignore[attr-defined]

    def without_repeats(of: list[object]) -> list[object]:
        return [item for index, item in enumerate(of) if isinstance(item, int) or index == 0 or of[index - 1] != item]

    assert without_repeats(list(seen)) == without_repeats(list(order))


async def test_a_fast_stream_is_gathered_and_a_slow_one_is_not_held_up() -> None:
    """A thousand deltas at once become a few events; the first delta after a silence goes out at once."""
    outbox = Outbox()
    taking = asyncio.create_task(taken(outbox))
    for offset in range(1000):
        await outbox.delta(Output, 1, "o", "x", offset)
        if offset % 100 == 0:
            await asyncio.sleep(0.001)
    outbox.close()
    events = await taking
    assert text(events, "o") == "x" * 1000
    assert len(events) <= 5

    slow = Outbox()
    stream = slow.events()
    for offset in range(3):
        began = monotonic()
        await slow.delta(Output, 1, "o", "x", offset)
        await anext(stream)
        assert monotonic() - began < outbox_module.PACE_S / 2
        await asyncio.sleep(outbox_module.PACE_S * 1.2)


async def test_another_event_does_not_wait_for_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes with it what waits before it."""
    monkeypatch.setattr(outbox_module, "PACE_S", 30)
    outbox = Outbox()
    stream = outbox.events()
    await outbox.delta(Output, 1, "o", "a", 0)
    assert isinstance(await anext(stream), Output)
    await outbox.delta(Output, 1, "o", "b", 1)
    following = asyncio.ensure_future(anext(stream))
    await outbox.put(IterationStart(iteration=2))
    assert isinstance(await asyncio.wait_for(following, 5), Output)
    assert await anext(stream) == IterationStart(iteration=2)


async def test_an_event_is_delivered_when_the_taker_comes_back() -> None:
    """Only then it is written: a tool may not start before."""
    outbox = Outbox()
    stream = outbox.events()
    delivered = asyncio.create_task(outbox.delivered(IterationStart(iteration=1)))
    await anext(stream)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not delivered.done()
    outbox.close()
    assert [event async for event in stream] == []
    await asyncio.wait_for(delivered, 5)


async def test_what_nobody_takes_is_bounded() -> None:
    """A model's stream is then not read on."""
    outbox = Outbox()

    async def endless() -> None:
        offset = 0
        while True:
            await outbox.delta(Output, 1, "o", "x" * 1000, offset)
            offset += 1000

    filling = asyncio.create_task(endless())
    _, waiting = await asyncio.wait({filling}, timeout=0.05)
    assert waiting
    filling.cancel()
    outbox.close()
    assert WAITING_CHARS <= len(text(await taken(outbox), "o")) <= WAITING_CHARS + 1000
