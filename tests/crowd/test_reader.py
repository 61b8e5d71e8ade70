"""The checks find what they are there to find: a crowd's reader is given doctored streams, and says what is wrong."""

import random
from collections.abc import Callable

import pytest

from runcast_events.entry import Entry
from runcast_events.ids import START, EventId
from tests.crowd.frames import Frames
from tests.crowd.line import Line
from tests.crowd.reader import Reader, check_reader


def log() -> list[Entry]:
    """Two writers' turns, of five and four events, of all sizes."""
    entries: list[Entry] = []
    for epoch, count in ((1000, 5), (2000, 4)):
        for n in range(1, count + 1):
            prev = None if n > 1 else entries[-1].id if entries else START
            payload = b'{"event_type":"output","delta":"%b"}' % (b"x" * (epoch * n % 7000))
            entries.append(Entry(EventId(epoch, n), "output", "s1.aaaaaaaaaa", 1, 0, 0, prev, payload))
    return entries


def event(entry: Entry) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (entry.type.encode(), str(entry.id).encode(), entry.payload)


def gap(since: EventId, to: EventId) -> bytes:
    said = f'{{"from":"{since}","to":"{to}","reason":"trimmed","snapshot_url":"/api/sessions/s1"}}'
    return f"event: gap\nid: {to}\ndata: {said}\n\n".encode()


CONNECTED = b'retry: 100\nevent: connected\nid: 0-0\ndata: {"session_id":"s1"}\n\n'
DRAINING = b"event: draining\ndata: {}\n\n"
HEARTBEAT = b":\n"
Blocks = list[bytes]


def told(entries: list[Entry]) -> Blocks:
    """As a gateway tells it, with a heartbeat in the midst."""
    blocks = [event(entry) for entry in entries]
    blocks[2] = HEARTBEAT + blocks[2]
    return [CONNECTED, *blocks]


def swap(blocks: Blocks) -> Blocks:
    return [*blocks[:4], blocks[5], blocks[4], *blocks[6:]]


def other(blocks: Blocks) -> Blocks:
    return [*blocks[:4], blocks[4].replace(b"xxx", b"xyx", 1), *blocks[5:]]


DOCTORED: dict[str, tuple[Callable[[Blocks], Blocks], str]] = {
    "one is missing": (lambda blocks: blocks[:4] + blocks[5:], "1000-5 right after 1000-3, without a gap"),
    "the first of a writer is missing": (lambda blocks: blocks[:6] + blocks[7:], "2000-2 right after 1000-5"),
    "a writer is missing": (lambda blocks: blocks[:1] + blocks[6:], "2000-1 right after 0-0"),
    "the last is missing": (lambda blocks: blocks[:-1], "stopped at 2000-3"),
    "one is repeated": (lambda blocks: blocks[:5] + blocks[4:], "1000-4 right after 1000-4"),
    "some are repeated": (lambda blocks: blocks[:6] + blocks[2:], "1000-2 right after 1000-5"),
    "two are in the wrong order": (swap, "1000-5 right after 1000-3"),
    "one says something else": (other, "other content under 1000-4"),
    "one is not in the log": (
        lambda blocks: [*blocks, event(log()[-1]).replace(b"2000-4", b"2000-5")],
        "not in the",
    ),
    "a gap leaves out what the log has": (
        lambda blocks: [*blocks[:4], gap(EventId(1000, 3), EventId(1000, 4)), *blocks[5:]],
        "leaves out 1000-4",
    ),
    "a control frame moves the cursor": (
        lambda blocks: [*blocks[:4], b"event: cursor\nid: 1000-4\ndata: {}\n\n", *blocks[5:]],
        "1000-5 right after 1000-3",
    ),
}


async def shown(blocks: Blocks, *, whole: bool = False, seed: int = 1) -> Reader:
    """A reader to whom a connection brought that in pieces of any size, in chunks that end anywhere. `whole`: and ended
    as HTTP ends."""
    chance = random.Random(seed)
    reader = Reader(0, "s1", Frames(), chance)
    line = Line(b"", reader.take)
    stream, sent = b"".join(blocks), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while stream:
        size = chance.randint(1, 6000)
        sent, stream = sent + b"%x\r\n%b\r\n" % (len(stream[:size]), stream[:size]), stream[size:]
    sent += b"0\r\n\r\n" if whole else b""
    while sent:
        size = chance.randint(1, 6000)
        line.data_received(sent[:size])
        sent = sent[size:]
    line.connection_lost(None)
    reader.note(await line.ended)
    return reader


@pytest.mark.parametrize("seed", range(20))
async def test_a_reader_that_was_shown_the_log_passes(seed: int) -> None:
    """However the network cuts it."""
    reader = await shown(told(log()), seed=seed)
    assert [item.id for item in reader.seen] == [entry.id for entry in log()]
    check_reader(reader, log())


async def test_a_reader_that_drops_anywhere_goes_on_at_its_cursor() -> None:
    """What came whole counts, what was cut does not."""
    stream = b"".join(told(log()))
    for size in range(0, len(stream), 97):
        reader = await shown([stream[:size]])
        after = [entry for entry in log() if reader.cursor is None or entry.id > reader.cursor]
        for entry in after:
            reader.take(event(entry).removesuffix(b"\n\n"))
        reader.first = START
        check_reader(reader, log())


@pytest.mark.parametrize("what", DOCTORED)
async def test_a_doctored_stream_is_found(what: str) -> None:
    doctor, said = DOCTORED[what]
    reader = await shown(doctor(told(log())))
    with pytest.raises(AssertionError, match=said):
        check_reader(reader, log())


async def test_a_break_that_is_told_passes_and_one_that_is_not_is_found() -> None:
    """The log has lost its first three events."""
    trimmed = log()[3:]
    blocks = told(log())
    reader = await shown([CONNECTED, gap(START, EventId(1000, 3)), *blocks[4:]])
    check_reader(reader, trimmed)
    with pytest.raises(AssertionError, match="1000-4 right after 0-0, without a gap"):
        check_reader(await shown([CONNECTED, *blocks[4:]]), trimmed)


async def test_a_stream_that_ends_without_a_word_is_found() -> None:
    """A clean end says that there is no more; one that breaks off does not."""
    reader = await shown([*told(log()), DRAINING], whole=True)
    check_reader(reader, log())
    assert reader.endings == {"complete after draining": 1}
    check_reader(await shown(told(log())), log())
    with pytest.raises(AssertionError, match="ended without a word"):
        check_reader(await shown(told(log()), whole=True), log())


def test_a_reader_that_nobody_let_in_is_no_proof() -> None:
    with pytest.raises(AssertionError, match="never told where it stands"):
        check_reader(Reader(0, "s1", Frames(), random.Random(1), latest=True), log())
