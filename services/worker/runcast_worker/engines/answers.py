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
SHOWN_NAMES = 12


def answer(plan: Plan, calls: Sequence[ToolCallComplete]) -> str:
    """`calls`: the plan's calls that were made, in order; the last may have failed."""
    said = "This is the demo agent: it plans by fixed rules, without a model. "
    last = calls[-1] if calls else None
    if last is None:
        return said + HELP
    if last.error is not None:
        return f"{said}{last.tool_name} failed: {_cut(last.error.message)} ({last.error.code})"
    return said + _WORDS[plan.name](last.result)


def _listing(result: JsonValue) -> str:
    assert isinstance(result, dict)
    files = result["files"]
    assert isinstance(files, list)
    if not files:
        return "There are no files here."
    more = "" if result["complete"] else " and more"
    return f"{_many(len(files), 'file')}{more}: {_some([str(file) for file in files])}"


def _counts(result: JsonValue) -> str:
    assert isinstance(result, dict)
    files, total = result["files"], result["total"]
    assert isinstance(files, dict)
    if not files:
        return "There are no lines: no such file holds any."
    each = _some([f"{path} {count}" for path, count in files.items()])
    return f"{_many(total, 'line')} in {_many(len(files), 'file')}: {each}"


def _matches(result: JsonValue) -> str:
    assert isinstance(result, dict)
    matches = result["matches"]
    assert isinstance(matches, list)
    shown = [f"{m['path']}:{m['line']}: {m['text']}" for m in matches if isinstance(m, dict)]
    return _cut("\n".join([f"{_many(result['total'], 'line')} found.", *shown]))


def _output(result: JsonValue) -> str:
    assert isinstance(result, dict)
    return _cut(f"The command ended with exit code {result['exit_code']}.\n{result['output']}")


def _text(result: JsonValue) -> str:
    return _cut(f"It says:\n{result}")


def _cut(text: str) -> str:
    """Never silently."""
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} … ({len(text)} characters in all)"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


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
