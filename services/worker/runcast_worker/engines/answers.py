"""How the demo words its answer, from what its tool calls came to. Pure."""

from collections.abc import Callable, Sequence

from pydantic import JsonValue

from runcast_events.events import ToolCallComplete
from runcast_worker.engines.intents import Plan

HELP = (
    "I understand: count the lines of the Python files · list files · read FILE · search for TEXT · "
    "run `COMMAND` · write FILE: TEXT."
)
SHOWN_CHARS = 2000


def answer(plan: Plan, calls: Sequence[ToolCallComplete]) -> str:
    """`calls`: the plan's calls that were made, in order; the last may have failed."""
    said = "This is the demo agent: it plans by fixed rules, without a model. "
    last = calls[-1] if calls else None
    if last is None:
        return said + HELP
    if last.error is not None:
        return f"{said}{last.tool_name} failed: {last.error.message[:SHOWN_CHARS]} ({last.error.code})"
    return said + _WORDS[plan.name](last.result)


def _listing(result: JsonValue) -> str:
    assert isinstance(result, dict)
    files = result["files"]
    assert isinstance(files, list)
    if not files:
        return "There are no files here."
    more = "" if result["complete"] else " and more"
    return f"{_many(len(files), 'file')}{more}: {', '.join(map(str, files))}"[:SHOWN_CHARS]


def _counts(result: JsonValue) -> str:
    assert isinstance(result, dict)
    files, total = result["files"], result["total"]
    assert isinstance(files, dict)
    if not files:
        return "There are no lines: no such file holds any."
    each = ", ".join(f"{path} {count}" for path, count in files.items())
    return f"{_many(total, 'line')} in {_many(len(files), 'file')}: {each}"[:SHOWN_CHARS]


def _matches(result: JsonValue) -> str:
    assert isinstance(result, dict)
    matches = result["matches"]
    assert isinstance(matches, list)
    shown = [f"{m['path']}:{m['line']}: {m['text']}" for m in matches if isinstance(m, dict)]
    return "\n".join([f"{_many(result['total'], 'line')} with it.", *shown])[:SHOWN_CHARS]


def _output(result: JsonValue) -> str:
    assert isinstance(result, dict)
    return f"The command ended with exit code {result['exit_code']}.\n{result['output']}"[:SHOWN_CHARS]


def _text(result: JsonValue) -> str:
    return f"It says:\n{result}"[:SHOWN_CHARS]


def _many(count: JsonValue, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


_WORDS: dict[str, Callable[[JsonValue], str]] = {
    "count": _counts,
    "search": _matches,
    "read": _text,
    "write": lambda result: f"Written. {_text(result)}",
    "run": _output,
    "list": _listing,
    "unknown": lambda result: f"I did not understand that. {HELP} {_listing(result)}",
}
