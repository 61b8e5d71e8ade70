"""An answer as it streams: the parts of pydantic-ai's events become ours, each opened, continued and closed."""

from collections.abc import Callable

from pydantic_ai.messages import (
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPartDelta,
)

from runcast_events.events import Event, Output, OutputComplete, OutputStart, ThinkComplete, Thinking, ThinkingStart
from runcast_worker.engines.llm.outbox import Outbox

_Kind = type[Output] | type[Thinking]
_STARTS: dict[_Kind, Callable[..., Event]] = {Output: OutputStart, Thinking: ThinkingStart}
_ENDS: dict[_Kind, Callable[..., Event]] = {Output: OutputComplete, Thinking: ThinkComplete}


ANSWER_CHARS = 4 * 1024 * 1024
"""An answer that is longer, its calls' arguments counted, is given up: what it costs is only known when it ends."""


class TooLong(Exception):
    """The model does not stop."""


class Parts:
    """One answer. `attempt`, and `ask`: how often it has asked in this iteration, both from 1: so that no part id comes
    twice.

    A part begins with its first text: some providers open parts that stay empty. Text that follows text is one part,
    also where the provider cuts it into several; a call, or thinking, ends it. Kinds of parts that are not known here
    are passed over: pydantic-ai adds some in minor versions.
    """

    def __init__(self, iteration: int, attempt: int, ask: int, outbox: Outbox) -> None:
        self._iteration, self._outbox = iteration, outbox
        self._prefix = f"{iteration}{_nth('a', attempt)}{_nth('r', ask)}"
        self._kind: _Kind | None = None
        self._part_id = ""
        self._opened = 0
        self._pieces: list[str] = []
        self._offset = self._size = 0
        self._half = ""  # of a character that came in two: the first of a pair of surrogates
        self.said = False
        """Whether a client was shown anything of it."""

    async def see(self, event: ModelResponseStreamEvent) -> None:
        """Raises TooLong."""
        if isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta):
                await self._text(Output, delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta):
                await self._text(Thinking, delta.content_delta or "")
            elif isinstance(delta, ToolCallPartDelta):
                self._count(len(delta.args_delta) if isinstance(delta.args_delta, str) else 0)
        elif isinstance(event, PartStartEvent):
            # It carries the first piece of its content.
            if isinstance(event.part, TextPart):
                await self._text(Output, event.part.content)
            elif isinstance(event.part, ThinkingPart):
                await self._text(Thinking, event.part.content)
            else:
                await self.close()

    async def close(self) -> None:
        """End what is open."""
        if self._kind is not None:
            end = _ENDS[self._kind]
            content = "".join(self._pieces)
            await self._outbox.put(end(iteration=self._iteration, part_id=self._part_id, content=content))
            self._kind = None
        self._half = ""

    async def _text(self, kind: _Kind, text: str) -> None:
        self._count(len(text))
        text, self._half = whole_characters(self._half + text)
        if not text:
            return
        if kind is not self._kind:
            await self.close()
            self._opened += 1
            self._kind, self._pieces, self._offset = kind, [], 0
            self._part_id = f"{'o' if kind is Output else 't'}{self._prefix}.{self._opened}"
            self.said = True
            await self._outbox.put(_STARTS[kind](iteration=self._iteration, part_id=self._part_id))
        await self._outbox.delta(kind, self._iteration, self._part_id, text, self._offset)
        self._pieces.append(text)
        self._offset += len(text)

    def _count(self, chars: int) -> None:
        self._size += chars
        if self._size > ANSWER_CHARS:
            raise TooLong(f"its answer is longer than {ANSWER_CHARS} characters, and it does not stop")


def whole_characters(text: str) -> tuple[str, str]:
    """The text without surrogates, which cannot be written, and the half of a character that it ends with. Who cuts
    JSON by UTF-16 units sends the halves of one character in two deltas."""
    if text.isascii():
        return text, ""
    half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
    text = text[: len(text) - len(half)]
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text, half


def _nth(letter: str, number: int) -> str:
    return "" if number == 1 else f"{letter}{number}"
